"""Faults of the audio of a site, found before anybody hears it.

Every file that a manifest names is read once; what it says is kept in the cache of the build by size, times and inode,
so that a second look costs a stat. A rule has a severity, which ``lint`` in ``site.yml`` may change, and single
findings may be allowed there, each with a reason that the page on reproduction prints.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from math import log10
from pathlib import Path
from typing import Any

from paper_site.audio import CONTAINERS, SUFFIXES, AudioFacts, facts_of
from paper_site.cache import active, digest, is_young, stamp_of
from paper_site.errors import DataError
from paper_site.schema import did_you_mean

ERROR, WARNING, OFF = "error", "warning", "off"
ORIGINAL = "original"

RULES: Mapping[str, tuple[str, str]] = {
    "missing": (ERROR, "a file that a manifest names is not there"),
    "orphan": (ERROR, "a published file that no manifest and no page names"),
    "doubled": (ERROR, "one file in two places of a manifest"),
    "same_bytes": (ERROR, "the same bytes under two names that are not the same clip of the same system"),
    "bytes": (ERROR, "other bytes than the manifest names"),
    "type": (ERROR, "bytes of another type than the name says, or a broken header"),
    "lfs": (ERROR, "a Git LFS pointer in place of the file"),
    "float64": (ERROR, "samples of 64-bit floating point, which browsers refuse"),
    "rate": (ERROR, "sample rates that differ within a comparison, or from the manifest"),
    "duration": (ERROR, "a length that differs within a comparison, or from the manifest"),
    "full_scale": (ERROR, "samples at digital full scale"),
    "silence": (ERROR, "silence"),
    "dc": (ERROR, "a direct component"),
    "level_spread": (WARNING, "loudness within a comparison further apart than the player can match"),
}
"""Rule -> severity where site.yml says nothing, and what it finds."""

LIMITS: Mapping[str, float] = {
    "silence_dbfs": -60.0,
    "dc_fs": 0.01,
    "level_spread_db": 12.0,
    "duration_s": 0.002,
    "full_scale_samples": 0,
}
"""Limits where site.yml says nothing: largest peak of silence, largest mean, largest spread of loudness, largest
difference of lengths, largest number of samples at full scale."""


@dataclass(frozen=True)
class Finding:
    """One fault.

    Attributes:
        rule: Name of the rule.
        path: The file, or the row that is at fault.
        message: What is wrong and what would be right.
        severity: ``error`` or ``warning``.
        reason: Why site.yml allows it; None where it does not.
    """

    rule: str
    path: str
    message: str
    severity: str
    reason: str | None = None

    def __str__(self) -> str:
        return f"{self.path}: {self.message} [{self.rule}]"


@dataclass(frozen=True)
class AudioReport:
    """What was looked at and what was found.

    Attributes:
        files: Number of files.
        findings: Every fault, the allowed ones among them.
        rules: Rule -> (severity, what it finds), as settled.
        limits: Limits as settled.
        size_bytes: Size of all files together.
    """

    files: int
    findings: tuple[Finding, ...]
    rules: Mapping[str, tuple[str, str]]
    limits: Mapping[str, float]
    size_bytes: int = 0

    @property
    def errors(self) -> list[Finding]:
        """Faults that stop the build."""
        return [f for f in self.findings if f.severity == ERROR and f.reason is None]

    @property
    def warnings(self) -> list[Finding]:
        """Faults that are shown and stop nothing."""
        return [f for f in self.findings if f.severity == WARNING and f.reason is None]

    @property
    def allowed(self) -> Mapping[tuple[str, str], list[Finding]]:
        """(Rule, reason) to what is allowed by it."""
        found: dict[tuple[str, str], list[Finding]] = {}
        for finding in self.findings:
            if finding.reason is not None:
                found.setdefault((finding.rule, finding.reason), []).append(finding)
        return found


@dataclass(frozen=True)
class Settings:
    """``lint`` of site.yml, settled."""

    severity: Mapping[str, str]
    limits: Mapping[str, float]
    allow: Sequence[tuple[str, str, str]] = ()  # rule, pattern, reason

    def allowed(self, rule: str, path: str) -> str | None:
        """Give the reason for which a finding is allowed; None where it is not."""
        return next((why for name, glob, why in self.allow if name == rule and fnmatchcase(path, glob)), None)


def read_settings(raw: Mapping[str, Any] | None, path: Path) -> Settings:
    """Settle the settings.

    Raises:
        DataError: For a rule or a limit that is not known.
    """
    raw = raw or {}
    severity = {name: default for name, (default, _) in RULES.items()}
    for name, value in (raw.get("severity") or {}).items():
        if name not in RULES:
            raise DataError(f"lint.severity.{name}: there is no such rule{did_you_mean(name, RULES)}", path=path)
        severity[name] = str(value)
    limits = dict(LIMITS)
    for name, value in (raw.get("limits") or {}).items():
        if name not in LIMITS:
            raise DataError(f"lint.limits.{name}: there is no such limit{did_you_mean(name, LIMITS)}", path=path)
        limits[name] = float(value)
    allow = []
    for index, entry in enumerate(raw.get("allow") or []):
        if entry["rule"] not in RULES:
            hint = did_you_mean(entry["rule"], RULES)
            raise DataError(f"lint.allow[{index}].rule: there is no rule {entry['rule']!r}{hint}", path=path)
        allow.append((str(entry["rule"]), str(entry["files"]), str(entry["reason"])))
    return Settings(severity, limits, tuple(allow))


class Files:
    """What files say, remembered by the active cache of the build.

    Args:
        name: Tells the files of one companion from those of others in the same cache.
    """

    def __init__(self, name: str = "") -> None:
        self._key = digest(name.encode())
        before = active().get("files", self._key)
        known = before if isinstance(before, list) and len(before) == 2 else ({}, {})
        self._stamps_before, self._facts_before = known
        self._stamps: dict[str, Any] = {}  # path -> (stamp, SHA-256)
        self._facts: dict[str, Any] = {}  # SHA-256 -> facts

    def sha256(self, file: Path | str) -> str:
        """SHA-256 of a file.

        Raises:
            OSError: If it cannot be read.
        """
        return self._seen(file)[0]

    def _seen(self, file: Path | str) -> tuple[str, int, bytes | None]:
        """SHA-256, size, and the bytes where they had to be read."""
        key = str(file)
        stamp = stamp_of(os.stat(key))  # noqa: PTH116 (thousands of files: a path object for each takes longer)
        known = self._stamps.get(key) or self._stamps_before.get(key)
        if known is not None and known[0] == stamp:
            self._stamps[key] = known
            return known[1], stamp[0], None
        now = time.time_ns()
        data = Path(key).read_bytes()
        found = hashlib.sha256(data).hexdigest()
        if not is_young(stamp, now):
            self._stamps[key] = (stamp, found)
        return found, len(data), data

    def facts(self, file: Path | str) -> tuple[AudioFacts, int]:
        """Facts and size of an audio file.

        Raises:
            OSError: If it cannot be read.
        """
        found, size, data = self._seen(file)
        known = self._facts.get(found) or self._facts_before.get(found)
        if known is None:
            facts = facts_of(Path(file).read_bytes() if data is None else data)
            self._facts[found] = tuple(vars(facts).values())
            return facts, size
        self._facts[found] = known
        return AudioFacts(*known), size

    def save(self) -> None:
        """Hand what was asked for to the cache."""
        if (self._stamps, self._facts) != (self._stamps_before, self._facts_before):
            active().put("files", self._key, [self._stamps, self._facts])


@dataclass
class _Look:
    """One look at all rows."""

    root: Path
    settings: Settings
    cache: Files
    findings: list[Finding] = field(default_factory=list)
    seen: dict[str, str] = field(default_factory=dict)  # path -> where it is named
    hashes: dict[str, tuple[str, tuple[str, str, str]]] = field(default_factory=dict)
    size_bytes: int = 0

    def add(self, rule: str, path: str, message: str) -> None:
        severity = self.settings.severity[rule]
        if severity == OFF:
            return
        self.findings.append(Finding(rule, path, message, severity, self.settings.allowed(rule, path)))

    def row(self, collection: str, name: str, sample: Mapping[str, Any]) -> None:
        rates: dict[str, int] = {}
        lengths: dict[str, float] = {}
        systems = sample.get("systems") or {}
        for category, files in (sample.get("files") or {}).items():
            model = ORIGINAL if category == ORIGINAL else (systems.get(category) or {}).get("model")
            for form, entry in files.items():
                path = str(entry["path"])
                place = f"{collection}: {name}, {category}, {form}"
                if path in self.seen:
                    self.add("doubled", path, f"named for {place} and for {self.seen[path]}; every name has one file")
                    continue
                self.seen[path] = place
                facts = self.file(path, str(form), entry)
                if facts is None:
                    continue
                identity = (name, str(model or f"{collection}/{category}"), str(form))
                known = self.hashes.setdefault(facts.sha256, (path, identity))
                if known[1] != identity:
                    self.add("same_bytes", path, f"has the very bytes of {known[0]}; one of the two is the wrong file")
                if facts.sample_rate_hz:
                    rates[path] = facts.sample_rate_hz
                if facts.duration_s is not None:
                    lengths[path] = facts.duration_s
        self.comparison(sample, rates, lengths)
        loudness = [v for v in (sample.get("loudness_lufs") or {}).values() if isinstance(v, int | float)]
        spread = max(loudness) - min(loudness) if loudness else 0.0
        if spread > self.settings.limits["level_spread_db"]:
            limit = self.settings.limits["level_spread_db"]
            row = f"{collection}/{name}"
            self.add("level_spread", row, f"its versions are {spread:.1f} dB apart; at most {limit:g} dB are matched")

    def file(self, path: str, form: str, entry: Mapping[str, Any]) -> AudioFacts | None:
        try:
            facts, size = self.cache.facts(f"{self.root}/{path}")
        except OSError:
            self.add("missing", path, "is not there")
            return None
        self.size_bytes += size
        wanted = CONTAINERS.get("." + path.rpartition(".")[2].lower())
        if facts.container == "lfs":
            self.add("lfs", path, "is a Git LFS pointer; fetch the file itself (git lfs pull)")
            return None
        if facts.container != wanted or form != wanted:
            self.add("type", path, f"is called {form} and holds bytes of the type {facts.container}")
        elif facts.problem:
            self.add("type", path, f"is no whole {wanted} file: {facts.problem}")
        if entry.get("bytes") not in {None, size}:
            self.add("bytes", path, f"has {size} bytes, the manifest says {entry['bytes']}")
        elif facts.sha256 != entry.get("sha256"):
            self.add("bytes", path, f"has the SHA-256 {facts.sha256[:12]}…, the manifest says {entry['sha256'][:12]}…")
        if facts.coding == "float" and facts.bits == 64:
            self.add("float64", path, "has samples of 64-bit floating point; store 16 or 24 bits")
        if facts.peak is not None:
            self.levels(path, facts)
        return facts

    def levels(self, path: str, facts: AudioFacts) -> None:
        limits = self.settings.limits
        peak_dbfs = 20 * log10(facts.peak) if facts.peak else float("-inf")
        if peak_dbfs < limits["silence_dbfs"]:
            self.add("silence", path, f"peaks at {peak_dbfs:.1f} dBFS, which is silence")
        if (facts.at_full_scale or 0) > limits["full_scale_samples"]:
            self.add("full_scale", path, f"has {facts.at_full_scale} samples at full scale; it is or was clipped")
        if abs(facts.mean or 0.0) > limits["dc_fs"]:
            self.add("dc", path, f"has a mean of {facts.mean:.4f} of full scale; it should be about 0")

    def comparison(self, sample: Mapping[str, Any], rates: Mapping[str, int], lengths: Mapping[str, float]) -> None:
        wanted_hz, wanted_s = sample.get("sample_rate_hz"), sample.get("duration_s")
        for path, rate in rates.items():
            # Opus has one rate for every recording.
            if rate != wanted_hz and not path.endswith(".opus"):
                self.add("rate", path, f"has {rate} Hz, its row {wanted_hz} Hz; a comparison has one rate")
        limit = self.settings.limits["duration_s"]
        for path, length in lengths.items():
            if isinstance(wanted_s, int | float) and abs(length - wanted_s) > limit:
                self.add("duration", path, f"lasts {length:.4f} s, its row {wanted_s:.4f} s")


def lint_audio(
    root: Path, collections: Mapping[str, Mapping[str, Any]], settings: Settings, files: Files | None = None
) -> AudioReport:
    """Look at every file that sample documents name.

    Args:
        root: Folder to which the documents' paths are relative.
        collections: Sample documents by name.
        settings: Severities, limits, allowances.
        files: What is known of files.

    Returns:
        What was found, in the order of the documents.
    """
    look = _Look(root, settings, files or Files())
    for collection, document in collections.items():
        for name, sample in document.items():
            look.row(collection, str(name), sample)
    rules = {name: (settings.severity[name], text) for name, (_, text) in RULES.items()}
    return AudioReport(len(look.seen), tuple(look.findings), rules, settings.limits, look.size_bytes)


def orphans(published: Iterable[str], named: Iterable[str], pages: Mapping[str, bytes]) -> Iterator[str]:
    """Name the published audio files that no manifest and no page names.

    Args:
        published: Paths of all files of the site.
        named: Paths that manifests name.
        pages: The site's pages.
    """
    known = set(named)
    for path in published:
        if Path(path).suffix.lower() not in SUFFIXES or path in known:
            continue
        base = path.rpartition("/")[2].encode()
        if not any(base in page for name, page in pages.items() if name.endswith((".html", ".css", ".js"))):
            yield path


def refuse_faults(report: AudioReport, path: Path) -> None:
    """Stop for the faults that are errors.

    Raises:
        DataError: Naming the first ones and how many there are.
    """
    errors = report.errors
    if errors:
        shown = "; ".join(str(finding) for finding in errors[:4])
        more = f"; and {len(errors) - 4} more" if len(errors) > 4 else ""
        remedy = "repair the files, or allow them with a reason under lint.allow in site.yml"
        raise DataError(f"{len(errors)} faults in the audio: {shown}{more} ({remedy})", path=path)
