"""Finds out in a moment that there is nothing to do.

A build leaves beside the companion's cache a digest of the size and time of every file that it read and of every file
that it wrote. This module loads nothing but what the interpreter has at hand, because loading more would take longer
than the work.
"""

from __future__ import annotations

import os
import sys
from _blake2 import blake2b
from marshal import dumps
from stat import S_ISLNK

from paper_site.jekyll import is_jekyll

# As of `typing`, without the time that it takes to load.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# No pathlib: it takes longer to load than a build with nothing to do.

FOLDER = os.path.join(".cache", "jekyll")
SKIPPED = frozenset([".git", ".cache", ".jekyll-cache", ".sass-cache", "node_modules", ".venv", "__pycache__"])
LEDGER = ".earwitness-site.json"
_HERE = os.path.dirname(os.path.abspath(__file__))


# What `nothing_to_do` has just found, for the build that follows at once.
seen: dict[tuple[str, str], list[str | int]] = {}


def scan(root: str, skip: str = "") -> list[str | int]:
    """All files below a folder: path, time of change in ns, size, one after the other. Links are left out.

    Args:
        root: The folder.
        skip: A folder that is not looked into, such as the destination.
    """
    found: list[str | int] = []
    add = found.append
    stack = [""]
    while stack:
        inner = stack.pop()
        prefix = inner + "/" if inner else ""
        with os.scandir(os.path.join(root, inner) if inner else root) as entries:
            for entry in entries:
                name = entry.name
                if entry.is_symlink():
                    continue
                if entry.is_dir(follow_symlinks=False):
                    if name not in SKIPPED and entry.path != skip:
                        stack.append(prefix + name)
                else:
                    status = entry.stat(follow_symlinks=False)
                    add(prefix + name)
                    add(status.st_mtime_ns)
                    add(status.st_size)
    return found


def tool() -> list[str | int]:
    """What stands for this builder and its surroundings: another one makes everything anew."""
    parts: list[str | int] = [
        sys.version,
        os.environ.get("SOURCE_DATE_EPOCH", ""),
        os.environ.get("JEKYLL_ENV", ""),
    ]
    for folder in (_HERE, os.path.join(_HERE, "kramdown")):
        with os.scandir(folder) as entries:
            for entry in sorted(entries, key=lambda e: e.name):
                if entry.name.endswith(".py"):
                    status = entry.stat()
                    parts += [entry.name, status.st_mtime_ns, status.st_size]
    return parts


def digest(value: list[Any]) -> str:
    """A digest of plain values; version 2 of the format writes equal values alike."""
    return blake2b(dumps(value, 2), digest_size=16).hexdigest()


def place(source: str, destination: str) -> str:
    """The folder in which the state of this source and destination is kept."""
    key = blake2b(os.path.abspath(destination).encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()
    return os.path.join(source, FOLDER, key)


def skipped(source: str, destination: str) -> str:
    """The destination as `scan` meets it below the source."""
    return os.path.join(source, os.path.relpath(destination, source))


def only_folders(argv: list[str]) -> tuple[str, str] | None:
    """Source and destination, when these are the only arguments."""
    given: dict[str, str] = {}
    position = 0
    while position < len(argv):
        name, equals, value = argv[position].partition("=")
        if name not in {"--source", "--destination"} or name in given:
            return None
        if not equals:
            position += 1
            if position >= len(argv):
                return None
            value = argv[position]
        given[name] = value
        position += 1
    if not given.get("--source"):
        return None
    source = given["--source"]
    return source, given.get("--destination") or os.path.join(source, "_site")


def nothing_to_do(source_name: str, destination_name: str) -> str | None:
    """What to print when a Jekyll companion is up to date; None when it has to be looked at."""
    source, destination = os.path.realpath(source_name), os.path.realpath(destination_name)
    try:
        with open(os.path.join(place(source, destination), "stamp"), encoding="utf-8") as file:
            inputs, outputs, due, words = file.read().split("\n")[:4]
        if due:
            from time import time

            if time() >= float(due):
                return None
        if os.path.exists(os.path.join(source, "_data", "site.yml")):
            return None
        if S_ISLNK(os.lstat(os.path.join(source, "_config.yml")).st_mode):
            return None
        entries = scan(source, skipped(source, destination))
        seen[source, destination] = entries
        if digest([tool(), entries]) != inputs:
            return None
        if digest(scan(destination)) != outputs:
            return None
    except (OSError, ValueError):
        return None
    return words.replace("{}", destination_name)


def build(source_name: str, destination_name: str) -> tuple[int, str] | None:
    """Build a Jekyll companion, or find it up to date.

    Returns:
        The exit status and what to print; None when the folder is no Jekyll companion.
    """
    said = nothing_to_do(source_name, destination_name)
    if said is not None:
        return 0, said
    if not is_jekyll(source_name):
        return None
    # What is loaded and rendered now lives until the end.
    import gc

    gc.disable()
    from pathlib import Path

    from paper_site.errors import SiteError
    from paper_site.jekyll.command import build_lines

    try:
        return 0, "\n".join(build_lines(Path(source_name), Path(destination_name)))
    except SiteError as wrong:
        return 2, f"error: {wrong}"
    except KeyboardInterrupt:
        return 130, "interrupted"
