"""The evaluation of a companion: for every job of ``site.yml`` what is stale is run, exported and written down, and for
every study its listening rows.

Whether a job is stale is told from cheap hashes of its settings, corpus, weights and code and from the size and time of
its products; torch is imported only when there is something to do. A job or study that cannot be done leaves what an
earlier run published in its place.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eval import manifest
from eval.corpora import open_corpus
from eval.evaluation import DEFAULT_SEED, Evaluation, open_split, system_entries
from eval.external import is_external
from eval.protocols import Progress, Silent
from eval.publish import WORST, Job, run_job
from eval.runner import ROOT, code_sha256, metric_key, pick_device
from eval.sets.definition import CLASSIFIER, EMBEDDING_NAMES
from eval.sets.publishing import EMBEDDINGS, METRICS, PERMUTATIONS, SPLITS, SetSettings
from eval.studies import STUDIES, collection_name, load_study
from eval.studies.context import make_context
from eval.studies.listening import listening_fingerprint, publish_listening
from eval.summary import choose_baseline
from models import registry
from models.errors import EarwitnessError, InputError, ManifestError

__all__ = ["EarwitnessError", "PipelineReport", "evaluate_companion", "fingerprint"]

STATE = Path("_results") / "state.json"
_LIBRARIES = ("numpy", "pillow", "soundfile", "soxr", "torch")


@dataclass
class PipelineReport:
    """What was done.

    Attributes:
        evaluated: Collections that were made anew.
        unchanged: Collections that needed nothing.
        errors: One line for every job that could not be done.
        warnings: One line for every job with failed clips, for every study without its listening rows, and for every
            document edited since its evaluation.
    """

    evaluated: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def evaluate_companion(
    source: Path,
    *,
    corpus: Path | None = None,
    layout: str | None = None,
    split: str | None = None,
    models: Sequence[str] | None = None,
    device: str = "auto",
    workers: int | None = None,
    progress: Progress | None = None,
    command: str = "python build_site.py",
) -> PipelineReport:
    """Bring everything that a companion publishes up to date.

    A corpus given here takes the place of the corpus of every job with its layout, or of the first job where no job
    has it; models given here take the place of every job's models.

    Args:
        source: The companion's folder, with ``_data/site.yml``.
        corpus: Recordings to evaluate on instead.
        layout: Their layout; found out when None.
        split: Their split; the first of test, valid and all that there is when None.
        models: ``NAME`` or ``NAME@CHECKPOINT_FOLDER``, the first one's category being ``reconstruction``.
        device: ``auto``, ``cpu`` or ``cuda``.
        workers: Pieces of work side by side; no product depends on it.
        progress: Whoever watches.
        command: The command line, for the record.

    Returns:
        What was done and what could not be.

    Raises:
        ManifestError: If ``site.yml`` is missing or wrong.
    """
    progress = progress or Silent()
    site = manifest.read_site(source / "_data" / "site.yml")
    raw = list(site.get("evaluation") or [])
    report = PipelineReport()
    state = _read_state(source)
    studies = list(site.get("studies") or [])
    heard = [entry for entry in studies if entry.get("listen", True)]
    wanted = {str(entry["collection"]) for entry in raw} | {collection_name(str(entry["study"])) for entry in heard}
    taken = {name for entry in raw for name in (entry["collection"], f"{entry['collection']}{WORST}")}
    if len(taken) < 2 * len(raw):
        raise ManifestError(f"{source / '_data' / 'site.yml'}: evaluation: two jobs have one collection name")
    rows = {collection_name(str(entry["study"])) for entry in studies}
    if len(rows) < len(studies):
        raise ManifestError(f"{source / '_data' / 'site.yml'}: studies: one study is named twice")
    if rows & taken:
        name = min(rows & taken)
        raise ManifestError(
            f"{source / '_data' / 'site.yml'}: evaluation: the collection {name!r} has the name of a study's rows"
        )
    replaced: set[int] = set()
    try:
        replaced = _replaced_jobs(raw, corpus, layout)
    except EarwitnessError as error:
        report.errors.append(str(error))
        return report
    for name in sorted(set(state) - wanted):
        _remove(source, state.pop(name)["files"], keep=_published(state))
        _write_state(source, state)
    for number, entry in enumerate(raw):
        name = str(entry["collection"])
        try:
            job = _job(
                source, entry, models=models, device=device,
                corpus=(corpus, layout, split) if number in replaced else None,
            )  # fmt: skip
            mark = fingerprint(job)
            if _unchanged(source, name, mark, state, report):
                continue
            files, warning = run_job(source, job, workers, progress, command)
        except (EarwitnessError, OSError) as error:
            report.errors.append(f"{name}: {' '.join(str(error).split())}")
            continue
        _settle(source, state, name, mark, files, report)
        if warning:
            report.warnings.append(f"{name}: {warning}")
    for entry in heard:
        _listen(source, entry, state, report, device=device, workers=workers, progress=progress)
    return report


def _settle(
    source: Path,
    state: dict[str, Any],
    name: str,
    mark: str,
    files: Sequence[str],
    report: PipelineReport,
    **facts: Any,
) -> None:
    """Write down what a collection is made of now, and remove what it no longer names."""
    before = state.get(name)
    if before is not None:
        old = [path for path in before["files"] if path not in set(files)]
        _remove(source, old, keep=_published({k: v for k, v in state.items() if k != name}))
    state[name] = {"fingerprint": mark, "files": {path: _facts(source / path) for path in files}, **facts}
    try:
        _write_state(source, state)
    except EarwitnessError as error:
        report.errors.append(str(error))
    report.evaluated.append(name)


def _unchanged(source: Path, name: str, mark: str, state: Mapping[str, Any], report: PipelineReport) -> bool:
    """Whether a collection needs nothing; says so in the report."""
    before = state.get(name)
    if before is None or before["fingerprint"] != mark or not _intact(source, before["files"]):
        return False
    report.unchanged.append(name)
    report.warnings += [
        f"{name}: {path} is not as the evaluation wrote it; the site shows it as it is now"
        for path in _edited(source, before["files"])
    ]
    return True


def _listen(
    source: Path,
    entry: Mapping[str, Any],
    state: dict[str, Any],
    report: PipelineReport,
    *,
    device: str,
    workers: int | None,
    progress: Progress,
) -> None:
    """Bring the listening rows of a study up to date; whatever is wrong with it leaves the rest of the site alone."""
    study, seed = str(entry["study"]), int(entry.get("seed", DEFAULT_SEED))
    name = collection_name(study)
    if study not in STUDIES:
        report.errors.append(f"{name}: study {study!r} is unknown; known: {', '.join(STUDIES) or 'none'}")
        return
    try:
        # The models that a study uses stand in its module, which takes long to import.
        models = state.get(name, {}).get("models")
        if models is not None:
            with suppress(EarwitnessError):
                mark = listening_fingerprint(study, models, seed=seed, device=device)
                if _unchanged(source, name, mark, state, report):
                    return
        progress.note(f"{study}: making its listening rows")
        module = load_study(study)
        mark = listening_fingerprint(study, module.MODELS, seed=seed, device=device)
        rows = module.listen(make_context(seed=seed, device=pick_device(device), note=progress.note))
        files = publish_listening(source, study, rows, seed=seed, workers=workers, progress=progress)
    except Exception as error:
        said = " ".join(str(error).split()) or "no message"
        kind = "" if isinstance(error, EarwitnessError) else f"{type(error).__name__}: "
        report.warnings.append(f"{name}: its listening rows could not be made ({kind}{said})")
        return
    _settle(source, state, name, mark, files, report, models=list(module.MODELS))


# --- settings


def _place(source: Path, text: str) -> Path:
    """A path of ``site.yml``: relative to the companion, then to the project."""
    path = Path(text)
    if path.is_absolute():
        return path
    return next((base / path for base in (source, ROOT) if (base / path).exists()), source / path)


def _replaced_jobs(raw: Sequence[Mapping[str, Any]], corpus: Path | None, layout: str | None) -> set[int]:
    if corpus is None or not raw:
        return set()
    found = open_corpus(corpus, layout=layout).layout
    same = {number for number, entry in enumerate(raw) if entry.get("layout") == found}
    return same or {0}


def _job(
    source: Path,
    entry: Mapping[str, Any],
    *,
    corpus: tuple[Path | None, str | None, str | None] | None,
    models: Sequence[str] | None,
    device: str,
) -> Job:
    named = [_model(source, text) for text in entry["models"]] if not models else list(models)
    if corpus is None:
        place: dict[str, Any] = {
            "corpus": _place(source, str(entry["corpus"])),
            "layout": entry.get("layout"),
            "split": entry.get("split"),
            "rule": entry.get("rule"),
            "limit": entry.get("limit"),
        }
    else:
        place = {"corpus": corpus[0], "layout": corpus[1], "split": corpus[2]}
    evaluation = Evaluation(
        models=tuple(named),
        clip_s=entry.get("clip_s"),
        max_clips=entry.get("max_clips"),
        metrics=tuple(entry.get("metrics") or ()),
        seed=int(entry.get("seed", DEFAULT_SEED)),
        **place,
    )
    columns = [e.name for e in system_entries(named)]
    choice = dict(entry.get("selection") or {"rule": "random", "count": 16})
    choice.setdefault("seed", evaluation.seed)
    bad = dict(entry["worst"]) if entry.get("worst") else None
    if bad is not None:
        model = bad.get("model", columns[0])
        if model not in columns:
            if not models:
                raise InputError(f"worst.model {model!r} is not one of the models {', '.join(columns)}")
            model = columns[0]
        bad["model"] = model
        if bad["metric"] not in evaluation.metric_names:
            raise InputError(f"worst.metric {bad['metric']!r} is not one of {', '.join(evaluation.metric_names)}")
    baseline = entry.get("baseline")
    if models and baseline not in columns:
        baseline = None
    return Job(
        collection=str(entry["collection"]),
        title=str(entry.get("title") or entry["collection"]),
        evaluation=evaluation,
        selection=choice,
        worst=bad,
        bits=int(entry.get("bits", 16)),
        baseline=choose_baseline(columns, baseline),
        level_policy=str(entry.get("level_policy") or "row_gain"),
        device=device,
        sets=_sets(source, entry.get("sets"), evaluation.seed),
        seeds=tuple(int(seed) for seed in entry.get("seeds") or ()),
    )


def _sets(source: Path, wanted: Mapping[str, Any] | bool | None, seed: int) -> SetSettings | None:
    """What is measured of whole sets; ``false`` asks for nothing.

    Raises:
        InputError: If a metric or embedding is unknown.
    """
    if wanted is False:
        return None
    asked = dict(wanted) if isinstance(wanted, Mapping) else {}
    named = [str(_place(source, text)) if Path(text).suffix else text for text in asked.get("embeddings", EMBEDDINGS)]
    unknown = [text for text in named if not Path(text).suffix and text not in EMBEDDING_NAMES]
    if unknown:
        raise InputError(f"sets.embeddings: {unknown[0]!r} is not one of {', '.join(EMBEDDING_NAMES)}, or a file")
    settings = SetSettings(
        embeddings=tuple(named),
        metrics=tuple(asked.get("metrics", METRICS)),
        permutations=int(asked.get("permutations", PERMUTATIONS)),
        splits=int(asked.get("splits", SPLITS)),
        seed=seed,
    )
    _ = settings.names
    return settings


def _model(source: Path, text: str) -> str:
    if is_external(text):
        return str(_place(source, text))
    name, at, folder = text.partition("@")
    return f"{name}@{_place(source, folder)}" if at else text


def fingerprint(job: Job) -> str:
    """Hash of everything that can change a product of a job.

    Raises:
        EarwitnessError: If corpus, models or metrics are not there.
    """
    facts = [
        job.collection,
        job.title,
        job.evaluation.settings(),
        job.selection,
        job.worst,
        job.bits,
        job.baseline,
        job.level_policy,
        job.device,
        open_split(job.evaluation).fingerprint(),
        [(entry.name, entry.key) for entry in system_entries(job.evaluation.models)],
        [metric_key(name) for name in job.evaluation.metric_names],
        job.sets,
        [_embedding_key(name) for name in (job.sets.embeddings if job.sets else ())],
        job.seeds,
        code_sha256("eval"),
        [importlib.metadata.version(name) for name in _LIBRARIES],
    ]
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()


def _embedding_key(name: str) -> Any:
    """What tells that an embedding is another one."""
    if name == CLASSIFIER:
        return registry.fingerprint(name, None)
    path = Path(name)
    return _facts(path) if path.is_file() else name


# --- state


def _facts(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def _is_document(path: str) -> bool:
    return path.startswith("_data/")


def _intact(source: Path, files: Mapping[str, Sequence[int]]) -> bool:
    """Whether everything is there, and media as they were; documents may have been edited since."""
    try:
        return all(_facts(source / path) == list(facts) or _is_document(path) for path, facts in files.items())
    except OSError:
        return False


def _edited(source: Path, files: Mapping[str, Sequence[int]]) -> list[str]:
    """Documents that are not as the evaluation wrote them."""
    return [path for path, facts in files.items() if _is_document(path) and _facts(source / path) != list(facts)]


def _published(state: Mapping[str, Any]) -> set[str]:
    return {path for entry in state.values() for path in entry["files"]}


def _remove(source: Path, files: Iterable[str], keep: set[str]) -> None:
    """Remove products that nothing names any more; never anything outside the folders of products."""
    for text in files:
        path = Path(text)
        ours = path.parts[:2] in {("assets", "audio"), ("assets", "images")} or path.parts[:1] == ("_data",)
        if text in keep or path.is_absolute() or ".." in path.parts or not ours or path.name == "site.yml":
            continue
        with suppress(OSError):
            (source / path).unlink()


def _read_state(source: Path) -> dict[str, Any]:
    """Fingerprints and products of earlier runs; empty where the file is missing or damaged."""
    try:
        document = json.loads((source / STATE).read_text(encoding="utf-8"))
        entries = document["collections"]
        return {
            str(name): {
                "fingerprint": str(entry["fingerprint"]),
                "files": dict(entry["files"]),
                **({"models": [str(model) for model in entry["models"]]} if "models" in entry else {}),
            }
            for name, entry in entries.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _write_state(source: Path, state: Mapping[str, Any]) -> None:
    from eval.audio_io import make_folder, write_text

    make_folder((source / STATE).parent)
    write_text(source / STATE, json.dumps({"schema_version": 1, "collections": state}, indent=1) + "\n")
