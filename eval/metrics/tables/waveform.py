"""Metrics of waveforms."""

from __future__ import annotations

from eval.metrics.definition import Metric, row

ROWS: tuple[Metric, ...] = (
    row(
        "waveform_l1",
        "Waveform L1",
        "waveform:waveform_l1",
        "FS",
        blind_to="nothing in the waveform; it weighs phase as heavily as sound, so a right tone with a "
        "turned phase scores worse than silence",
        source="mean absolute error",
        group="waveform",
        default=True,
    ),
    row(
        "waveform_mse",
        "Waveform MSE",
        "waveform:waveform_mse",
        "FS²",
        blind_to="nothing in the waveform; loud passages outweigh quiet ones, and phase counts as heavily as sound",
        source="mean squared error",
        group="waveform",
        default=True,
    ),
    row(
        "si_sdr",
        "SI-SDR",
        "waveform:si_sdr",
        "dB",
        higher_is_better=True,
        value_range="(−∞, ∞)",
        blind_to="gain, polarity and constant offset; meaningless for outputs with a free phase",
        source='Le Roux et al., "SDR – half-baked or well done?", ICASSP 2019, eq. 3 and 5',
        parameters={"zero_mean": True},
        group="waveform",
        default=True,
        minimum_samples=3,
        undefined_at={
            "inf": "the estimate is a scaled copy of the reference, SI-SDR is +∞",
            "-inf": "nothing in the estimate follows the reference, SI-SDR is −∞",
            "nan": "a signal is constant, SI-SDR is 0/0",
        },
    ),
    row(
        "snr",
        "SNR",
        "waveform:snr",
        "dB",
        higher_is_better=True,
        value_range="(−∞, ∞)",
        blind_to="nothing in the waveform; a turned polarity scores −6 dB, and phase counts as heavily as sound",
        source="ratio of the energies of the reference and of the difference",
        group="waveform",
        undefined_at={
            "inf": "the signals are equal, SNR is +∞",
            "nan": "a signal is silent, SNR has no meaning",
        },
    ),
    row(
        "segmental_snr",
        "Segmental SNR",
        "waveform:segmental_snr",
        "dB",
        higher_is_better=True,
        needs_sample_rate=True,
        value_range="[−10, 35]",
        blind_to="frames in which the reference is digital silence; differences beyond −10 and 35 dB in a frame; "
        "meaningless for outputs with a free phase",
        source='Hansen and Pellom, "An effective quality evaluation protocol for speech enhancement algorithms", '
        'ICSLP 1998; frames and limits of Loizou, "Speech Enhancement", 2013, ch. 11',
        group="waveform",
        parameters={"frame_s": 0.03, "overlap": 0.75, "lowest_db": -10.0, "highest_db": 35.0},
        undefined_at={"nan": "the clip is shorter than a frame of 30 ms"},
    ),
    row(
        "sdr",
        "SDR, 512 taps",
        "sdr:sdr",
        "dB",
        higher_is_better=True,
        value_range="(−∞, ∞)",
        blind_to="gain, polarity, delays below 512 samples and every filter of that length, such as equalisation",
        source='Vincent et al., "Performance measurement in blind audio source separation", IEEE TASLP 14(4), 2006; '
        "one source, version 3 of BSS eval",
        group="waveform",
        parameters={"taps": 512, "zero_mean": False},
        minimum_samples=1024,
        undefined_at={
            "inf": "the estimate is a filtered copy of the reference to working precision, SDR is +∞",
            "-inf": "nothing in the estimate follows the reference, SDR is −∞",
            "nan": "a signal is silent, SDR is 0/0",
        },
    ),
    *(
        row(
            name,
            title,
            f"alignment:{name}",
            unit,
            needs_sample_rate=True,
            blind_to=blind_to,
            source='Knapp and Carter, "The generalized correlation method for estimation of time delay", '
            "IEEE TASSP 24(4), 1976, without weighting",
            group="waveform",
            parameters={"max_delay_s": 0.1},
            minimum_samples=3,
            undefined_at={"nan": "the signals are uncorrelated at every delay"},
            **fields,
        )
        for name, title, unit, blind_to, fields in (
            (
                "aligned_correlation",
                "Correlation after alignment",
                "1",
                "gain, polarity and delays up to 100 ms, which are metrics of their own",
                {"higher_is_better": True, "value_range": "[0, 1]"},
            ),
            (
                "alignment_delay",
                "Delay",
                "ms",
                "everything but the delay, and early or late; delays above 100 ms, and whole periods of a tone",
                {"value_range": "[0, 100]"},
            ),
            (
                "alignment_polarity",
                "Polarity",
                "1",
                "everything but the sign of the correlation at the best delay",
                {"higher_is_better": True, "value_range": "[−1, 1]"},
            ),
        )
    ),
)
