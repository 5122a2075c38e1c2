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
)
