"""Read a companion's ``_data/`` folder into frozen values.

The documents are the one seam between the evaluation and the site: every label, path, hash and number that a page shows
about a sample or a system comes from here. What is read is held against its schema first, so that everything below may
rely on it.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from paper_site.citation import Citation, read_citation
from paper_site.documents import line_of, read_document, read_text
from paper_site.errors import DataError
from paper_site.heldout import HeldOut, held_out
from paper_site.schema import did_you_mean, field_name, validate
from paper_site.studies import Findings, read_findings

if TYPE_CHECKING:
    from paper_site.lint import AudioReport

FORMATS = ("ogg", "flac", "wav")
ORIGINAL = "original"
WORST_SUFFIX = "_worst"
STUDY_PREFIX = "study_"
# Fields of a sample that are no labels of its corpus.
_RESERVED = frozenset(
    {"sample_rate_hz", "duration_s", "bits", "systems", "files", "loudness_lufs", "gain_db", "peak_dbfs"}
    | {"scores", "failures", "pictures", "selection", "clip_id", "group", "study"}
)
_DATA_SUFFIXES = {".yml", ".yaml", ".json", ".csv", ".tsv"}


@dataclass(frozen=True)
class Link:
    """A label and an address that a reader may follow."""

    label: str
    url: str


@dataclass(frozen=True)
class Author:
    """One author of the paper."""

    name: str
    affiliation: str | None = None
    url: str | None = None


@dataclass(frozen=True)
class Job:
    """One evaluation that the companion asks for."""

    collection: str
    title: str
    models: tuple[str, ...]
    settings: Mapping[str, Any]

    @property
    def main_metric(self) -> str | None:
        """The metric by which the worst clips are chosen, which is also the first one shown."""
        worst = self.settings.get("worst")
        return worst.get("metric") if isinstance(worst, Mapping) else None


@dataclass(frozen=True)
class Site:
    """What stands in ``_data/site.yml``."""

    title: str
    path: Path
    subtitle: str | None = None
    short_title: str | None = None
    authors: tuple[Author, ...] = ()
    venue: str | None = None
    date: str | None = None
    description: str | None = None
    licence: str | None = None
    language: str = "en"
    links: tuple[Link, ...] = ()
    navigation: tuple[tuple[str, str], ...] = ()
    jobs: tuple[Job, ...] = ()
    studies: Mapping[str, str | None] = field(default_factory=dict)  # name -> title, None where none is given
    raw: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Score:
    """One metric of one output: a value, or the reason why there is none."""

    value: float | None
    status: str
    reason: str | None = None


@dataclass(frozen=True)
class AudioFile:
    """One encoded file of a track."""

    path: str
    sha256: str
    size: int | None = None
    pcm_sha256: str | None = None


@dataclass(frozen=True)
class Picture:
    """A picture in a light and a dark form, with its text alternative."""

    kind: str
    light: str
    dark: str | None
    alt: str
    width: int | None
    height: int | None
    plot: tuple[float, float] | None = None  # left and right end of the time axis, as fractions of the width


@dataclass(frozen=True)
class Track:
    """What one system (or the recording itself) sounds like for one sample."""

    category: str
    title: str
    model: str | None
    run: str | None
    files: Mapping[str, AudioFile]
    loudness_lufs: float | None
    gain_db: float | None
    scores: Mapping[str, Score]
    pictures: Mapping[str, Picture]

    @property
    def is_original(self) -> bool:
        """Whether this is the recording that the systems were given."""
        return self.category == ORIGINAL


@dataclass(frozen=True)
class Sample:
    """One clip of a collection with all its tracks, the original first."""

    id: str
    anchor: str
    labels: Mapping[str, Any]
    duration_s: float
    sample_rate_hz: int
    tracks: tuple[Track, ...]
    selection: Mapping[str, Any]
    failures: Mapping[str, str] = field(default_factory=dict)

    def track(self, category: str) -> Track | None:
        """Find the track of a category."""
        return next((t for t in self.tracks if t.category == category), None)


@dataclass(frozen=True)
class Metric:
    """What a metric's column says about itself."""

    name: str
    title: str
    unit: str
    higher_is_better: bool
    definition_sha256: str | None
    raw: Mapping[str, Any]

    @property
    def direction(self) -> str:
        """The direction of better, in words."""
        return "higher is better" if self.higher_is_better else "lower is better"


@dataclass(frozen=True)
class System:
    """One system of a collection's results."""

    category: str
    model: str | None
    title: str
    raw: Mapping[str, Any]

    @property
    def n_failed(self) -> int:
        """Number of clips for which the system gave no output."""
        return int(self.raw.get("n_failed") or 0)


@dataclass(frozen=True)
class Aggregate:
    """A metric over all clips of a system: mean, interval, and how many clips are in it."""

    category: str
    metric: str
    n_ok: int
    n_undefined: int
    n_failed: int
    mean: float | None
    median: float | None
    low: float | None
    high: float | None
    level: float
    method: str | None
    raw: Mapping[str, Any]
    median_low: float | None = None
    median_high: float | None = None
    rank: float | None = None
    rank_low: float | None = None
    rank_high: float | None = None
    tied: str = ""


@dataclass(frozen=True)
class Difference:
    """A metric of a system minus that of the baseline, over the same clips."""

    category: str
    baseline: str
    metric: str
    n: int
    mean: float | None
    low: float | None
    high: float | None
    p: float | None = None
    p_holm: float | None = None
    d: float | None = None
    dominance: float | None = None
    detectable: float | None = None

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


@dataclass(frozen=True)
class CriticalDifference:
    """Average ranks of the systems in one metric, the best first, and which of them are not told apart."""

    metric: str
    blocks: int
    alpha: float
    width: float
    p: float | None
    ranks: tuple[tuple[str, float], ...]
    bars: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class SetScore:
    """One metric of all outputs of a system as a set, or of its codes where no embedding is named."""

    category: str
    metric: str
    title: str
    unit: str
    higher_is_better: bool | None
    embedding: str | None
    level: str | None
    value: float | None
    low: float | None
    high: float | None
    status: str
    reason: str | None
    n: int
    p: float | None
    floor: Mapping[str, Any]

    @property
    def mean(self) -> float | None:
        """The value, under the name that the number filters look for."""
        return self.value

    @property
    def shown(self) -> float | None:
        """The number to hold against the floor: measured against other clips, where that was done."""
        other = self.floor.get("at_floor_size")
        return self.value if other is None else float(other)


@dataclass(frozen=True)
class Results:
    """What stands in ``_data/results/<collection>.json``."""

    collection: str
    title: str
    run: str
    corpus: Mapping[str, Any]
    selection: Mapping[str, Any]
    worst: Mapping[str, Any]
    level_policy: Mapping[str, Any]
    systems: tuple[System, ...]
    metrics: tuple[Metric, ...]
    aggregates: Mapping[tuple[str, str], Aggregate]
    differences: tuple[Difference, ...]
    failures: tuple[Mapping[str, Any], ...]
    critical_differences: Mapping[str, CriticalDifference] = field(default_factory=dict)
    sets: tuple[SetScore, ...] = ()
    set_settings: Mapping[str, Any] = field(default_factory=dict)
    seed_variance: tuple[Mapping[str, Any], ...] = ()

    def metric(self, name: str) -> Metric | None:
        """Find a metric by name."""
        return next((m for m in self.metrics if m.name == name), None)

    def measures(self, category: str) -> bool:
        """Tell whether a system was measured, and not only shown."""
        return any(system.category == category for system in self.systems)

    def aggregate(self, category: str, metric: str) -> Aggregate | None:
        """Find the row of a system and metric."""
        return self.aggregates.get((category, metric))

    def difference(self, category: str, baseline: str, metric: str) -> Difference | None:
        """Find the difference of a system to a baseline, turned round if it is stored the other way."""
        for row in self.differences:
            if row.metric != metric:
                continue
            if (row.category, row.baseline) == (category, baseline):
                return row
            if (row.baseline, row.category) == (category, baseline):
                negative = [None if v is None else -v for v in (row.mean, row.high, row.low)]
                return Difference(category, baseline, metric, row.n, *negative)
        return None

    @property
    def baselines(self) -> tuple[str, ...]:
        """The categories that others are compared with, in order of appearance."""
        return tuple(dict.fromkeys(row.baseline for row in self.differences))

    def verdict(self, row: Difference) -> str:
        """Say what a difference shows: ``better``, ``worse`` or ``unclear``."""
        metric = self.metric(row.metric)
        if metric is None or row.mean is None or not row.excludes_zero:
            return "unclear"
        return "better" if (row.mean > 0) == metric.higher_is_better else "worse"

    def best(self, metric: Metric) -> str | None:
        """Name the category that is best by its differences to *every* other one, or None where that is not shown."""
        names = [s.category for s in self.systems]
        if len(names) < 2:
            return None
        for name in names:
            rows = [self.difference(name, other, metric.name) for other in names if other != name]
            if all(row is not None and self.verdict(row) == "better" for row in rows):
                return name
        return None


@dataclass(frozen=True)
class Collection:
    """A set of samples that is heard together."""

    name: str
    title: str
    samples: tuple[Sample, ...]
    results: Results | None
    job: Job | None
    worst: Collection | None = None
    held_out: HeldOut | None = None

    def percentile(self, track: Track, metric: str) -> float | None:
        """Share of the other held-out clips of a track's system that score worse than it does, in percent."""
        score = track.scores.get(metric)
        info = self.results.metric(metric) if self.results else None
        if self.held_out is None or score is None or score.status != "ok" or info is None:
            return None
        return self.held_out.percentile(track.category, metric, score.value, higher_is_better=info.higher_is_better)

    @property
    def other_settings(self) -> list[tuple[str, Any, Any]]:
        """What site.yml asks for now and what the results were made with, where the two differ: (field, now, then)."""
        if self.job is None or self.results is None:
            return []
        asked, results = self.job.settings, self.results
        found: list[tuple[str, Any, Any]] = [("title", asked.get("title"), results.title)]
        found += [(name, asked.get(name), results.corpus.get(name)) for name in ("layout", "split", "rule")]
        folder = str(asked.get("corpus") or "").rstrip("/").rpartition("/")[2]
        found.append(("corpus", folder or None, results.corpus.get("name")))
        for part, made in (("selection", results.selection), ("worst", results.worst)):
            wanted = asked.get(part) or {}
            found += [(f"{part}.{name}", value, made.get(name)) for name, value in wanted.items()]
        if self.job.models:
            models = [system.model for system in results.systems]
            found.append(("models", [name.partition("@")[0] for name in self.job.models], models))
        return [(name, now, then) for name, now, then in found if now is not None and then is not None and now != then]

    def places(self, metric: str) -> list[tuple[str, list[float]]]:
        """Title of every system and the percentiles of its shown clips, the lowest first."""
        found: dict[str, list[float]] = {}
        for sample in self.samples:
            for track in sample.tracks:
                place = None if track.is_original else self.percentile(track, metric)
                if place is not None:
                    found.setdefault(track.title, []).append(place)
        return [(title, sorted(places)) for title, places in found.items()]

    @property
    def numbers_only(self) -> bool:
        """Whether no clip was meant to be published, as with recordings that may not be passed on."""
        return not self.samples and self.results is not None and self.results.selection.get("count") == 0

    @property
    def categories(self) -> dict[str, str]:
        """Category -> title of every track that occurs, in order."""
        return {t.category: t.title for s in self.samples for t in s.tracks}

    @cached_property
    def main_metric(self) -> str | None:
        """The metric shown beside each player."""
        known = [m.name for m in self.results.metrics] if self.results else []
        known = known or list(dict.fromkeys(m for s in self.samples for t in s.tracks for m in t.scores))
        wanted = self.job.main_metric if self.job else None
        return wanted if wanted in known else (known[0] if known else None)


@dataclass(frozen=True)
class Run:
    """What stands in ``_data/runs/<run_id>.json``."""

    id: str
    path: Path
    raw: Mapping[str, Any]


@dataclass(frozen=True)
class Study:
    """A study: what it found out and what can be heard of it, as far as either is there."""

    name: str
    title: str
    findings: Findings | None
    rows: Collection | None


@dataclass(frozen=True)
class Companion:
    """Everything that the pages are made of."""

    source: Path
    site: Site
    collections: tuple[Collection, ...]
    runs: Mapping[str, Run]
    data: Mapping[str, Any]
    documents: Mapping[str, Path]  # path inside the site -> document to publish there
    studies: tuple[Study, ...] = ()
    audio: AudioReport | None = None
    citation: Citation | None = None

    @property
    def heard(self) -> tuple[Collection, ...]:
        """Everything that holds samples: collections, their worst clips, rows of studies."""
        parts = [part for c in self.collections for part in (c, c.worst) if part]
        return (*parts, *(study.rows for study in self.studies if study.rows))

    @property
    def missing(self) -> tuple[Job, ...]:
        """The evaluations asked for that have no results yet."""
        done = {c.name for c in self.collections if c.results}
        return tuple(job for job in self.site.jobs if job.collection not in done)


def check_address(value: str, path: Path, pointer: Sequence[str | int]) -> str:
    """Allow web and mail addresses and paths inside the site; refuse everything a script could hide in.

    Raises:
        DataError: With file, line and field.
    """
    compact = re.sub(r"[\s\x00-\x1f]", "", value)
    try:
        scheme = urlsplit(compact).scheme.lower()
    except ValueError:
        scheme = "?"
    relative = not scheme and not compact.startswith(("/", "\\")) and ".." not in compact.split("/")
    if compact != value or not value or not (relative or scheme in {"http", "https", "mailto"}):
        raise DataError(
            f"{field_name(pointer)}: {value[:80]!r} is not an address that a reader may follow"
            " (https://, http://, mailto: or a path inside the site)",
            path=path,
            line=line_of(read_text(path), pointer),
        )
    return value


def _text(value: Any) -> str | None:
    return None if value is None or value == "" else str(value)


def read_site(source: Path) -> Site:
    """Read ``_data/site.yml``.

    Raises:
        DataError: If it is missing, broken or does not hold its schema.
    """
    path = source / "_data" / "site.yml"
    if not path.is_file():
        raise DataError("there is no such file; it holds the paper's title, authors and links", path=path)
    raw = read_document(path)
    validate(raw, "site", path)
    authors = tuple(
        Author(
            str(a["name"]),
            _text(a.get("affiliation")),
            check_address(a["url"], path, ["authors", i, "url"]) if a.get("url") else None,
        )
        for i, a in enumerate(raw.get("authors") or [])
    )
    links = tuple(
        Link(str(a["label"]), check_address(a["url"], path, ["links", i, "url"]))
        for i, a in enumerate(raw.get("links") or [])
    )
    jobs = tuple(
        Job(str(j["collection"]), str(j.get("title") or j["collection"]), tuple(j.get("models") or ()), j)
        for j in raw.get("evaluation") or []
    )
    return Site(
        title=str(raw["title"]),
        path=path,
        subtitle=_text(raw.get("subtitle")),
        short_title=_text(raw.get("short_title")),
        authors=authors,
        venue=_text(raw.get("venue")),
        date=_text(raw.get("date")),
        description=_text(raw.get("description")),
        licence=_text(raw.get("licence")),
        language=str(raw.get("language") or "en"),
        links=links,
        navigation=tuple((str(n["title"]), str(n["page"])) for n in raw.get("navigation") or []),
        jobs=jobs,
        studies={str(entry["study"]): _text(entry.get("title")) for entry in raw.get("studies") or []},
        raw=raw,
    )


def media_path(value: str, path: Path, pointer: Sequence[str | int]) -> str:
    """Check that a media path of a manifest stays below ``assets/``.

    Raises:
        DataError: With file, line and field, if it does not.
    """
    parts = value.split("/")
    if parts[0] != "assets" or len(parts) < 2 or any(p in {"", ".", ".."} for p in parts) or "\\" in value:
        raise DataError(
            f"{field_name(pointer)}: {value[:80]!r} must be a path below assets/",
            path=path,
            line=line_of(read_text(path), pointer),
        )
    return value


def files_inside(folder: Path, source: Path) -> frozenset[str]:
    """Name the files of a folder; none where it leaves the source, and no link that does."""
    root = source.resolve()
    if not folder.is_dir() or not folder.resolve().is_relative_to(root):
        return frozenset()
    with os.scandir(folder) as entries:
        return frozenset(
            entry.name
            for entry in entries
            if entry.is_file() and (not entry.is_symlink() or Path(entry.path).resolve().is_relative_to(root))
        )


def _png_size(path: Path) -> tuple[int | None, int | None]:
    try:
        with path.open("rb") as file:
            head = file.read(24)
    except OSError:
        return None, None
    if head[:8] != b"\x89PNG\r\n\x1a\n":
        return None, None
    return int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")


def anchor(name: str) -> str:
    """Make an element id of a sample id; names that had to be changed get a hash, so that no two become one."""
    safe = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")
    if safe == name and safe[:1].isalpha():
        return safe
    return f"s-{safe[:60]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


class _CollectionReader:
    """Turns one manifest into samples, and checks the media that it names."""

    def __init__(self, path: Path, source: Path) -> None:
        self.path = path
        self.source = source
        self.folders: dict[str, frozenset[str]] = {}

    def samples(self, document: Mapping[str, Any]) -> Iterator[Sample]:
        for name, raw in document.items():
            yield self.sample(name, raw)

    def sample(self, name: str, raw: Mapping[str, Any]) -> Sample:
        systems = dict(raw.get("systems") or {})
        categories = list(dict.fromkeys([ORIGINAL, *systems, *raw["files"]]))
        return Sample(
            id=name,
            anchor=anchor(name),
            labels={key: value for key, value in raw.items() if key not in _RESERVED},
            duration_s=float(raw["duration_s"]),
            sample_rate_hz=int(raw["sample_rate_hz"]),
            tracks=tuple(self.track(name, raw, c, systems.get(c) or {}) for c in categories if c in raw["files"]),
            selection=raw.get("selection") or {},
            failures={
                str((systems.get(category) or {}).get("title") or category): str(error)
                for category, error in (raw.get("failures") or {}).items()
            },
        )

    def track(self, name: str, raw: Mapping[str, Any], category: str, system: Mapping[str, Any]) -> Track:
        files = {
            form: AudioFile(
                self.media([name, "files", category, form, "path"], f["path"]),
                f["sha256"],
                f.get("bytes"),
                f.get("pcm_sha256"),
            )
            for form, f in sorted(raw["files"][category].items(), key=lambda item: _order(item[0]))
        }
        scores = {
            metric: Score(s.get("value"), s["status"], _text(s.get("reason")))
            for metric, s in (raw.get("scores", {}).get(category) or {}).items()
        }
        default = "Original" if category == ORIGINAL else category
        return Track(
            category=category,
            title=str(system.get("title") or default),
            model=_text(system.get("model")),
            run=_text(system.get("run")),
            files=files,
            loudness_lufs=(raw.get("loudness_lufs") or {}).get(category),
            gain_db=(raw.get("gain_db") or {}).get(category),
            scores=scores,
            pictures={
                kind: self.picture(name, category, kind, p)
                for kind, p in ((raw.get("pictures") or {}).get(category) or {}).items()
                if p
            },
        )

    def picture(self, name: str, category: str, kind: str, raw: Mapping[str, Any]) -> Picture:
        pointer = [name, "pictures", category, kind]
        light = self.media([*pointer, "light"], raw["light"])
        dark = self.media([*pointer, "dark"], raw["dark"]) if raw.get("dark") else None
        width, height = _png_size(self.source / light)
        return Picture(kind, light, dark, str(raw.get("alt") or ""), width, height, _plot(raw))

    def media(self, pointer: list[str | int], value: str) -> str:
        media_path(value, self.path, pointer)
        folder, _, name = value.rpartition("/")
        if folder not in self.folders:
            self.folders[folder] = files_inside(self.source / folder, self.source)
        if name not in self.folders[folder]:
            raise DataError(
                f"{field_name(pointer)}: the file {value!r} is missing; run python build_site.py to make it",
                path=self.path,
                line=line_of(read_text(self.path), pointer),
            )
        return value


def _plot(raw: Mapping[str, Any]) -> tuple[float, float] | None:
    plot = raw.get("plot")
    if isinstance(plot, Mapping) and {"left", "right"} <= plot.keys():
        return float(plot["left"]), float(plot["right"])
    return None


def _order(form: str) -> tuple[int, str]:
    return (FORMATS.index(form) if form in FORMATS else len(FORMATS), form)


def _read_results(path: Path) -> Results:
    raw = read_document(path)
    validate(raw, "results", path)
    aggregates = {}
    for a in raw["aggregates"]:
        aggregates[a["category"], a["metric"]] = Aggregate(
            category=a["category"],
            metric=a["metric"],
            n_ok=int(a.get("n_ok") or 0),
            n_undefined=int(a.get("n_undefined") or 0),
            n_failed=int(a.get("n_failed") or 0),
            mean=a.get("mean"),
            median=a.get("median"),
            low=a.get("low"),
            high=a.get("high"),
            level=float(a.get("level") or 0.95),
            method=_text(a.get("method")),
            raw=a,
            tied=str(a.get("tied") or ""),
            **{key: a.get(key) for key in ("median_low", "median_high", "rank", "rank_low", "rank_high")},
        )
    return Results(
        collection=raw["collection"],
        title=str(raw.get("title") or raw["collection"]),
        run=str(raw["run"]),
        corpus=raw.get("corpus") or {},
        selection=raw.get("selection") or {},
        worst=raw.get("worst") or {},
        level_policy=raw.get("level_policy") or {},
        systems=tuple(
            System(s["category"], _text(s.get("model")), str(s.get("title") or s["category"]), s)
            for s in raw["systems"]
        ),
        metrics=tuple(
            Metric(
                m["name"],
                str(m.get("title") or m["name"]),
                "" if m.get("unit") == "1" else str(m.get("unit") or ""),
                bool(m.get("higher_is_better")),
                _text(m.get("definition_sha256")),
                m,
            )
            for m in raw["metrics"]
        ),
        aggregates=aggregates,
        differences=tuple(
            Difference(
                d["category"],
                d["baseline"],
                d["metric"],
                int(d.get("n") or 0),
                d.get("mean"),
                d.get("low"),
                d.get("high"),
                **{key: d.get(key) for key in ("p", "p_holm", "d", "dominance", "detectable")},
            )
            for d in raw.get("differences") or []
        ),
        failures=tuple(raw.get("failures") or []),
        critical_differences={
            c["metric"]: CriticalDifference(
                c["metric"],
                int(c["blocks"]),
                float(c["alpha"]),
                float(c["critical_difference"]),
                c["p"],
                tuple((r["category"], float(r["rank"])) for r in c["average_ranks"]),
                tuple(tuple(bar) for bar in c["not_told_apart"]),
            )
            for c in raw.get("critical_differences") or []
        },
        sets=tuple(_set_score(row) for row in (raw.get("sets") or {}).get("rows") or []),
        set_settings=raw.get("sets") or {},
        seed_variance=tuple(raw.get("seed_variance") or []),
    )


def _set_score(row: Mapping[str, Any]) -> SetScore:
    return SetScore(
        category=row["category"],
        metric=row["metric"],
        title=str(row.get("title") or row["metric"]),
        unit="" if row["unit"] == "1" else str(row["unit"]),
        higher_is_better=row["higher_is_better"],
        embedding=row["embedding"],
        level=_text(row.get("level")),
        value=row["value"],
        low=row.get("low"),
        high=row.get("high"),
        status=row["status"],
        reason=_text(row.get("reason")),
        n=int(row["n_estimate"]),
        p=row.get("p"),
        floor=row.get("floor") or {},
    )


def _read_held_out(path: Path, results: Results) -> HeldOut:
    raw = read_document(path)
    validate(raw, "clips", path)
    wrong = None
    if raw["collection"] != path.stem:
        wrong = f"collection: {raw['collection']!r} must be the file's name {path.stem!r}"
    elif raw["run"] != results.run:
        wrong = f"run: {raw['run']!r} is not the run {results.run!r} of the results; run python build_site.py"
    for category, metrics in raw["scores"].items():
        for metric, values in metrics.items():
            if len(values) != len(raw["clips"]):
                wrong = f"scores.{category}.{metric}: {len(values)} values for {len(raw['clips'])} clips"
    if wrong:
        raise DataError(wrong, path=path, line=line_of(read_text(path), [wrong.split(":")[0]]))
    return held_out(raw)


def _read_collection(path: Path, source: Path) -> tuple[Any, tuple[Sample, ...]]:
    document = read_document(path)
    if document is None:
        document = {}
    validate(document, "collection", path)
    wrong = [key for key in document if not isinstance(key, str)]
    if wrong:
        raise DataError(
            f"the sample id {wrong[0]!r} must be a text: put it in quotes",
            path=path,
            line=line_of(read_text(path), [str(wrong[0])], key=True),
        )
    return document, tuple(_CollectionReader(path, source).samples(document))


def read_companion(source: Path) -> Companion:
    """Read everything below ``_data/``.

    Args:
        source: The companion's folder.

    Returns:
        The companion; collections in the order in which ``site.yml`` asks for them.

    Raises:
        DataError: For the first document that is broken, does not hold its schema, or names a file that is missing.
    """
    site = read_site(source)
    folder = source / "_data"
    names = {p.stem for p in (folder / "results").glob("*.json")} if (folder / "results").is_dir() else set()
    jobs = {job.collection: job for job in site.jobs}
    wanted = list(dict.fromkeys([*jobs, *sorted(names)]))
    findings = {p.stem: read_findings(p) for p in sorted((folder / "studies").glob("*.json"))}
    studies = list(dict.fromkeys([*site.studies, *findings]))
    with_samples = {*wanted, *(STUDY_PREFIX + name for name in studies)}

    data: dict[str, Any] = {"site": site.raw}
    samples: dict[str, tuple[Sample, ...]] = {}
    documents: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix not in _DATA_SUFFIXES or not path.is_file() or path.stem == "site":
            continue
        base = path.stem.removesuffix(WORST_SUFFIX)
        if path.suffix == ".yml" and with_samples & {base, path.stem}:
            data[path.stem], samples[path.stem] = _read_collection(path, source)
            documents[f"data/{path.name}"] = path
        else:
            data[path.stem] = read_document(path)
            if path.name == "benchmarks.json":
                documents[f"data/history/{path.name}"] = path

    results: dict[str, Results] = {}
    for name in wanted:
        path = folder / "results" / f"{name}.json"
        if path.is_file():
            results[name] = _read_results(path)
            documents[f"data/results/{name}.json"] = path

    scores: dict[str, HeldOut] = {}
    for name in results:
        path = folder / "clips" / f"{name}.json"
        if path.is_file():
            scores[name] = _read_held_out(path, results[name])
            documents[f"data/clips/{name}.json"] = path

    runs: dict[str, Run] = {}
    for path in sorted((folder / "runs").glob("*.json")) if (folder / "runs").is_dir() else ():
        raw = read_document(path)
        validate(raw, "run", path)
        run = Run(str(raw["run_id"]), path, raw)
        if run.id != path.stem:
            raise DataError(f"run_id: {run.id!r} must be the file's name {path.stem!r}", path=path)
        runs[run.id] = run
        documents[f"data/runs/{path.name}"] = path

    collections = []
    for name in wanted:
        job = jobs.get(name)
        if name not in samples and name not in results:
            continue
        title = results[name].title if name in results else job.title if job else name
        worst = None
        if samples.get(name + WORST_SUFFIX):
            poor = samples[name + WORST_SUFFIX]
            worst = Collection(name + WORST_SUFFIX, title, poor, results.get(name), job, held_out=scores.get(name))
        collections.append(
            Collection(name, title, samples.get(name, ()), results.get(name), job, worst, scores.get(name))
        )
    shown = []
    for name in studies:
        found = findings.get(name)
        title = site.studies.get(name) or (found.title if found else name)
        heard = samples.get(STUDY_PREFIX + name)
        rows = Collection(STUDY_PREFIX + name, title, heard, None, None) if heard else None
        shown.append(Study(name, title, found, rows))
        if found:
            documents[f"data/studies/{name}.json"] = folder / "studies" / f"{name}.json"
    citation, path_of_it = read_citation(source, site)
    if path_of_it is not None:
        documents[path_of_it.name] = path_of_it
    parts = (tuple(collections), runs, data, documents, tuple(shown))
    companion = Companion(source, site, *parts, citation=citation)
    _check_runs(companion)
    for collection in companion.collections:
        _check_collection(companion, collection)
    return companion


def _check_collection(companion: Companion, collection: Collection) -> None:
    """Hold the samples of a collection against its results: the same systems under the same names, chosen as stated."""
    results = collection.results
    if results is None:
        return
    recorded = companion.runs[results.run].raw.get("corpus")
    stated_hash = results.corpus.get("content_sha256")
    if isinstance(recorded, Mapping) and recorded.get("content_sha256", stated_hash) != stated_hash:
        path = companion.source / "_data" / "results" / f"{collection.name}.json"
        raise DataError(
            f"corpus.content_sha256: {stated_hash!r} is not that of the run {results.run}",
            path=path,
            line=line_of(read_text(path), ["corpus", "content_sha256"]),
        )
    known = {system.category: system for system in results.systems}
    for part, stated in ((collection, results.selection), (collection.worst, results.worst)):
        for rank, sample in enumerate(part.samples if part else (), 1):
            path = companion.source / "_data" / f"{part.name if part else ''}.yml"
            for track in sample.tracks:
                system = known.get(track.category)
                if track.run != results.run or system is None:
                    continue
                for name, ours, theirs in (
                    ("model", track.model, system.model),
                    ("title", track.title, system.title),
                ):
                    if ours != theirs:
                        raise _mismatch(path, [sample.id, "systems", track.category, name], ours, theirs, collection)
            chosen = sample.selection
            for name in ("population", "seed") if part is not collection else ("rule", "population", "seed"):
                if name in chosen and name in stated and chosen[name] != stated[name]:
                    raise _mismatch(path, [sample.id, "selection", name], chosen[name], stated[name], collection)
            if collection.held_out is not None:
                _check_scores(path, sample, collection, collection.held_out)
            if chosen.get("rank", rank) != rank:
                raise _mismatch(path, [sample.id, "selection", "rank"], chosen["rank"], rank, collection)
        if part is not None and part.samples and stated and stated.get("count") != len(part.samples):
            path = companion.source / "_data" / "results" / f"{collection.name}.json"
            where = "selection" if part is collection else "worst"
            raise DataError(
                f"{where}.count: {stated.get('count')} clips were chosen and {part.name}.yml holds {len(part.samples)};"
                " run python build_site.py",
                path=path,
                line=line_of(read_text(path), [where, "count"]),
            )


def _check_scores(path: Path, sample: Sample, collection: Collection, scores: HeldOut) -> None:
    """A shown clip is one of the held-out set, with the scores that it has there."""
    if sample.id not in scores.places:
        raise DataError(
            f"{sample.id!r} is no clip of the held-out set in clips/{collection.name}.json",
            path=path,
            line=line_of(read_text(path), [sample.id], key=True),
        )
    for track in sample.tracks:
        known = scores.scores.get(track.category, {})
        for metric, score in track.scores.items():
            value = score.value if score.status == "ok" else None
            if metric in known and known[metric][scores.places[sample.id]] != value:
                held = known[metric][scores.places[sample.id]]
                pointer: list[str | int] = [sample.id, "scores", track.category, metric]
                raise DataError(
                    f"{field_name(pointer)}: {value!r} is not what clips/{collection.name}.json says: {held!r}",
                    path=path,
                    line=line_of(read_text(path), pointer),
                )


def _mismatch(path: Path, pointer: list[str | int], ours: Any, theirs: Any, collection: Collection) -> DataError:
    return DataError(
        f"{field_name(pointer)}: {ours!r} is not what results/{collection.name}.json says: {theirs!r}",
        path=path,
        line=line_of(read_text(path), pointer),
    )


def _check_runs(companion: Companion) -> None:
    """Every number links to the record of its run, so that record has to be there."""
    for collection in companion.collections:
        named: dict[str, str] = {}
        if collection.results:
            named[f"results/{collection.name}.json"] = collection.results.run
        for part in (collection, collection.worst):
            for sample in part.samples if part else ():
                for track in sample.tracks:
                    if track.run:
                        named.setdefault(f"{part.name if part else ''}.yml", track.run)
                        if track.run not in companion.runs:
                            named[f"{part.name if part else ''}.yml"] = track.run
        _check_named(companion, named)
    _check_named(companion, {f"studies/{s.name}.json": s.findings.run for s in companion.studies if s.findings})


def _check_named(companion: Companion, named: Mapping[str, str]) -> None:
    for file, run in named.items():
        if run not in companion.runs:
            path = companion.source / "_data" / file
            hint = did_you_mean(run, companion.runs)
            raise DataError(f"the run record _data/runs/{run}.json is missing{hint}", path=path)
