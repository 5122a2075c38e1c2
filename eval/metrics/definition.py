"""What the table says of a metric, and short ways of writing rows. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


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
        group: Name under which related metrics are asked for together.
        default: Whether the metric is computed when nothing is asked for.
        needs_labels: Labels of the clip that the function takes as keyword arguments, such as ``"pitch"``; a clip
            without one is skipped.
        package: Import name of an optional package that the function needs; the metric is skipped where it is missing.
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
    group: str = ""
    default: bool = False
    needs_labels: tuple[str, ...] = ()
    package: str = ""


STFT: Mapping[str, object] = MappingProxyType(
    {"n_fft": 2048, "hop_length": 512, "win_length": 2048, "pad_mode": "reflect"}
)


def row(name: str, title: str, target: str, unit: str, **fields: object) -> Metric:
    """A row with the usual answers where nothing else is said: lower is better, there is a reference, [0, ∞).

    Args:
        name: See `Metric`, as for all others.
        title: Name for readers.
        target: ``"file:function"`` below ``eval.metrics``.
        unit: Unit.
        **fields: Other attributes of `Metric`.
    """
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


def spectral(name: str, title: str, unit: str, **fields: object) -> Metric:
    """A row of a metric that ``eval/metrics/spectral.py`` states as a function and as a plan."""
    fields.setdefault("minimum_samples", 2048)
    return row(name, title, f"spectral:{name}", unit, plan=f"eval.metrics.spectral:{name}_plan", **fields)
