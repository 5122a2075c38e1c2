"""Rows of pitch, loudness, notes and phase for the side-by-side benchmark of evaluation libraries.

For its option ``--plugin``, with the repository's root on ``PYTHONPATH``; the benchmark calls :func:`register`.
"""

from __future__ import annotations

from typing import Any

import torch

from eval.metrics import bs1770
from eval.metrics.chroma import chroma_cosine
from eval.metrics.onsets import onset_times
from eval.metrics.phase import group_delay_error, instantaneous_frequency_error
from eval.metrics.yin import YinSettings, pyin, yin


def register(suite: Any, data: dict[str, Any]) -> None:
    """Add our rows beside those of librosa and pyloudnorm."""
    rate = int(data["sr"])
    reference, estimate = (data[name].astype("float64") for name in ("X", "Y"))
    clip = reference[0]
    settings = YinSettings(rate, 65.4, 2093.0)
    pair = torch.from_numpy(estimate[:1]), torch.from_numpy(reference[:1])
    pairs = torch.from_numpy(estimate), torch.from_numpy(reference)

    suite.add(
        "ours pYIN C2-C7 (beside librosa.pyin)",
        lambda: pyin(clip, settings),
        lambda: [pyin(row, settings) for row in reference[:4]],
        batch=4,
        group="ours: pitch",
        value=lambda: float(pyin(clip, settings).voiced.mean()),
    )
    suite.add(
        "ours YIN C2-C7 (beside librosa.yin)",
        lambda: yin(clip, settings),
        lambda: [yin(row, settings) for row in reference],
        group="ours: pitch",
    )
    suite.add(
        "ours onsets (beside librosa.onset_detect)",
        lambda: onset_times(clip, rate),
        lambda: [onset_times(row, rate) for row in reference],
        group="ours: pitch",
        value=lambda: int(onset_times(clip, rate).size),
    )
    suite.add(
        "ours loudness (beside pyloudnorm)",
        lambda: bs1770.integrated_loudness(clip[None], rate),
        lambda: [bs1770.integrated_loudness(row[None], rate) for row in reference],
        group="ours: loudness",
        value=lambda: bs1770.integrated_loudness(clip[None], rate),
    )
    suite.add(
        "ours true peak",
        lambda: bs1770.peak(clip),
        lambda: [bs1770.peak(row) for row in reference],
        group="ours: loudness",
    )
    for name, function in (
        ("chroma cosine", chroma_cosine),
        ("instantaneous-frequency error", instantaneous_frequency_error),
        ("group-delay error", group_delay_error),
    ):
        suite.add(
            f"ours {name}",
            lambda function=function: function(*pair, sample_rate_hz=rate),
            lambda function=function: function(*pairs, sample_rate_hz=rate),
            group="ours: phase and harmony",
            value=lambda function=function: float(function(*pair, sample_rate_hz=rate)[0]),
        )
