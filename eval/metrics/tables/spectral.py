"""Metrics of magnitude spectrograms."""

from __future__ import annotations

from eval.metrics.definition import STFT, Metric, spectral

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
)
