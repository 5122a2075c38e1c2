"""What a build leaves for the next one: which page read what.

The state is plain JSON beside the companion, so that a foreign one can at worst be wrong, never be run. It is used only
for a destination whose ledger says that this builder made it.
"""

from __future__ import annotations

import json
import os
from _blake2 import blake2b
from dataclasses import dataclass, field
from marshal import dumps
from pathlib import Path
from typing import Any

from paper_site.jekyll.engine import KEYS
from paper_site.jekyll.values import lookup

# No pathlib: the folder's path is made of text, see quick.place.

VERSION = 1
_SHORT = frozenset((bool, int, float))
Read = tuple[Any, ...]


def mark(value: Any) -> str:
    """A short text that is another one when a value is another one."""
    kind = type(value)
    if value is None or kind in _SHORT or (kind is str and len(value) < 40):
        return repr(value)
    try:
        # Version 2 writes equal values alike, whether they are one object or two.
        raw = dumps(value, 2)
    except ValueError:
        raw = repr(value).encode("utf-8", "surrogatepass")
    return "#" + blake2b(raw, digest_size=12).hexdigest()


def data_mark(data: Any, read: Read) -> str:
    """The mark of what a page read at a path below ``site.data``."""
    keys = bool(read) and read[-1] == KEYS
    value = data
    for key in read[:-1] if keys else read:
        # The step that `lookup` would take, taken ten thousand times.
        value = value[key] if type(value) is dict and key in value else lookup(value, key)
    if keys:
        return mark(list(value) if isinstance(value, dict) else [type(value).__name__])
    return mark(value)


# How one file of the site came to be: its path in the site, whether it depends on other pages, the number of the set of
# layouts and included files that it used, and the numbers of what it read below ``site.data``.
Made = tuple[str, bool, int, list[int]]


@dataclass
class State:
    """Everything that a build leaves.

    Attributes:
        tool: Digest of the builder and its surroundings.
        settings: The configuration file's contents.
        files: Every file of the source -> time in ns, size.
        made: Page -> how its file came to be.
        copied: Path in the site -> file of the source.
        used: The sets of layouts and included files, paths from the source.
        reads: What pages read below ``site.data``, and its mark.
        due: When the site would be another one with nothing changed.
        words: What the last build said.
        entries: Every file of the site, with its hash and stamp.
    """

    tool: str = ""
    settings: Any = None
    files: dict[str, list[int]] = field(default_factory=dict)
    made: dict[str, Made] = field(default_factory=dict)
    copied: dict[str, str] = field(default_factory=dict)
    used: list[list[str]] = field(default_factory=list)
    reads: list[list[Any]] = field(default_factory=list)
    due: float | None = None
    words: str = ""
    entries: dict[str, dict[str, Any]] = field(default_factory=dict)


def load(folder: str) -> State | None:
    """The state of the last build; None when there is none that can be used."""
    try:
        with open(os.path.join(folder, "state.json"), "rb") as file:
            raw = json.loads(file.read())
        if raw["version"] != VERSION or not _is_whole(raw):
            return None
        return State(
            raw["tool"],
            raw["settings"],
            raw["files"],
            raw["made"],
            raw["copied"],
            raw["used"],
            raw["reads"],
            raw["due"],
            raw["words"],
            raw["entries"],
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _is_whole(raw: dict[str, Any]) -> bool:
    """Whether a state that was read holds what one holds."""
    used, reads = len(raw["used"]), len(raw["reads"])
    return (
        all(isinstance(time, int) and isinstance(size, int) for time, size in raw["files"].values())
        and all(
            isinstance(target, str) and 0 <= names < used and all(0 <= number < reads for number in numbers)
            for target, _, names, numbers in raw["made"].values()
        )
        and all(isinstance(path, list) and isinstance(text, str) for path, text in raw["reads"])
        and all(isinstance(path, str) for path in raw["copied"].values())
        and (raw["due"] is None or isinstance(raw["due"], int | float))
        and isinstance(raw["words"], str)
        and isinstance(raw["tool"], str)
        and all(isinstance(entry, dict) for entry in raw["entries"].values())
    )


def save(folder: str, state: State, inputs: str, outputs: str) -> None:
    """Keep a state and the digests of what was read and written. A folder that cannot be written is no error."""
    document = {
        "version": VERSION,
        "tool": state.tool,
        "settings": state.settings,
        "files": state.files,
        "made": state.made,
        "copied": state.copied,
        "used": state.used,
        "reads": state.reads,
        "due": state.due,
        "words": state.words,
        "entries": state.entries,
    }
    try:
        os.makedirs(folder, exist_ok=True)
        ignore = Path(folder).parent / ".gitignore"
        if not ignore.exists():
            ignore.write_text("*\n", encoding="utf-8")
        _write(os.path.join(folder, "state.json"), json.dumps(document, check_circular=False, separators=(",", ":")))
        due = "" if state.due is None else str(state.due)
        _write(os.path.join(folder, "stamp"), "\n".join([inputs, outputs, due, state.words]) + "\n")
    except OSError:
        forget(folder)


def forget(folder: str) -> None:
    """Drop the digests, so that the next build looks at everything."""
    try:
        os.unlink(os.path.join(folder, "stamp"))
    except OSError:
        return


def _write(path: str, text: str) -> None:
    temporary = f"{path}.{os.getpid()}"
    with open(temporary, "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(temporary, path)
