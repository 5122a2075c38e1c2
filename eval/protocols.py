"""What the harness asks of others: of a model, and of whoever watches a run."""

from __future__ import annotations

from typing import Protocol

from models.registry import System

__all__ = ["Progress", "Silent", "System"]


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
