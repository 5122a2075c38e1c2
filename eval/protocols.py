"""What the harness asks of others: of a model, and of whoever watches a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor


class System(Protocol):
    """A model that turns a waveform into a waveform.

    Attributes:
        name: Identifier, as in the table of models.
        title: Name for readers.
        sample_rate_hz: The rate it works at; None where any rate will do.
        parameters: Number of learned parameters.
        deterministic: Whether equal seeds give equal outputs.
    """

    name: str
    title: str
    sample_rate_hz: int | None
    parameters: int
    deterministic: bool

    def reconstruct(self, waveform: Tensor, *, sample_rate_hz: int, seeds: Sequence[int]) -> Tensor:
        """Reconstruct a batch of equally long clips.

        Calls may come from several threads. A row must not depend on the other rows of its batch.

        Args:
            waveform: float32, shape ``(batch, time)``, full scale at 1.
            sample_rate_hz: Rate of the waveform.
            seeds: One seed a row.

        Returns:
            Same shape.
        """

    def codes(self, waveform: Tensor, *, sample_rate_hz: int) -> dict[str, Tensor]:
        """Code maps by level, each ``(batch, bins, frames)``; empty for a model without codes."""

    def describe(self) -> dict[str, object]:
        """Configuration, front end and checkpoint, ready for JSON."""


class Progress(Protocol):
    """Whoever watches a run."""

    def start(self, title: str, total: int) -> None:
        """A stage begins; ``total`` counts clips."""

    def advance(self, clips: int, failed: int = 0) -> None:
        """Clips are done."""

    def note(self, text: str) -> None:
        """One line for the reader."""

    def finish(self) -> None:
        """The stage is over."""


class Silent:
    """A progress that nobody watches."""

    def start(self, title: str, total: int) -> None:
        """Do nothing."""

    def advance(self, clips: int, failed: int = 0) -> None:
        """Do nothing."""

    def note(self, text: str) -> None:
        """Do nothing."""

    def finish(self) -> None:
        """Do nothing."""
