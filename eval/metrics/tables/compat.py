"""Numbers as other projects print them; for comparison with their tables only."""

from __future__ import annotations

from eval.metrics.definition import Metric, row

_FLOAT32_EPS = 2.0**-23


def _compat(name: str, title: str, target: str, unit: str, **fields: object) -> Metric:
    return row(name, title, target, unit, group="compat", **fields)


ROWS: tuple[Metric, ...] = (
    _compat(
        "auraloss_stft",
        "STFT loss of auraloss",
        "compat:auraloss_stft",
        "1",
        plan="eval.metrics.compat:auraloss_stft_plan",
        blind_to="phase; depends on level through the floor of 1e-4",
        source="auraloss 0.4.0, STFTLoss at its defaults, with a batch of one",
        parameters={"n_fft": 1024, "hop_length": 256, "win_length": 1024},
        minimum_samples=1024,
    ),
    _compat(
        "dac_mel_evaluation",
        "Mel distance of DAC's evaluation",
        "mel_distance:multi_scale_mel",
        "1",
        needs_sample_rate=True,
        plan="eval.metrics.mel_distance:multi_scale_mel_plan",
        blind_to="phase; not the distance of its training, which is multi_scale_mel",
        source="descript-audio-codec 1.0.0, MelSpectrogramLoss at its defaults, as its evaluation script uses it",
        parameters={
            "window_lengths": (2048, 512),
            "n_mels": (150, 80),
            "floor": 1e-5,
            "power": 2.0,
            "log_weight": 1.0,
            "magnitude_weight": 1.0,
        },
        minimum_samples=2048,
    ),
    _compat(
        "dac_multi_scale_stft",
        "Multi-scale STFT of DAC",
        "compat:dac_multi_scale_stft",
        "1",
        plan="eval.metrics.compat:dac_multi_scale_stft_plan",
        blind_to="phase",
        source="descript-audio-codec 1.0.0, MultiScaleSTFTLoss at its defaults",
        parameters={"window_lengths": (2048, 512)},
        minimum_samples=2048,
    ),
    _compat(
        "audiocraft_multi_resolution_stft",
        "Multi-resolution STFT of AudioCraft",
        "compat:audiocraft_multi_resolution_stft",
        "1",
        plan="eval.metrics.compat:audiocraft_multi_resolution_stft_plan",
        blind_to="phase; depends on level through its floor of 3.2e-4",
        source="AudioCraft, MRSTFTLoss at its defaults, commit 896ec7c, with a batch of one",
        minimum_samples=2048,
    ),
    _compat(
        "audiocraft_si_snr_loss",
        "SI-SNR loss of AudioCraft",
        "compat:audiocraft_si_snr_loss",
        "dB",
        needs_sample_rate=True,
        value_range="(−∞, ∞)",
        blind_to="gain and polarity; clips under 20 s are filled up with zeros; good scores are capped by level",
        source="AudioCraft, SISNR at its defaults, commit 896ec7c; the negative of a ratio",
        parameters={"segment_s": 20.0, "overlap": 0.5},
        minimum_samples=3,
    ),
    _compat(
        "hifigan_mel",
        "Mel error of HiFi-GAN",
        "compat:hifigan_mel",
        "Np",
        needs_sample_rate=True,
        blind_to="phase; made for 22,050 Hz",
        source="HiFi-GAN, mel error of validation with config_v1",
        parameters={"n_mels": 80},
        minimum_samples=1024,
    ),
    _compat(
        "vocos_mel",
        "Mel error of Vocos",
        "compat:vocos_mel",
        "Np",
        needs_sample_rate=True,
        blind_to="phase; made for 24,000 Hz",
        source="Vocos, MelSpecReconstructionLoss, commit c859e3b",
        parameters={"n_mels": 100},
        minimum_samples=1024,
    ),
    _compat(
        "torchmetrics_snr",
        "SNR of torchmetrics",
        "waveform:snr",
        "dB",
        higher_is_better=True,
        value_range="(−∞, ∞)",
        blind_to="nothing in the waveform; equal signals score by level, about 100 dB",
        source="torchmetrics 1.9.0, signal_noise_ratio on float32: its spacing is added to both energies",
        parameters={"eps": _FLOAT32_EPS},
    ),
    _compat(
        "torchmetrics_si_sdr",
        "SI-SDR of torchmetrics",
        "waveform:si_sdr",
        "dB",
        higher_is_better=True,
        value_range="(−∞, ∞)",
        blind_to="gain and polarity, not a constant offset; equal signals score by level, about 100 dB",
        source="torchmetrics 1.9.0, scale_invariant_signal_distortion_ratio on float32: its spacing is added to both "
        "parts of both ratios",
        parameters={"zero_mean": False, "eps": _FLOAT32_EPS},
        minimum_samples=3,
    ),
    *(
        _compat(
            f"{mode}_{name}",
            f"{title} of {project}, with YIN for CREPE",
            f"periodicity:{mode}_voicing",
            unit,
            needs_sample_rate=True,
            higher_is_better=statistic == "f1",
            value_range=value_range,
            blind_to=f"pitch outside 50 to 550 Hz; {blind_to}. YIN stands in for CREPE: not the published numbers",
            source=source,
            parameters={"statistic": statistic},
            minimum_samples=1024,
            undefined_at={"nan": reason},
        )
        for mode, project, source in (
            ("vocos", "Vocos", "Vocos, metrics/periodicity.py, commit c859e3b, with YIN's periodicity"),
            ("cargan", "CARGAN", "CARGAN, objective metrics, commit 61051fa, clip by clip, with YIN's periodicity"),
        )
        for name, title, unit, statistic, value_range, blind_to, reason in (
            (
                "periodicity_rmse",
                "Periodicity error",
                "1",
                "periodicity_rmse",
                "[0, 1]",
                "pitch and level",
                "the clip is shorter than a frame of 64 ms",
            ),
            (
                "pitch_rmse",
                "Pitch error",
                "cent",
                "pitch_rmse_cents",
                "[0, ∞)",
                "frames voiced in one signal only",
                "no frame is voiced in both signals",
            ),
            (
                "voicing_f1",
                "Voicing F1",
                "1",
                "f1",
                "[0, 1]",
                "pitch and level",
                "no frame is voiced in both signals",
            ),
        )
    ),
    _compat(
        "versa_mcd",
        "Mel-cepstral distortion of versa",
        "world:versa_mel_cepstral_distortion",
        "dB",
        needs_sample_rate=True,
        package="pyworld",
        blind_to="phase and fine structure, not level; one warping at every sample rate",
        source="versa, mcd_f0 at its defaults (no time warping), commit c398480, on the envelopes of WORLD",
        minimum_samples=1024,
        undefined_at={"nan": "a signal is silent"},
    ),
)
