"""The errors that the site builder raises on purpose.

::

    SiteError
    ├── DataError         a document under ``_data/`` cannot be read or does not hold its schema
    ├── ContentError      a page, its front matter, a template or a formula is wrong
    ├── OutputError       the destination cannot or must not be written
    └── ToolError         a program or package that the build needs is not installed

Every message is one line. It begins with the file and, where it is known, the line.
"""

from __future__ import annotations

from pathlib import Path


class SiteError(Exception):
    """Base of every error raised on purpose by ``paper_site``.

    Args:
        message: What is wrong and what would be right, in one line.
        path: The file in which it is wrong, if it is in a file.
        line: The line in that file, counted from 1.
    """

    def __init__(self, message: str, *, path: Path | None = None, line: int | None = None) -> None:
        self.message = " ".join(message.split())
        self.path = path
        self.line = line
        super().__init__(self.message)

    def __str__(self) -> str:
        if self.path is None:
            return self.message
        place = f"{self.path}:{self.line}" if self.line else str(self.path)
        return f"{place}: {self.message}"


class DataError(SiteError):
    """A document under ``_data/`` cannot be read or does not hold its schema."""


class ContentError(SiteError):
    """A page, its front matter, a template or a formula is wrong."""


class OutputError(SiteError):
    """The destination cannot or must not be written."""


class ToolError(SiteError):
    """A program or package that the build needs is not installed."""
