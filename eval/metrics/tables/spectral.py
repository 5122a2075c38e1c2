"""Metrics of magnitude spectrograms."""

from __future__ import annotations

from eval.metrics.definition import STFT, Metric, row, spectral

ROWS: tuple[Metric, ...] = (
    spectral(
        "log_mel_l1",
        "Log-mel L1",
        "Np",
        needs_sample_rate=True,
        blind_to="phase, and detail finer than a mel band; differences below the floor of 1e-5",
        group="spectral",
        default=True,
        source='Kong et al., "HiFi-GAN", NeurIPS 2020, eq. 3, with the 2048/512 transform and 128 bands',
        parameters={**STFT, "n_mels": 128, "f_min_hz": 0.0, "f_max_hz": None, "floor": 1e-5},
    ),
    spectral(
        "linear_magnitude_l1",
        "Linear-magnitude L1",
        "1",
        blind_to="phase; quiet partials and high frequencies weigh almost nothing",
        group="spectral",
        default=True,
        source='Arık et al., "Fast spectrogram inversion using multi-head convolutional neural networks", '
        "IEEE SPL 26(1), 2019; magnitudes of the unscaled transform with a Hann window",
        parameters=STFT,
    ),
    spectral(
        "spectral_convergence",
        "Spectral convergence",
        "1",
        blind_to="phase; ruled by the strongest bins",
        group="spectral",
        default=True,
        source='Arık et al., "Fast spectrogram inversion using multi-head convolutional neural networks", '
        "IEEE SPL 26(1), 2019, per clip and with the reference in the denominator",
        parameters={**STFT, "floor": 0.0},
        undefined_at={
            "nan": "the reference has no energy in any bin",
            "inf": "the reference has no energy in any bin",
        },
    ),
    spectral(
        "log_stft_magnitude",
        "Log-STFT magnitude",
        "Np",
        blind_to="phase; bins where both magnitudes lie below the floor of 1e-4, just under the noise of "
        "16-bit quantisation",
        group="spectral",
        default=True,
        source='Arık et al., "Fast spectrogram inversion using multi-head convolutional neural networks", '
        "IEEE SPL 26(1), 2019; floor as in auraloss 0.4.0",
        parameters={**STFT, "floor": 1e-4},
    ),
    spectral(
        "multi_resolution_stft",
        "Multi-resolution STFT",
        "1",
        blind_to="phase; its windows are 15 to 75 ms at 16 kHz and shorter at higher rates",
        group="spectral",
        default=True,
        source='Yamamoto et al., "Parallel WaveGAN", ICASSP 2020; resolutions, floor and sum of auraloss '
        "0.4.0, per clip",
        parameters={
            "n_ffts": (1024, 2048, 512),
            "hop_lengths": (120, 240, 50),
            "win_lengths": (600, 1200, 240),
            "pad_mode": "reflect",
            "floor": 1e-4,
        },
    ),
    spectral(
        "log_spectral_distance",
        "Log-spectral distance",
        "dB",
        blind_to="phase; bins where both magnitudes lie below the floor of 1e-4",
        group="spectral",
        default=True,
        source='Gray and Markel, "Distance measures for speech processing", IEEE TASSP 24(5), 1976',
        parameters={**STFT, "floor": 1e-4},
    ),
    spectral(
        "linear_magnitude_mse",
        "Linear-magnitude MSE",
        "1",
        blind_to="phase; ruled by the strongest bins even more than the L1",
        group="spectral",
        source='Griffin and Lim, "Signal estimation from modified short-time Fourier transform", IEEE TASSP 32(2), '
        "1984, as a mean; magnitudes of the unscaled transform with a Hann window",
        parameters=STFT,
    ),
    spectral(
        "log_magnitude_mse",
        "Log-magnitude MSE",
        "Np²",
        blind_to="phase; bins where both magnitudes lie below the floor of 1e-4",
        group="spectral",
        source='Gray and Markel, "Distance measures for speech processing", IEEE TASSP 24(5), 1976, squared and '
        "averaged over frames and bins alike",
        parameters={**STFT, "floor": 1e-4},
    ),
    *(
        row(
            name,
            f"Log-spectral distance, {title}",
            "spectral:band_log_spectral_distance",
            "dB",
            needs_sample_rate=True,
            plan="eval.metrics.spectral:band_log_spectral_distance_plan",
            blind_to="phase; everything outside the band; bins where both magnitudes lie below the floor of 1e-4",
            group="spectral",
            source='Gray and Markel, "Distance measures for speech processing", IEEE TASSP 24(5), 1976, over a band',
            parameters={"low_hz": low, "high_hz": high, **STFT, "floor": 1e-4},
            minimum_samples=2048,
            undefined_at={"nan": "the band reaches above half the sample rate"},
        )
        for name, title, low, high in (
            ("log_spectral_distance_below_500_hz", "below 500 Hz", 0.0, 500.0),
            ("log_spectral_distance_500_to_2000_hz", "500 Hz to 2 kHz", 500.0, 2000.0),
            ("log_spectral_distance_2_to_8_khz", "2 to 8 kHz", 2000.0, 8000.0),
            ("log_spectral_distance_above_8_khz", "above 8 kHz", 8000.0, None),
        )
    ),
    row(
        "multi_scale_mel",
        "Multi-scale mel",
        "mel_distance:multi_scale_mel",
        "1",
        needs_sample_rate=True,
        plan="eval.metrics.mel_distance:multi_scale_mel_plan",
        blind_to="phase, and detail finer than a mel band of the longest window; differences below the floor of 1e-5",
        group="spectral",
        source='Kumar et al., "High-fidelity audio compression with improved RVQGAN", NeurIPS 2023; windows, bands, '
        "floor and sum of the training of descript-audio-codec",
        parameters={
            "window_lengths": (32, 64, 128, 256, 512, 1024, 2048),
            "n_mels": (5, 10, 20, 40, 80, 160, 320),
            "floor": 1e-5,
            "power": 1.0,
            "log_weight": 1.0,
            "magnitude_weight": 0.0,
        },
        minimum_samples=2048,
    ),
    row(
        "relative_volume_mel",
        "Relative volume of the mel error",
        "mel_distance:relative_volume_mel",
        "dB",
        needs_sample_rate=True,
        value_range="[−25, 25]",
        blind_to="phase; errors 25 dB under the reference; made for 24 kHz, at other rates its windows last longer or "
        "shorter",
        group="spectral",
        source="AudioCraft, relative volume mel (2023): 512/128, 80 bands on HTK's scale, without its four bands",
        parameters={"n_fft": 512, "hop_length": 128, "n_mels": 80, "limit_db": 25.0, "quietest_db": -25.0},
        minimum_samples=512,
    ),
    row(
        "mel_cepstral_distortion",
        "Mel-cepstral distortion",
        "cepstral:mel_cepstral_distortion",
        "dB",
        needs_sample_rate=True,
        plan="eval.metrics.cepstral:mel_cepstral_distortion_plan",
        blind_to="phase, gain, and partials: only the smoothed envelope counts",
        group="spectral",
        source='Kubichek, "Mel-cepstral distance measure for objective speech quality assessment", PACRIM 1993; '
        "13 terms without the constant from 80 mel bands",
        parameters={**STFT, "n_mels": 80, "n_coefficients": 13, "floor": 1e-5},
        minimum_samples=2048,
    ),
    row(
        "mel_cepstral_distortion_dtw",
        "Mel-cepstral distortion, warped",
        "cepstral:mel_cepstral_distortion_dtw",
        "dB",
        needs_sample_rate=True,
        blind_to="phase, gain, partials, and shifts or changes of tempo within half a second",
        group="spectral",
        source='Kubichek, PACRIM 1993, along the exact path of Sakoe and Chiba, "Dynamic programming algorithm '
        'optimization for spoken word recognition", IEEE TASSP 26(1), 1978',
        parameters={**STFT, "n_mels": 80, "n_coefficients": 13, "floor": 1e-5, "max_shift_s": 0.5},
        minimum_samples=2048,
    ),
)
