"""Metrics of phase."""

from __future__ import annotations

from eval.metrics.definition import STFT, Metric, row

ROWS: tuple[Metric, ...] = (
    row(
        "instantaneous_frequency_error",
        "Instantaneous-frequency error",
        "phase:instantaneous_frequency_error",
        "Hz",
        needs_sample_rate=True,
        value_range="[0, rate / 1024]",
        blind_to="gain, polarity, a constant turn of all phases; frequencies off by a multiple of 86 Hz at 44.1 kHz; "
        "bins in which the reference is weak weigh almost nothing",
        source="defined here; instantaneous frequency as in Engel et al., ICLR 2019, weighted by the energy of the "
        "reference",
        group="phase",
        minimum_samples=2048,
        parameters=STFT,
        undefined_at={"nan": "the reference has no energy in two frames that follow each other"},
    ),
    row(
        "group_delay_error",
        "Group-delay error",
        "phase:group_delay_error",
        "ms",
        needs_sample_rate=True,
        value_range="[0, 1024000 / rate]",
        blind_to="gain, polarity, a constant turn of all phases; delays by a multiple of 2,048 samples; bins in which "
        "the reference is weak weigh almost nothing",
        source="defined here; phase step over bins, weighted by the energy of the reference",
        group="phase",
        minimum_samples=2048,
        parameters=STFT,
        undefined_at={"nan": "the reference has no energy in two bins beside each other"},
    ),
    row(
        "border_phase_coherence",
        "Phase coherence across band borders",
        "phase:border_phase_coherence",
        "1",
        higher_is_better=True,
        needs_sample_rate=True,
        value_range="[-1, 1]",
        blind_to="everything but the two bins on each side of the edges; gain, polarity, a constant turn of all "
        "phases; edges at which the reference has no energy",
        source="defined here; energy-weighted cosine of the change of the phase step across an edge",
        group="phase",
        minimum_samples=2048,
        parameters={**STFT, "edges_hz": (500.0, 2000.0, 8000.0), "reach": 2},
        undefined_at={"nan": "the reference has no energy at any edge inside the spectrum"},
    ),
    row(
        "phase_inconsistency",
        "Phase inconsistency",
        "phase:phase_inconsistency",
        "dB",
        value_range="(−∞, 0]",
        blind_to="a constant turn of all phases; which of the phases that fit together they are; the estimate's "
        "magnitudes",
        source='Le Roux et al., "Explicit consistency constraints for STFT spectrograms", SAPA 2008, of the '
        "estimate's phases under the reference's magnitudes",
        group="phase",
        minimum_samples=2048,
        parameters=STFT,
        undefined_at={
            "-inf": "the phases fit the reference to rounding, the inconsistency is −∞ dB",
            "nan": "the reference has no energy in any bin",
        },
    ),
)
