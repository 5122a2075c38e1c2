"""The metrics by name: what each one measures, how it is defined, and where its function lives.

Conventions of every metric in the table:

* arguments are ``estimate, reference``, in this order, of shape ``(..., time)`` with full scale at 1; the result has
  shape ``(...)``: one value per clip, never one value per batch;
* everything is computed in float64, whatever the input;
* ``parameters`` are exactly the keyword arguments the function is called with by
  :func:`eval.metrics.scoring.score_batch`, so that :func:`definition_sha256` covers what was computed;
* a function takes tensors and returns tensors: no disk, no model, no choice of device.

A new metric is one function in a file of this folder and one row of :data:`METRICS`. This module imports no torch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from models.errors import InputError

__all__ = ["METRICS", "Metric", "definition", "definition_sha256", "metric"]


@dataclass(frozen=True)
class Metric:
    """One row of the table.

    Attributes:
        name: Identifier in results, manifests and on the command line.
        title: Name for readers.
        target: ``"module:function"`` of the pure function ``(estimate, reference, **parameters) -> Tensor``.
        unit: Unit of the value; ``"1"`` for a plain ratio, ``"FS"`` for full scale, ``"Np"`` for nepers (natural
            logarithm of a ratio of magnitudes; 1 Np is 8.686 dB).
        higher_is_better: Direction.
        needs_reference: Whether the function takes a reference at all.
        needs_sample_rate: Whether the function takes ``sample_rate_hz``.
        value_range: The values that can occur, as an interval.
        blind_to: What the metric does not notice, in words.
        source: Where the definition comes from.
        version: Raised whenever the same parameters give other numbers.
        parameters: Keyword arguments of the call.
        minimum_samples: Shortest clip the metric is defined for.
        plan: ``"module:function"`` that states the metric as sums over STFT bins, which lets several metrics share
            their transforms; empty where the function is simply called.
        undefined_at: What a value of ``"inf"``, ``"-inf"`` or ``"nan"`` means, in words.
    """

    name: str
    title: str
    target: str
    unit: str
    higher_is_better: bool
    needs_reference: bool
    needs_sample_rate: bool
    value_range: str
    blind_to: str
    source: str
    version: int
    parameters: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))
    minimum_samples: int = 1
    plan: str = ""
    undefined_at: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


_STFT: Mapping[str, object] = MappingProxyType(
    {"n_fft": 2048, "hop_length": 512, "win_length": 2048, "pad_mode": "reflect"}
)


def _row(name: str, title: str, target: str, unit: str, **fields: object) -> Metric:
    settings: dict[str, object] = {
        "higher_is_better": False,
        "needs_reference": True,
        "needs_sample_rate": False,
        "value_range": "[0, ∞)",
        "version": 1,
    }
    settings.update(fields)
    settings["parameters"] = MappingProxyType(dict(settings.get("parameters", {})))  # type: ignore[call-overload]
    return Metric(name=name, title=title, target=f"eval.metrics.{target}", unit=unit, **settings)  # type: ignore[arg-type]


def _spectral(name: str, title: str, unit: str, **fields: object) -> Metric:
    fields.setdefault("minimum_samples", 2048)
    return _row(name, title, f"spectral:{name}", unit, plan=f"eval.metrics.spectral:{name}_plan", **fields)


METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        row.name: row
        for row in (
            _row(
                "waveform_l1",
                "Waveform L1",
                "waveform:waveform_l1",
                "FS",
                blind_to="nothing in the waveform; it weighs phase as heavily as sound, so a right tone with a "
                "turned phase scores worse than silence",
                source="mean absolute error",
            ),
            _row(
                "waveform_mse",
                "Waveform MSE",
                "waveform:waveform_mse",
                "FS²",
                blind_to="nothing in the waveform; loud passages outweigh quiet ones, and phase counts as heavily "
                "as sound",
                source="mean squared error",
            ),
            _row(
                "si_sdr",
                "SI-SDR",
                "waveform:si_sdr",
                "dB",
                higher_is_better=True,
                value_range="(−∞, ∞)",
                blind_to="gain, polarity and constant offset; meaningless for outputs with a free phase",
                source='Le Roux et al., "SDR – half-baked or well done?", ICASSP 2019, eq. 3 and 5',
                parameters={"zero_mean": True},
                minimum_samples=3,
                undefined_at={
                    "inf": "the estimate is a scaled copy of the reference, SI-SDR is +∞",
                    "-inf": "nothing in the estimate follows the reference, SI-SDR is −∞",
                    "nan": "a signal is constant, SI-SDR is 0/0",
                },
            ),
            _spectral(
                "log_mel_l1",
                "Log-mel L1",
                "Np",
                needs_sample_rate=True,
                blind_to="phase, and detail finer than a mel band; differences below the floor of 1e-5",
                source='Kong et al., "HiFi-GAN", NeurIPS 2020, eq. 3, with the 2048/512 transform and 128 bands',
                parameters={**_STFT, "n_mels": 128, "f_min_hz": 0.0, "f_max_hz": None, "floor": 1e-5},
            ),
            _spectral(
                "linear_magnitude_l1",
                "Linear-magnitude L1",
                "1",
                blind_to="phase; quiet partials and high frequencies weigh almost nothing",
                source='Arık et al., "Fast spectrogram inversion using multi-head convolutional neural networks", '
                "IEEE SPL 26(1), 2019; magnitudes of the unscaled transform with a Hann window",
                parameters=_STFT,
            ),
            _spectral(
                "spectral_convergence",
                "Spectral convergence",
                "1",
                blind_to="phase; ruled by the strongest bins",
                source='Arık et al., "Fast spectrogram inversion using multi-head convolutional neural networks", '
                "IEEE SPL 26(1), 2019, per clip and with the reference in the denominator",
                parameters={**_STFT, "floor": 0.0},
                undefined_at={
                    "nan": "the reference has no energy in any bin",
                    "inf": "the reference has no energy in any bin",
                },
            ),
            _spectral(
                "log_stft_magnitude",
                "Log-STFT magnitude",
                "Np",
                blind_to="phase; bins where both magnitudes lie below the floor of 1e-4, just under the noise of "
                "16-bit quantisation",
                source='Arık et al., "Fast spectrogram inversion using multi-head convolutional neural networks", '
                "IEEE SPL 26(1), 2019; floor as in auraloss 0.4.0",
                parameters={**_STFT, "floor": 1e-4},
            ),
            _spectral(
                "multi_resolution_stft",
                "Multi-resolution STFT",
                "1",
                blind_to="phase; its windows are 15 to 75 ms at 16 kHz and shorter at higher rates",
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
            _spectral(
                "log_spectral_distance",
                "Log-spectral distance",
                "dB",
                blind_to="phase; bins where both magnitudes lie below the floor of 1e-4",
                source='Gray and Markel, "Distance measures for speech processing", IEEE TASSP 24(5), 1976',
                parameters={**_STFT, "floor": 1e-4},
            ),
        )
    }
)


def metric(name: str) -> Metric:
    """Row of the table for a name.

    Raises:
        InputError: If no metric has this name; the message lists those there are.
    """
    try:
        return METRICS[name]
    except KeyError:
        raise InputError(f"unknown metric {name!r}; known: {', '.join(METRICS)}") from None


def definition(name: str) -> dict[str, object]:
    """Everything that decides the numbers of a metric, ready for JSON: target, unit, version and parameters."""
    row = metric(name)
    parameters = {
        key: list(value) if isinstance(value, tuple) else value for key, value in sorted(row.parameters.items())
    }
    return {
        "name": row.name,
        "target": row.target,
        "unit": row.unit,
        "higher_is_better": row.higher_is_better,
        "version": row.version,
        "minimum_samples": row.minimum_samples,
        "parameters": parameters,
    }


def definition_sha256(name: str) -> str:
    """SHA-256 of the canonical JSON of :func:`definition`; equal hashes mean comparable numbers."""
    text = json.dumps(definition(name), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()
