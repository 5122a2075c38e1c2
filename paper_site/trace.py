"""What a page was made from: digests of values, and notes of what templates and texts read while they ran.

A page may be taken from the cache only when nothing that it read has changed. What a page is given is hashed whole; of
what all pages share, only what was looked at counts. Taking note of too much costs time, of too little would leave a
wrong page standing: so whatever cannot be hashed makes its page one that is always rendered.
"""

from __future__ import annotations

import marshal
from collections.abc import Callable, Iterator, Mapping
from operator import attrgetter
from pathlib import PurePath
from typing import Any

from paper_site.cache import digest

Token = tuple[str, tuple[Any, ...]]
MISSING = ("missing",)
# A text that reads more than this many values of one document is taken to have read all of it.
MANY = 2000


class NotPlainError(Exception):
    """A value has no digest: a function, an open file, or something else that is no data."""


_ATOMS = frozenset((str, int, float, bool, type(None), bytes))
# Objects that occur on several pages, or that a message can speak of.
_SHARED = frozenset(("Collection", "Companion", "Findings", "Results", "Run", "Sample", "Site", "Study"))


class Digester:
    """Hashes values; objects that occur often are hashed once."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Any, bytes]] = {}
        self._getters: dict[type, Callable[[Any], Any]] = {}

    def of(self, value: Any) -> bytes:
        """Hash a value by what it says: equal digests mean equal values.

        Raises:
            NotPlainError: If it holds something that is no data.
        """
        known = self._known.get(id(value))
        if known is not None:
            return known[1]
        try:
            return digest(marshal.dumps(value, 2))
        except ValueError:
            pass
        found = digest(marshal.dumps(self._flat(value, True), 2))
        # The value is kept, so that no other one gets its id.
        self._known[id(value)] = (value, found)
        return found

    def _flat(self, value: Any, top: bool = False) -> Any:
        """Turn a value into tuples and lists of atoms, each with the name of what it was."""
        kind = type(value)
        if kind in _ATOMS:
            return value
        if kind is tuple or kind is list:
            return (kind.__name__, [inner if type(inner) in _ATOMS else self._flat(inner) for inner in value])
        if kind is dict:
            return [
                (
                    (key if type(key) in _ATOMS else self._flat(key)),
                    (inner if type(inner) in _ATOMS else self._flat(inner)),
                )
                for key, inner in value.items()
            ]
        getter = self._getters.get(kind)
        if getter is not None or self._learn(kind):
            if not top and kind.__name__ in _SHARED:
                return (kind.__name__, self.of(value))
            fields = self._getters[kind](value)
            return (kind.__name__, [inner if type(inner) in _ATOMS else self._flat(inner) for inner in fields])
        if isinstance(value, Mapping):
            return (kind.__name__, [(self._flat(key), self._flat(inner)) for key, inner in value.items()])
        if isinstance(value, list | tuple):
            return (kind.__name__, [self._flat(inner) for inner in value])
        if isinstance(value, set | frozenset):
            return (kind.__name__, sorted(marshal.dumps(self._flat(inner), 2) for inner in value))
        if isinstance(value, str | PurePath):
            return (kind.__name__, str(value))
        if isinstance(value, bool | int | float):
            return (kind.__name__, repr(value))
        raise NotPlainError(f"{kind.__name__} is no data")

    def _learn(self, kind: type) -> bool:
        fields = getattr(kind, "__dataclass_fields__", None)
        if fields is None:
            return False
        names = tuple(fields)
        # One name alone would give the value itself instead of a tuple.
        getter: Callable[[Any], Any] = (
            attrgetter(*names) if len(names) > 1 else lambda value: [getattr(value, n) for n in names]
        )
        self._getters[kind] = getter
        return True


def parts_of(companion: Any) -> Iterator[tuple[str, Any]]:
    """List the parts of a companion that a message can speak of: samples, results, runs, studies."""
    for part in companion.heard:
        for sample in part.samples:
            yield f"_data/{part.name}.yml: {sample.id}", sample
    for collection in companion.collections:
        if collection.results:
            yield f"_data/results/{collection.results.collection}.json", collection.results
    for run in companion.runs.values():
        yield f"_data/runs/{run.id}.json", run
    for study in companion.studies:
        if study.findings:
            yield f"_data/studies/{study.name}.json", study.findings


def inside(value: Any) -> Iterator[Any]:
    """Walk a value down to what `parts_of` lists, that included."""
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if type(value) in _ATOMS:
            continue
        yield value
        fields = getattr(type(value), "__dataclass_fields__", None)
        if type(value).__name__ in {"Sample", "Results", "Run", "Findings"}:
            continue
        if fields is not None:
            waiting += [getattr(value, name) for name in fields]
        elif isinstance(value, Mapping):
            waiting += value.values()
        elif isinstance(value, list | tuple):
            waiting += value


def observe(root: Any, path: tuple[Any, ...], what: str) -> Any:
    """Look at one place of a document as a text does.

    Args:
        root: The document.
        path: Keys from the root.
        what: ``kind`` for a value, or that there is a mapping; ``keys`` for a mapping's keys in their order; ``all``
            for everything below.
    """
    value = root
    for step in path:
        if not isinstance(value, Mapping) or step not in value:
            return MISSING
        value = value[step]
    if isinstance(value, Mapping):
        if what == "kind":
            return ("mapping",)
        if what == "keys":
            return ("keys", list(value))
    return ("value", value)


class Reads:
    """Takes note of what is read while a page is rendered."""

    def __init__(self, digester: Digester) -> None:
        self.digester = digester
        self.sources: dict[str, Callable[[tuple[Any, ...]], Any]] = {}
        self._noted: dict[Token, None] = {}

    def source(self, name: str, look: Callable[[tuple[Any, ...]], Any]) -> None:
        """Name something that can be read, and how to look at one place of it again."""
        self.sources[name] = look

    def begin(self) -> None:
        """Forget what was noted: a new page begins."""
        self._noted = {}

    def note(self, name: str, place: tuple[Any, ...]) -> None:
        """Note that a place of a source is read."""
        self._noted[name, place] = None

    def noted(self) -> list[tuple[Token, bytes]]:
        """What was read since `begin`, each with the digest of what stands there.

        Raises:
            NotPlainError: If something without a digest was read.
        """
        tokens = list(self._noted)
        if len(tokens) > MANY:
            tokens = self._fewer(tokens)
        return [(token, self.look(token)) for token in tokens]

    def _fewer(self, tokens: list[Token]) -> list[Token]:
        groups: dict[tuple[str, Any], list[Token]] = {}
        for token in tokens:
            name, place = token
            groups.setdefault((name, place[1][:2] if name == "site" else ()), []).append(token)
        fewer: list[Token] = []
        for (name, start), group in groups.items():
            fewer += group if len(group) <= MANY // 10 or name != "site" else [(name, ("all", start))]
        return fewer

    def look(self, token: Token) -> bytes:
        """Hash what stands at a place now."""
        name, place = token
        return self.digester.of(self.sources[name](place))


class Watched:
    """Stands for an object in templates and notes which of its attributes are read."""

    __slots__ = ("_name", "_reads", "_value")

    def __init__(self, value: Any, name: str, reads: Reads) -> None:
        self._value, self._name, self._reads = value, name, reads
        reads.source(name, lambda place: getattr(value, place[0], MISSING))

    def __getattr__(self, attribute: str) -> Any:
        self._reads.note(self._name, (attribute,))
        return getattr(self._value, attribute)


class DataMap(Mapping[str, Any]):
    """A mapping as Jekyll shows it: a loop yields pairs, ``entry[0]`` the key and ``entry[1].field`` a value.

    Args:
        values: The mapping itself.
        reads: Who takes note of what is looked at; nobody when None.
        path: Keys that lead from the document to this mapping.
    """

    def __init__(self, values: Mapping[str, Any], reads: Reads | None = None, path: tuple[Any, ...] = ()) -> None:
        self._values = values
        self._reads = reads
        self._path = path

    def _note(self, what: str, path: tuple[Any, ...]) -> None:
        if self._reads is not None:
            self._reads.note("site", (what, path))

    def __getitem__(self, key: str) -> Any:
        path = (*self._path, key)
        self._note("kind", path)
        value = self._values[key]
        if isinstance(value, Mapping) and not isinstance(value, DataMap):
            return DataMap(value, self._reads, path)
        return wrap(value)

    def __iter__(self) -> Iterator[Any]:
        self._note("keys", self._path)
        return ((key, self[key]) for key in self._values)

    def __len__(self) -> int:
        self._note("keys", self._path)
        return len(self._values)

    def __contains__(self, key: object) -> bool:
        self._note("kind", (*self._path, key))
        return key in self._values

    def items(self) -> Any:
        """Pairs of key and value."""
        return list(self)

    def keys(self) -> Any:
        """The keys, in the order of the file."""
        self._note("keys", self._path)
        return list(self._values)

    def values(self) -> Any:
        """The values, in the order of the file."""
        return [value for _, value in self]

    def __eq__(self, other: object) -> bool:
        self._note("all", self._path)
        return dict(self._values) == (dict(other._values) if isinstance(other, DataMap) else other)

    __hash__ = None  # type: ignore[assignment]

    def __str__(self) -> str:
        self._note("all", self._path)
        return str(dict(self._values))

    __repr__ = __str__


def wrap(value: Any) -> Any:
    """Wrap mappings for use in the authors' texts; leave everything else as it is."""
    if isinstance(value, Mapping) and not isinstance(value, DataMap):
        return DataMap(value)
    if isinstance(value, list | tuple):
        return [wrap(inner) for inner in value]
    return value
