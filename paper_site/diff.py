"""What differs between two builds of a site: samples, numbers, files by their hashes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from paper_site.documents import read_document
from paper_site.errors import OutputError, SiteError
from paper_site.provenance import results_figures, study_figures
from paper_site.sums import SUMS, read_sums


@dataclass(frozen=True)
class Change:
    """One difference.

    Attributes:
        kind: ``sample``, ``number``, ``run``, ``page``, ``media`` or ``file``.
        name: What differs.
        before: What the first site has; None where it has nothing.
        after: What the second site has; None where it has nothing.
    """

    kind: str
    name: str
    before: Any
    after: Any

    @property
    def what(self) -> str:
        """``added``, ``removed`` or ``changed``."""
        return "added" if self.before is None else "removed" if self.after is None else "changed"

    def __str__(self) -> str:
        if self.before is None or self.after is None:
            return f"{self.kind} {self.what}: {self.name}"
        return f"{self.kind} changed: {self.name}: {_shown(self.before)} -> {_shown(self.after)}"

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"what": self.what, **asdict(self)}


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    text = str(value)
    return f"{text[:12]}…" if len(text) >= 64 and " " not in text else text


def _documents(root: Path, folder: str) -> Iterator[tuple[str, Any]]:
    for path in sorted((root / folder).glob("*")):
        if path.suffix in {".json", ".yml"} and path.is_file():
            try:
                yield path.stem, read_document(path)
            except SiteError as wrong:
                raise OutputError(str(wrong)) from None


def _numbers(root: Path) -> dict[str, float | str]:
    found: dict[str, float | str] = {}
    for folder, figures in (("data/results", results_figures), ("data/studies", study_figures)):
        for _, document in _documents(root, folder):
            for figure in figures(document):
                card = figure.card
                value = card.get("value", card.get("text"))
                if value is None:
                    continue
                found[figure.label] = float(value) if isinstance(value, int | float) else str(value)
                for edge in ("low", "high"):
                    if isinstance(card.get(edge), int | float):
                        found[f"{figure.label}, {edge} end of the interval"] = float(card[edge])
                if isinstance(card.get("n"), int):
                    found[f"{figure.label}, n"] = float(card["n"])
    return found


def _samples(root: Path) -> dict[str, dict[str, Any]]:
    """Every sample by name: per system the hashes of its sound, and its labels and scores."""
    found: dict[str, dict[str, Any]] = {}
    for name, document in _documents(root, "data"):
        for sample, raw in document.items() if isinstance(document, Mapping) else ():
            if not isinstance(raw, Mapping) or "files" not in raw:
                continue
            facts: dict[str, Any] = {}
            for category, files in raw["files"].items():
                sounds = dict.fromkeys(str(f.get("pcm_sha256") or f.get("sha256")) for f in files.values())
                facts[f"sound of {category}"] = " ".join(sounds)
            for category, scores in (raw.get("scores") or {}).items():
                for metric, score in scores.items():
                    if score.get("value") is not None:
                        facts[f"{metric} of {category}"] = float(score["value"])
            left = ("files", "scores", "pictures", "systems")
            facts |= {label: value for label, value in raw.items() if label not in left and value is not None}
            found[f"{name}/{sample}"] = facts
    return found


def _files(root: Path) -> dict[str, str]:
    try:
        return read_sums((root / SUMS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {
            path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(root.rglob("*"))
            if path.is_file() and not path.name.startswith(".")
        }


def _kind(path: str) -> str:
    if path.endswith(".html"):
        return "page"
    return "media" if path.startswith("assets/") and not path.endswith((".css", ".js")) else "file"


def _differences(kind: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Change]:
    for name in dict.fromkeys([*before, *after]):
        if before.get(name) != after.get(name):
            yield Change(kind, name, before.get(name), after.get(name))


def _sample_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Change]:
    for change in _differences("sample", before, after):
        if change.what == "changed":
            for fact in _differences("sample", change.before, change.after):
                yield Change("sample", f"{change.name}, {fact.name}", fact.before, fact.after)
        else:
            yield change


def compare_sites(first: Path, second: Path) -> list[Change]:
    """List what differs between two built sites: samples, numbers, runs, then files.

    Raises:
        OutputError: If a folder holds no site, or its documents cannot be read.
    """
    for site in (first, second):
        if not (site / "index.html").is_file():
            raise OutputError(f"{site} holds no index.html; diff compares two built sites")
    try:
        runs = [{name: name for name, _ in _documents(site, "data/runs")} for site in (first, second)]
        files = _differences("file", _files(first), _files(second))
        return [
            *_sample_changes(_samples(first), _samples(second)),
            *_differences("number", _numbers(first), _numbers(second)),
            *_differences("run", runs[0], runs[1]),
            *(Change(_kind(change.name), change.name, change.before, change.after) for change in files),
        ]
    except (KeyError, TypeError, AttributeError) as wrong:
        raise OutputError(f"the documents of a site are not those of this builder ({wrong!r})") from None
