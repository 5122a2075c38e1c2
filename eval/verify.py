"""Whether what is published follows from what was recorded: every number derived again, every file hashed again.

Of a companion's folder:

* every document under ``_data`` holds its schema, and runs, results, studies and manifests name each other, with the
  same corpus, weights and metric definitions;
* every aggregate, rank, difference and failure of a results document follows from the rows of its results store, and
  the published clips are those that the stated rule chooses from them, with the scores of the rows;
* what was measured of whole sets is what its store holds for these very clips and outputs;
* every published file is there with the size, the hash and the decoded samples that its manifest states, and every
  picture is there.

Of a results store: the database is whole, every output lies on disk with the samples that were stored, every score
belongs to an output, and the records of runs agree with the rows. Nothing is written, and no model is loaded.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from eval import manifest
from eval.evaluation import seed_folder
from eval.metrics import METRICS
from eval.publish import WORST
from eval.recorded import StoreContents, column_name, definition_hash, open_database, read_document, read_store, shown
from eval.results import FILE_NAME
from eval.runner import worker_count
from eval.selection import Candidate, select, worst
from eval.sets.publishing import drawn, fact_hash, set_facts
from eval.studies import collection_name
from eval.summary import (
    Standing,
    aggregates,
    checkpoint_components,
    diagram_entry,
    differences,
    medians,
    seed_components,
    standings,
)
from models.errors import AudioError, InputError, ManifestError

RELATIVE_TOLERANCE = 1e-9
"""Largest relative difference between a published number and the one derived again; another library's sums differ."""


@dataclass(frozen=True)
class Finding:
    """Something that is not as it should be.

    Attributes:
        file: The file, below the verified folder.
        field: Where in it.
        found: What stands there.
        expected: What should.
    """

    file: str
    field: str
    found: str
    expected: str

    def __str__(self) -> str:
        return shown(f"{self.file}: {self.field}: found {self.found}, expected {self.expected}")


@dataclass
class Verification:
    """What was looked at, and what was found.

    Attributes:
        findings: What is wrong.
        unchecked: What could not be checked, and why.
        documents: Documents read.
        numbers: Numbers derived again.
        files: Files hashed again.
        rows: Rows of results stores looked at.
    """

    findings: list[Finding] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)
    documents: int = 0
    numbers: int = 0
    files: int = 0
    rows: int = 0

    def expect(self, file: str, where: str, found: Any, expected: Any) -> bool:
        """Note a finding unless two values are equal; says whether they are."""
        if found == expected:
            return True
        self.findings.append(Finding(file, where, _shown(found), _shown(expected)))
        return False

    def wrong(self, file: str, where: str, found: str, expected: str) -> None:
        """Note a finding."""
        self.findings.append(Finding(file, where, found, expected))


def verify(folder: Path, *, workers: int | None = None) -> Verification:
    """Verify a companion's folder or a results store.

    Args:
        folder: A folder with ``_data/``, or one with a results store.
        workers: Files hashed side by side; one a core when None.

    Raises:
        InputError: If the folder is neither.
    """
    folder = folder.parent if folder.name == FILE_NAME else folder
    done = Verification()
    if (folder / "_data").is_dir():
        _companion(folder, done, workers or worker_count("cpu"))
    elif (folder / FILE_NAME).is_file():
        _store(folder, "", read_store(folder), done, workers or worker_count("cpu"))
    else:
        fault = "holds neither _data/ nor a results store" if folder.is_dir() else "no such folder"
        raise InputError(f"{folder}: {fault}; name a companion's folder or one of results")
    return done


def summary(done: Verification) -> str:
    """What was looked at, in a line."""
    return (
        f"verified: {done.documents} documents, {done.numbers} numbers, {done.files} files, {done.rows} rows;"
        f" {len(done.findings)} findings, {len(done.unchecked)} things that could not be checked"
    )


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return repr(value)
    text = str(value)
    return text if len(text) <= 120 else f"{text[:117]}…"


# --- a companion


def _companion(folder: Path, done: Verification, workers: int) -> None:
    data = folder / "_data"
    runs = _documents(folder, data / "runs", "run", done)
    results = _documents(folder, data / "results", "results", done)
    studies = _documents(folder, data / "studies", "study", done)
    collections = _collections(folder, done)
    for stem, run in runs.items():
        _run(f"_data/runs/{stem}.json", stem, run, done)
    for stem, document in results.items():
        file = f"_data/results/{stem}.json"
        done.expect(file, "collection", document["collection"], stem)
        _named_run(file, document, runs, done)
        contents = _rows_behind(folder, file, document, done)
        if contents is not None:
            clip_ids = _members(document, contents, file, done)
            if clip_ids is not None:
                _derived(file, document, contents, clip_ids, done)
                _sets(file, document, contents, clip_ids, done)
                _seed_variance(folder, file, document, contents, clip_ids, done)
                for name in (stem, f"{stem}{WORST}"):
                    if name in collections:
                        _chosen(f"_data/{name}.yml", name, document, collections[name], contents, clip_ids, done)
    for stem, document in studies.items():
        file = f"_data/studies/{stem}.json"
        done.expect(file, "study", document["study"], stem)
        measured = runs.get(document["run"])
        if measured is None:
            done.wrong(file, "run", document["run"], f"a record _data/runs/{document['run']}.json")
            continue
        done.expect(file, "run", measured.get("study"), stem)
        _weights(file, document.get("models", []), measured, "name", done)
    known = {*results, *(f"{stem}{WORST}" for stem in results), *map(collection_name, studies)}
    for name, samples in collections.items():
        file = f"_data/{name}.yml"
        if name not in known:
            done.unchecked.append(f"{file}: no results document or study is named like it")
        _sample_runs(file, samples, runs, results.get(name.removesuffix(WORST)), done)
    _files(folder, collections, done, workers)


def _documents(folder: Path, place: Path, kind: str, done: Verification) -> dict[str, dict[str, Any]]:
    found = {}
    for path in sorted(place.glob("*.json")):
        try:
            found[path.stem] = read_document(path, kind)
        except InputError as error:
            _refused(folder, path, error, done)
        done.documents += 1
    return found


def _refused(folder: Path, path: Path, error: Exception, done: Verification) -> None:
    file = path.relative_to(folder).as_posix()
    said = " ".join(str(error).split()).removeprefix(f"{path}").lstrip(":0123456789 ")
    done.wrong(file, "the document", said, "one that holds its schema")


def _collections(folder: Path, done: Verification) -> dict[str, dict[str, Any]]:
    found = {}
    for path in sorted((folder / "_data").glob("*.yml")):
        if path.name == "site.yml":
            continue
        done.documents += 1
        try:
            document = yaml.load(path.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
            manifest.check(document, "collection", path)
        except (OSError, UnicodeDecodeError, yaml.YAMLError, ManifestError) as error:
            _refused(folder, path, error, done)
            continue
        found[path.stem] = document
    return found


def _run(file: str, stem: str, run: Mapping[str, Any], done: Verification) -> None:
    done.expect(file, "run_id", run["run_id"], stem)
    clips = run["clips"]
    if {"total", "ok", "failed"} <= clips.keys():
        done.expect(file, "clips.total", clips["total"], clips["ok"] + clips["failed"])
    for name, definition in run["metrics"].items():
        done.expect(file, f"metrics.{name}.name", definition.get("name"), name)


def _named_run(
    file: str, document: Mapping[str, Any], runs: Mapping[str, Mapping[str, Any]], done: Verification
) -> None:
    run = runs.get(document["run"])
    if run is None:
        done.wrong(file, "run", document["run"], f"a record _data/runs/{document['run']}.json")
        return
    for key, value in document["corpus"].items():
        done.expect(file, f"corpus.{key}", value, run["corpus"].get(key))
    _weights(file, document["systems"], run, "model", done)
    for row in document["metrics"]:
        definition = run["metrics"].get(row["name"])
        if definition is None:
            done.wrong(file, f"metrics.{row['name']}", "a metric", f"one of the run {document['run']}")
            continue
        done.expect(
            file, f"metrics.{row['name']}.definition_sha256", row["definition_sha256"], definition_hash(definition)
        )
        for key in ("unit", "higher_is_better"):
            done.expect(file, f"metrics.{row['name']}.{key}", row[key], definition.get(key))


def _weights(
    file: str, systems: Sequence[Mapping[str, Any]], run: Mapping[str, Any], key: str, done: Verification
) -> None:
    described = {about.get("name"): about for about in run["models"]}
    for system in systems:
        name = system[key]
        if name not in described:
            done.wrong(file, f"systems.{name}", "a system", f"one that the run {run['run_id']} describes")
            continue
        if "checkpoint_sha256" in system:
            checkpoint = described[name].get("checkpoint", described[name].get("checkpoint_sha256"))
            stated = checkpoint.get("sha256") if isinstance(checkpoint, Mapping) else checkpoint
            done.expect(file, f"systems.{name}.checkpoint_sha256", system["checkpoint_sha256"], stated)


def _rows_behind(folder: Path, file: str, document: Mapping[str, Any], done: Verification) -> StoreContents | None:
    store = folder / "_results" / str(document["collection"])
    if not (store / FILE_NAME).is_file():
        done.unchecked.append(f"{file}: its results store is not here, so its numbers cannot be derived again")
        return None
    name = (store / FILE_NAME).relative_to(folder).as_posix()
    try:
        contents = read_store(store)
    except InputError as error:
        _refused(folder, store / FILE_NAME, error, done)
        return None
    known = [run.get("run_id") for run in contents.runs]
    if document["run"] not in known:
        done.wrong(file, "run", str(document["run"]), f"one of the runs in {name}")
        return None
    if known[-1] != document["run"]:
        done.unchecked.append(f"{file}: {name} holds a later run, {known[-1]}, so its numbers cannot be derived again")
        return None
    _store(folder, f"_results/{document['collection']}", contents, done, 1, hash_files=False)
    return contents


def _members(document: Mapping[str, Any], contents: StoreContents, file: str, done: Verification) -> list[str] | None:
    """Clips of the split that a document is about."""
    have, wanted = len(contents.clip_ids), int(document["corpus"]["clips"])
    if have == wanted:
        return contents.clip_ids
    if have < wanted:
        done.wrong(file, "corpus.clips", str(wanted), f"{have}, the number in the results store")
        return None
    if document["corpus"].get("limit") == wanted:
        return contents.clip_ids[:wanted]
    done.unchecked.append(
        f"{file}: its results store holds {have} clips for its {wanted}, so its numbers cannot be derived again"
    )
    return None


def _derived(
    file: str, document: Mapping[str, Any], contents: StoreContents, clip_ids: Sequence[str], done: Verification
) -> None:
    """Derive aggregates, differences and failures again."""
    models = {system["category"]: system["model"] for system in document["systems"]}
    missing = [model for model in models.values() if model not in contents.outputs]
    if missing:
        done.wrong(file, "systems", missing[0], f"one of the results store: {', '.join(contents.models)}")
        return
    table = contents.table(clip_ids, list(models.values()))
    for system in document["systems"]:
        rows = contents.outputs[system["model"]]
        ok = sum(clip in rows and rows[clip].status == "ok" for clip in clip_ids)
        done.expect(file, f"systems.{system['category']}.n_ok", system["n_ok"], ok)
        done.expect(file, f"systems.{system['category']}.n_failed", system["n_failed"], len(clip_ids) - ok)
    groups = len(set(table.groups))
    done.expect(file, "corpus.groups", document["corpus"]["groups"], groups)
    stated = {(row["category"], row["metric"]): row for row in document["aggregates"]}
    names = [row["name"] for row in document["metrics"]]
    absent = [name for name in names if name not in contents.metrics]
    if absent:
        done.wrong(file, "metrics", absent[0], f"one of the results store: {', '.join(contents.metrics)}")
        return
    wanted = {(category, name) for category in models for name in names}
    for category, name in sorted(wanted ^ stated.keys()):
        there = (category, name) in stated
        done.wrong(
            file, f"aggregates.{category}.{name}", "an entry" if there else "none", "none" if there else "an entry"
        )
    seeds = {int(row["seed"]) for row in document["aggregates"] if "seed" in row}
    seed = seeds.pop() if len(seeds) == 1 else None
    if seed is None:
        done.unchecked.append(f"{file}: its aggregates do not state one seed, so no interval can be derived again")
        return
    cells = [(category, name) for name in names for category in models if (category, name) in stated]
    asked = [(models[category], name) for category, name in cells]
    higher = {row["name"]: row["higher_is_better"] for row in document["metrics"]}
    stands = standings(table, list(models.values()), {name: higher[name] for name in names}, seed)
    made = zip(aggregates(table, asked, seed), medians(table, asked, seed), strict=True)
    for (category, name), (row, middle) in zip(cells, made, strict=True):
        derived = {**row, **middle, **stands[name].place(models[category])}
        _numbers(file, f"aggregates.{category}.{name}", stated[category, name], derived, done)
    _diagrams(file, document, stands, {model: category for category, model in models.items()}, done)
    baselines = {row["baseline"] for row in document["differences"]}
    for baseline in sorted(baselines):
        if baseline not in models:
            done.wrong(file, "differences.baseline", baseline, f"one of {', '.join(models)}")
            continue
        known = [
            entry
            for entry in document["differences"]
            if entry["baseline"] == baseline and entry["category"] in models and entry["metric"] in names
        ]
        asked = [(models[entry["category"]], entry["metric"]) for entry in known]
        for entry, found in zip(known, differences(table, asked, models[baseline], seed), strict=True):
            _numbers(file, f"differences.{entry['category']}.{entry['metric']}", entry, found, done)
    failed = {(row["clip"], row["category"]) for row in document["failures"]}
    expected = {(clip, category) for category, model in models.items() for clip in table.errors[model]}
    for clip, category in sorted(failed ^ expected):
        there = (clip, category) in failed
        done.wrong(
            file,
            f"failures.{category}.{clip}",
            "a failure" if there else "none",
            "none" if there else "the failure of the results store",
        )


def _diagrams(
    file: str,
    document: Mapping[str, Any],
    stands: Mapping[str, Standing],
    categories: Mapping[str, str],
    done: Verification,
) -> None:
    """Derive the critical-difference diagrams again, where a document has them."""
    if "critical_differences" not in document:
        return
    expected = {
        name: diagram_entry(name, stand.diagram, categories)
        for name, stand in stands.items()
        if stand.diagram is not None
    }
    stated = {row["metric"]: row for row in document["critical_differences"]}
    for name in sorted(expected.keys() ^ stated.keys()):
        there = name in stated
        done.wrong(
            file, f"critical_differences.{name}", "an entry" if there else "none", "none" if there else "an entry"
        )
    for name in expected.keys() & stated.keys():
        mine, theirs = dict(expected[name]), dict(stated[name])
        ranks, published = ({row["category"]: row["rank"] for row in d.pop("average_ranks")} for d in (mine, theirs))
        where = f"critical_differences.{name}"
        _numbers(file, where, theirs, mine, done)
        done.expect(file, f"{where}.average_ranks", sorted(published), sorted(ranks))
        _numbers(file, f"{where}.average_ranks", published, ranks, done)


def _seed_variance(
    folder: Path,
    file: str,
    document: Mapping[str, Any],
    contents: StoreContents,
    clip_ids: Sequence[str],
    done: Verification,
) -> None:
    """Derive the variance of seeds and of checkpoints again."""
    stated = document.get("seed_variance", [])
    if not stated:
        return
    models = {system["category"]: system["model"] for system in document["systems"]}
    names = [row["name"] for row in document["metrics"]]
    seeds: list[int] = next((list(row["members"]) for row in stated if row["of"] == "seeds"), [])
    main = contents.table(clip_ids, list(models.values()))
    tables = [main]
    for seed in seeds[1:]:
        store = seed_folder(folder / "_results" / str(document["collection"]), int(seed))
        try:
            tables.append(read_store(store).table(models=list(models.values())))
        except InputError:
            done.unchecked.append(f"{file}: the store of the seed {seed} is not here, so the seeds cannot be compared")
            return
    derived = seed_components(tables, seeds, list(models.values()), names) if len(tables) > 1 else []
    derived += checkpoint_components(main, list(models.values()), names)
    known = {(row["of"], row["model"], row["metric"]): row for row in derived}
    published = {(row["of"], models.get(row["category"]), row["metric"]): row for row in stated}
    for key in sorted(known.keys() ^ published.keys(), key=str):
        there = key in published
        done.wrong(file, f"seed_variance.{key[2]}", "an entry" if there else "none", "none" if there else "an entry")
    for key in known.keys() & published.keys():
        _numbers(file, f"seed_variance.{key[1]}.{key[2]}", published[key], known[key], done)


_SET_FIELDS = ("value", "low", "high", "status", "n_estimate", "permutations")


def _sets(
    file: str, document: Mapping[str, Any], contents: StoreContents, clip_ids: Sequence[str], done: Verification
) -> None:
    """What was measured of whole sets is what the store holds for these very clips and outputs."""
    part = document.get("sets")
    if part is None:
        return
    models = {system["category"]: system["model"] for system in document["systems"]}
    names = drawn(clip_ids, int(part["seed"]))
    clips = {name: contents.clips[name].pcm_sha256 for name in names}
    for key in sorted({row["key"] for row in part["rows"]}):
        if key not in contents.sets:
            done.wrong(file, f"sets.{key}", "a measurement", "one of the results store")
            continue
        facts, rows = contents.sets[key]
        done.expect(file, f"sets.{key}", key, fact_hash(facts))
        made = contents.outputs.get(str(facts.get("model")), {}).values() if "embedding" in facts else ()
        for name, digest in set_facts(clips, made).items():
            done.expect(file, f"sets.{key}.{name}", facts.get(name), digest)
        stated = {_set_cell(row): row for row in part["rows"] if row["key"] == key}
        known = {_set_cell(row): row for row in rows}
        for cell in sorted(stated.keys() ^ known.keys(), key=str):
            there = cell in stated
            done.wrong(file, f"sets.{cell[0]}.{key}", "an entry" if there else "none", "none" if there else "an entry")
        for cell in stated.keys() & known.keys():
            row, derived = stated[cell], known[cell]
            where = f"sets.{row['category']}.{cell[0]}"
            done.expect(file, f"{where}.category", models.get(row["category"]), facts.get("model"))
            done.numbers += 1
            for name in _SET_FIELDS:
                if name in derived:
                    done.expect(file, f"{where}.{name}", row.get(name), derived[name])
            for ours, theirs in (("p", "p_value"), ("floor", "floor")):
                done.expect(file, f"{where}.{ours}", row.get(ours), derived.get(theirs))


def _set_cell(row: Mapping[str, Any]) -> tuple[str, str, str]:
    return str(row["metric"]), str(row.get("embedding")), str(row.get("level"))


def _numbers(file: str, where: str, stated: Mapping[str, Any], derived: Mapping[str, Any], done: Verification) -> None:
    for key, value in derived.items():
        if key not in stated:
            continue
        done.numbers += 1
        found = stated[key]
        if isinstance(value, float) and isinstance(found, (int, float)) and not isinstance(found, bool):
            if math.isclose(found, value, rel_tol=RELATIVE_TOLERANCE, abs_tol=_floor(derived)):
                continue
            done.wrong(file, f"{where}.{key}", repr(found), repr(value))
        else:
            done.expect(file, f"{where}.{key}", found, value)


def _floor(row: Mapping[str, Any]) -> float:
    """Rounding that a number may have where it is a small difference of large ones."""
    sizes = [abs(row[key]) for key in ("mean", "median", "low", "high") if isinstance(row.get(key), float)]
    return 1e-12 * max(sizes, default=0.0)


def _chosen(
    file: str,
    name: str,
    document: Mapping[str, Any],
    samples: Mapping[str, Any],
    contents: StoreContents,
    clip_ids: Sequence[str],
    done: Verification,
) -> None:
    """The published clips are those of the rule, with the scores of the rows."""
    bad = name.endswith(WORST) and "worst" in document
    entry = document["worst"] if bad else document["selection"]
    readable = [clip for clip in clip_ids if contents.clips[clip].error is None]
    models = {system["category"]: system["model"] for system in document["systems"]}
    ids: Sequence[str] | None = None
    if bad:
        metric = METRICS.get(entry["metric"])
        held = contents.scores.get(entry["model"], {}).get(entry["metric"], {})
        if metric is not None:
            candidates = [
                Candidate(clip, held[clip].value if clip in held and held[clip].status == "ok" else None)
                for clip in readable
            ]
            ids = worst(
                candidates, count=entry["count"], population=len(clip_ids), metric=metric.title, model=entry["model"],
                higher_is_better=metric.higher_is_better,
            ).clip_ids  # fmt: skip
    else:
        try:
            ids = select(
                [Candidate(clip) for clip in readable], rule=entry["rule"], count=entry["count"],
                seed=entry.get("seed") or 0, population=len(clip_ids),
            ).clip_ids  # fmt: skip
        except InputError as error:
            done.wrong(file, "selection.rule", str(entry["rule"]), str(error))
    if ids is not None:
        done.expect(file, "the clips", ", ".join(samples), ", ".join(ids))
    done.expect(file, "the number of clips", len(samples), entry["count"])
    for clip, sample in samples.items():
        if clip not in contents.clips:
            done.wrong(file, clip, "a clip", "one of the results store")
            continue
        for category, scores in sample.get("scores", {}).items():
            held_scores = contents.scores.get(models.get(category, ""), {})
            for metric_name, score in scores.items():
                row = held_scores.get(metric_name, {}).get(clip)
                where = f"{clip}.scores.{category}.{metric_name}"
                if row is None:
                    done.wrong(file, where, _shown(score.get("value")), "none: the results store has no such row")
                    continue
                done.numbers += 1
                done.expect(file, f"{where}.status", score.get("status"), row.status)
                done.expect(file, f"{where}.value", score.get("value"), row.value)


def _sample_runs(
    file: str,
    samples: Mapping[str, Any],
    runs: Mapping[str, Mapping[str, Any]],
    document: Mapping[str, Any] | None,
    done: Verification,
) -> None:
    """Samples name the run and the systems that their collection's results name."""
    categories = None if document is None else {s["category"]: s["model"] for s in document["systems"]}
    for clip, sample in samples.items():
        for category, system in sample.get("systems", {}).items():
            where = f"{clip}.systems.{category}"
            run = system.get("run")
            if run is not None and run not in runs:
                done.wrong(file, f"{where}.run", str(run), f"a record _data/runs/{run}.json")
            if document is not None and categories is not None:
                done.expect(file, f"{where}.run", run, document["run"])
                done.expect(file, f"{where}.model", system.get("model"), categories.get(category))
        if categories is not None:
            done.expect(file, f"{clip}.systems", sorted(sample.get("systems", {})), sorted(categories))


# --- files


def _files(folder: Path, collections: Mapping[str, Mapping[str, Any]], done: Verification, workers: int) -> None:
    """Hash every published file again."""
    jobs = list(_published(folder, collections))
    done.files += len(jobs)
    with ThreadPoolExecutor(workers, thread_name_prefix="verify") as pool:
        for findings in pool.map(lambda job: _file(folder, *job), jobs):
            done.findings += findings
    named = {path for _, _, entry in jobs if isinstance(path := entry.get("path"), str)}
    for name in collections:
        for kind in ("audio", "images"):
            for path in sorted((folder / "assets" / kind / name).glob("*")):
                text = path.relative_to(folder).as_posix()
                if path.is_file() and text not in named and not path.name.startswith("."):
                    done.wrong(text, "the file", "a file that no manifest names", "none")


def _published(
    folder: Path, collections: Mapping[str, Mapping[str, Any]]
) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    for name, samples in collections.items():
        file = f"_data/{name}.yml"
        for clip, sample in samples.items():
            for category, forms in sample.get("files", {}).items():
                for form, entry in forms.items():
                    yield file, f"{clip}.files.{category}.{form}", entry
            for category, kinds in sample.get("pictures", {}).items():
                for kind, entry in kinds.items():
                    for theme in ("light", "dark"):
                        if isinstance(entry.get(theme), str):
                            yield file, f"{clip}.pictures.{category}.{kind}.{theme}", {"path": entry[theme]}


def _file(folder: Path, file: str, where: str, entry: Mapping[str, Any]) -> list[Finding]:
    from eval import audio_io

    text = str(entry["path"])
    path = folder / text
    if Path(text).is_absolute() or ".." in Path(text).parts:
        return [Finding(file, f"{where}.path", text, "a path below the companion's folder")]
    try:
        data = path.read_bytes()
    except OSError:
        return [Finding(file, f"{where}.path", f"{text}, which cannot be read", "a file that is there")]
    if "sha256" not in entry:
        head = data[:8] == b"\x89PNG\r\n\x1a\n"
        return [] if head else [Finding(file, where, f"{text}, which is no PNG file", "a picture")]
    findings = []
    if entry.get("bytes") != len(data):
        findings.append(Finding(text, f"bytes (of {file} {where})", str(len(data)), _shown(entry.get("bytes"))))
    digest = hashlib.sha256(data).hexdigest()
    if entry["sha256"] != digest:
        findings.append(Finding(text, f"sha256 (of {file} {where})", digest, _shown(entry["sha256"])))
    if "pcm_sha256" in entry:
        try:
            audio = audio_io.read(path)
            pcm = audio_io.pcm_sha256(audio.waveform, audio.sample_rate_hz)
        except AudioError as error:
            return [*findings, Finding(text, "decoded samples", " ".join(str(error).split()), "a readable audio file")]
        if entry["pcm_sha256"] != pcm:
            findings.append(Finding(text, f"pcm_sha256 (of {file} {where})", pcm, _shown(entry["pcm_sha256"])))
    return findings


# --- a results store


def _store(
    folder: Path, below: str, contents: StoreContents, done: Verification, workers: int, *, hash_files: bool = True
) -> None:
    name = f"{below}/{FILE_NAME}".lstrip("/")
    for problem in _database_problems(contents.path):
        done.wrong(name, "the database", problem, "ok")
    score_rows = sum(len(held) for scores in contents.scores.values() for held in scores.values())
    done.rows += sum(map(len, contents.outputs.values())) + score_rows
    for model, scores in contents.scores.items():
        outputs = contents.outputs.get(model, {})
        for metric, held in scores.items():
            for clip, row in held.items():
                where = f"scores.{model}.{metric}.{clip}"
                if clip not in outputs:
                    done.wrong(name, where, "a score", "none: there is no such output")
                elif outputs[clip].status != "ok" and row.status == "ok":
                    done.wrong(name, where, "a value", "none: the output failed")
                if (row.value is not None) != (row.status == "ok"):
                    done.wrong(name, where, f"value {row.value} with status {row.status}", "a value or a status")
                elif row.value is not None and not math.isfinite(row.value):
                    done.wrong(name, where, repr(row.value), "a finite number")
    _last_run(name, contents, done)
    jobs = (
        [(model, row) for model, rows in contents.outputs.items() for row in rows.values() if row.status == "ok"]
        if hash_files
        else []
    )
    done.files += len(jobs)

    def check(job: tuple[str, Any]) -> Finding | None:
        from eval import audio_io

        model, row = job
        where = f"outputs.{model}.{row.clip_id}"
        if row.path is None:
            return Finding(name, where, "no path", "the path of the output")
        try:
            audio = audio_io.read(contents.path.parent / row.path)
            pcm = audio_io.pcm_sha256(audio.waveform, audio.sample_rate_hz)
        except AudioError as error:
            return Finding(name, f"{where}.path", " ".join(str(error).split()), "a readable audio file")
        return None if pcm == row.pcm_sha256 else Finding(name, f"{where}.pcm_sha256", pcm, str(row.pcm_sha256))

    with ThreadPoolExecutor(workers, thread_name_prefix="verify") as pool:
        done.findings += [finding for finding in pool.map(check, jobs) if finding is not None]


def _database_problems(path: Path) -> list[str]:
    try:
        with open_database(path) as db:
            said = [str(text) for (text,) in db.execute("PRAGMA integrity_check(20)")]
            orphans = db.execute("PRAGMA foreign_key_check").fetchall()
    except InputError as error:
        return [str(error)]
    return [
        *(text for text in said if text != "ok"),
        *(f"row {row[1]} of {row[0]} belongs to nothing" for row in orphans),
    ]


def _last_run(name: str, contents: StoreContents, done: Verification) -> None:
    """The record of the last run agrees with the rows that it left."""
    if not contents.runs:
        done.unchecked.append(f"{name}: no run was finished, so no record can be held against the rows")
        return
    run = contents.runs[-1]
    where = f"runs.{run.get('run_id')}"
    named = [str(text) for text in run.get("settings", {}).get("models", [])]
    # A model of one's own is named by its file here, and by the name in it in the rows.
    models = [column_name(text) for text in named if not text.endswith((".yml", ".yaml"))]
    for model in models:
        if model not in contents.outputs:
            done.wrong(name, f"{where}.settings.models", model, f"one with outputs: {', '.join(contents.models)}")
    total = run.get("clips", {}).get("total")
    if total is not None and total > len(contents.clips):
        done.wrong(name, f"{where}.clips.total", str(total), f"at most {len(contents.clips)}, the clips in the store")
    if (
        total == len(contents.clips)
        and len(models) == len(named)
        and all(model in contents.outputs for model in models)
    ):
        failed = sum(
            any((row := contents.outputs[model].get(clip)) is None or row.status != "ok" for model in models)
            for clip in contents.clip_ids
        )
        done.expect(name, f"{where}.clips.failed", run["clips"].get("failed"), failed)
