"""Pitch of a note, as the studies use it; defined with the metrics, in :mod:`eval.metrics.notes`."""

from __future__ import annotations

from eval.metrics.notes import (
    hz_to_midi,
    midi_to_hz,
    periodicity_pitch,
    pitch_estimates,
    spectral_pitch,
    within_cents,
)

__all__ = ["hz_to_midi", "midi_to_hz", "periodicity_pitch", "pitch_estimates", "spectral_pitch", "within_cents"]
