"""What an evaluation publishes: samples, pictures, manifests, results, the record of the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eval import manifest
from eval.evaluation import Evaluation, Finished, describe_systems, evaluate, seed_folder
from eval.metrics import metric
from eval.protocols import Progress
from eval.results import ResultsStore
from eval.runner import remove_partial, worker_count
from eval.selection import Candidate, Selection, select, worst
from eval.sets.publishing import SetSettings, document, measure_sets
from eval.summary import Table, checkpoint_components, seed_components, summarise
from models.errors import StoreError

if TYPE_CHECKING:
    from eval.corpora import Clip
    from eval.export import ExportedRow, Version

WORST = "_worst"
TIMED_RUNS = 3


@dataclass(frozen=True)
class Job:
    """One entry of ``evaluation:`` in ``site.yml`` with everything settled."""

    collection: str
    title: str
    evaluation: Evaluation
    selection: Mapping[str, Any]
    worst: Mapping[str, Any] | None
    bits: int
    baseline: str | None
    level_policy: str
    device: str
    sets: SetSettings | None = None
    seeds: tuple[int, ...] = ()


def run_job(source: Path, job: Job, workers: int | None, progress: Progress, command: str) -> tuple[list[str], str]:
    """Evaluate, export and write down.

    Args:
        source: The companion's folder.
        job: What to do.
        workers: Pieces of work side by side; no product depends on it.
        progress: Whoever watches.
        command: The command line, for the record.

    Returns:
        Paths of the products below the companion's folder, and a warning where clips failed.

    Raises:
        EarwitnessError: If the job cannot be done; what was published before stays.
    """
    from eval.export import level_policy

    policy = level_policy(job.level_policy)
    with ResultsStore(source / "_results" / job.collection) as store:
        progress.note(f"{job.title}: evaluating {', '.join(job.evaluation.models)}")
        finished = evaluate(
            job.evaluation, store, device=job.device, workers=workers, progress=progress, command=command
        )
        described = describe_systems(finished)
        columns = list(finished.runner.systems)
        names = manifest.categories(columns)
        metrics = job.evaluation.metric_names
        clip_ids = finished.report.clip_ids
        table = Table.from_store(store, clip_ids, columns, metrics).below(job.evaluation.corpus)
        chosen = _choose(store, job, table)
        publisher = _Publisher(source, job, finished, store, table, names, described)
        products: list[str] = []
        documents = {}
        for collection, selection in chosen.items():
            samples, files = publisher.publish(collection, selection, workers, progress)
            products += files
            documents[collection] = samples
        sets = publisher.sets(clip_ids, workers, progress)
        variance = _seed_variance(source, job, table, names, workers, progress, command)
        for about in described:
            about["speed"] = publisher.speed(about["name"])
        run = {**finished.document, "models": described}
        results = {
            "schema_version": manifest.SCHEMA_VERSION,
            "collection": job.collection,
            "title": job.title,
            "run": run["run_id"],
            "corpus": finished.document["corpus"],
            "level_policy": {"name": policy.name, "text": policy.text},
            "selection": _selection_entry(chosen[job.collection]),
            **({"worst": _selection_entry(chosen[job.collection + WORST], job.worst)} if job.worst else {}),
            "systems": publisher.systems(),
            **summarise(table, names, metrics, seed=job.evaluation.seed, baseline=job.baseline),
            **({"seed_variance": variance} if variance else {}),
            **({"sets": sets} if sets is not None else {}),
        }
        clips = {
            "schema_version": manifest.SCHEMA_VERSION,
            "collection": job.collection,
            "run": run["run_id"],
            "clips": list(table.clip_ids),
            "scores": {
                category: {name: table.numbers(model, name) for name in metrics} for model, category in names.items()
            },
        }
        data = source / "_data"
        # Every document is checked before the first is written, and the one that names the others comes last.
        for kind, document in (
            ("run", run),
            ("results", results),
            ("clips", clips),
            *(("collection", d) for d in documents.values()),
        ):
            manifest.check(manifest.plain(document), kind, data / job.collection)
        paths = {
            f"_data/runs/{run['run_id']}.json": ("run", run),
            f"_data/clips/{job.collection}.json": ("clips", clips),
            f"_data/results/{job.collection}.json": ("results", results),
        }
        for path, (kind, content) in paths.items():
            manifest.write_json(source / path, content, kind)
        for collection, content in documents.items():
            manifest.write_yaml(data / f"{collection}.yml", content, "collection")
            products.append(f"_data/{collection}.yml")
    failed = len(results["failures"])
    warning = f"{failed} of {len(clip_ids) * len(columns)} outputs failed; the results list them" if failed else ""
    return [*products, *paths], warning


def _seed_variance(
    source: Path,
    job: Job,
    table: Table,
    names: Mapping[str, str],
    workers: int | None,
    progress: Progress,
    command: str,
) -> list[dict[str, Any]]:
    """Variance of seeds and checkpoints apart from that of clips; further seeds are run into stores of their own."""
    metrics = job.evaluation.metric_names
    tables, seeds = [table], [job.evaluation.seed]
    for seed in job.seeds:
        if seed in seeds:
            continue
        progress.note(f"{job.title}: seed {seed}")
        wanted = replace(job.evaluation, seed=seed)
        with ResultsStore(seed_folder(source / "_results" / job.collection, seed)) as store:
            done = evaluate(wanted, store, device=job.device, workers=workers, progress=progress, command=command)
            tables.append(Table.from_store(store, done.report.clip_ids, list(names), metrics))
        seeds.append(seed)
    rows = seed_components(tables, seeds, list(names), metrics) if len(tables) > 1 else []
    rows += checkpoint_components(table, list(names), metrics)
    return [{"category": names[row.pop("model")], **row} for row in rows]


def _choose(store: ResultsStore, job: Job, table: Table) -> dict[str, Selection]:
    """Collection name to the clips that it shows: drawn from all that can be read."""
    readable = [clip_id for clip_id in table.clip_ids if store.clip(clip_id).error is None]
    population = len(table.clip_ids)
    rule = job.selection
    chosen = {
        job.collection: select(
            [Candidate(clip_id) for clip_id in readable],
            rule=str(rule["rule"]),
            count=int(rule["count"]),
            seed=int(rule["seed"]),
            population=population,
        )
    }
    if job.worst is not None:
        name, model = str(job.worst["metric"]), str(job.worst["model"])
        values = dict(zip(table.clip_ids, table.numbers(model, name), strict=True))
        chosen[job.collection + WORST] = worst(
            [Candidate(clip_id, values[clip_id]) for clip_id in readable],
            count=int(job.worst["count"]),
            population=population,
            metric=metric(name).title,
            model=model,
            higher_is_better=metric(name).higher_is_better,
        )
    return chosen


def _selection_entry(chosen: Selection, settings: Mapping[str, Any] | None = None) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "rule": chosen.rule,
        "seed": chosen.seed,
        "count": len(chosen.clip_ids),
        "population": chosen.population,
        "text": chosen.text,
    }
    if settings:
        entry |= {"metric": settings["metric"], "model": settings["model"]}
    return entry


class _Publisher:
    """Writes the files of the chosen clips and says what the manifests say of them."""

    def __init__(
        self,
        source: Path,
        job: Job,
        finished: Finished,
        store: ResultsStore,
        table: Table,
        names: Mapping[str, str],
        described: Sequence[Mapping[str, Any]],
    ) -> None:
        self.source = source
        self.job = job
        self.finished = finished
        self.store = store
        self.table = table
        self.names = names
        self.described = {str(entry["name"]): entry for entry in described}
        self.outputs = {model: {row.clip_id: row for row in store.outputs(model)} for model in names}
        self.position = {clip_id: number for number, clip_id in enumerate(table.clip_ids)}

    def publish(
        self, collection: str, chosen: Selection, workers: int | None, progress: Progress
    ) -> tuple[dict[str, Any], list[str]]:
        """Export the clips of a collection; returns its document and its files."""
        wanted = set(chosen.clip_ids)
        clips = {clip.clip_id: clip for clip in self.finished.opened.clips() if clip.clip_id in wanted}
        for kind in ("audio", "images"):
            remove_partial(self.source / "assets" / kind / collection)
        progress.start(f"export {collection}", len(wanted))
        samples: dict[str, Any] = {}
        files: list[str] = []
        with ThreadPoolExecutor(workers or worker_count("cpu"), thread_name_prefix="export") as pool:
            pending = [pool.submit(self._export, collection, clips[clip_id]) for clip_id in chosen.clip_ids]
            try:
                for rank, (clip_id, future) in enumerate(zip(chosen.clip_ids, pending, strict=True), start=1):
                    row = future.result()
                    samples[clip_id] = self._sample(clips[clip_id], row, chosen, rank)
                    files += row.paths
                    progress.advance(1)
            except BaseException:
                for future in pending:
                    future.cancel()
                raise
        progress.finish()
        return samples, files

    def _export(self, collection: str, clip: Clip) -> ExportedRow:
        from eval.export import export_row

        return export_row(
            clip.clip_id,
            self._versions(clip),
            sample_rate_hz=clip.sample_rate_hz,
            collection=collection,
            folder=self.source,
            bits=self.job.bits,
            label=manifest.spoken_label(clip.clip_id, clip.labels),
        )

    def _versions(self, clip: Clip) -> list[Version]:
        from eval import audio_io
        from eval.export import ORIGINAL, Version

        original = clip.load().waveform[0]
        versions = [Version(ORIGINAL, "recording", original)]
        for model, category in self.names.items():
            row = self.outputs[model].get(clip.clip_id)
            if row is None or row.status != "ok" or row.path is None:
                continue
            path = self.store.folder / row.path
            audio = audio_io.read(path)
            if audio_io.pcm_sha256(audio.waveform, audio.sample_rate_hz) != row.pcm_sha256:
                raise StoreError(f"{path}: is not what the run wrote; remove it and run the command again")
            codes, size, covered_s = self._codes(model, original, clip.sample_rate_hz)
            versions.append(
                Version(category, str(self.described[model]["title"]), audio.waveform[0], codes, size, covered_s)
            )
        return versions

    def _codes(self, model: str, waveform: Any, sample_rate_hz: int) -> tuple[dict[str, Any], int, float]:
        """Code maps of a clip, the size of their codebook, and the seconds that they cover."""
        import torch

        from eval import audio_io

        system = self.finished.runner.loaded[model]
        rate = system.sample_rate_hz or sample_rate_hz
        given = torch.from_numpy(audio_io.resample(waveform[None], sample_rate_hz, rate))
        with torch.no_grad():
            made = system.codes(given.to(self.finished.runner.device), sample_rate_hz=rate)
        maps = {level: codes[0].cpu().numpy() for level, codes in made.items()}
        size = self.codebook_size(model)
        picture = _picture_samples(self.described[model])
        length = given.shape[-1]
        covered = -(-length // picture) * picture if picture else length
        return maps, size, covered / rate

    def codebook_size(self, model: str) -> int:
        """Codes in each codebook of a model."""
        config = self.described[model].get("config")
        return int(config.get("codebook_size", 512)) if isinstance(config, Mapping) else 512

    def sets(self, clip_ids: Sequence[str], workers: int | None, progress: Progress) -> dict[str, Any] | None:
        """What was measured of the outputs of every system as a whole; None where nothing was asked for."""
        settings = self.job.sets
        if settings is None:
            return None
        runner = self.finished.runner
        measured = measure_sets(
            self.store,
            self.finished.opened.clips,
            clip_ids,
            list(self.names),
            settings,
            system=runner.loaded.__getitem__,
            system_key=lambda model: runner.systems[model].key,
            codebook_size=self.codebook_size,
            device=runner.device,
            workers=workers or worker_count("cpu"),
            progress=progress,
        )
        return document(measured, settings, self.names)

    def _sample(self, clip: Clip, row: ExportedRow, chosen: Selection, rank: int) -> dict[str, Any]:
        index = self.position[clip.clip_id]
        run = self.finished.document["run_id"]
        selection: dict[str, Any] = {
            "rule": chosen.rule,
            "seed": chosen.seed,
            "population": chosen.population,
            "rank": rank,
        }
        if chosen.rule == "worst" and self.job.worst is not None:
            selection |= {"metric": self.job.worst["metric"], "model": self.job.worst["model"]}
        failures = {
            category: self.table.errors[model][clip.clip_id]
            for model, category in self.names.items()
            if clip.clip_id in self.table.errors[model]
        }
        return {
            **manifest.sample_labels(clip.labels),
            "group": clip.group,
            "sample_rate_hz": clip.sample_rate_hz,
            "duration_s": clip.frames / clip.sample_rate_hz,
            "bits": self.job.bits,
            "systems": {
                category: {"model": model, "title": self.described[model]["title"], "run": run}
                for model, category in self.names.items()
            },
            "files": row.files,
            "loudness_lufs": row.loudness_lufs,
            "peak_dbfs": row.peak_dbfs,
            "gain_db": row.gain_db,
            "scores": {
                category: {
                    name: manifest.score_entry(*cell)
                    for name, cells in self.table.values[model].items()
                    if (cell := cells[index]) is not None
                }
                for model, category in self.names.items()
            },
            **({"failures": failures} if failures else {}),
            "pictures": row.pictures,
            "selection": selection,
        }

    def speed(self, model: str) -> dict[str, Any]:
        """Time of one clip at a time with nothing beside it: the fastest of several runs on a clip that worked."""
        import torch

        from eval import audio_io
        from eval.timing import measure

        runner = self.finished.runner
        system = runner.loaded[model]
        done = {clip_id for clip_id, row in self.outputs[model].items() if row.status == "ok"}
        clip = next((clip for clip in self.finished.opened.clips() if clip.clip_id in done), None)
        if clip is None:
            return {"seconds_per_clip": None, "rtf": None, "runs": 0}
        audio = clip.load()
        rate = system.sample_rate_hz or audio.sample_rate_hz
        given = torch.from_numpy(audio_io.resample(audio.waveform, audio.sample_rate_hz, rate)).to(runner.device)
        with torch.no_grad():
            _, cost = measure(
                lambda: system.reconstruct(given, sample_rate_hz=rate, seeds=[0]),
                device=runner.device,
                audio_s=given.shape[-1] / rate,
                repeats=TIMED_RUNS,
            )
        return {
            "seconds_per_clip": cost.seconds,
            "rtf": cost.rtf,
            "clip_s": given.shape[-1] / rate,
            "runs": TIMED_RUNS,
            "batch_size": 1,
            "threads": torch.get_num_threads(),
            "peak_memory_bytes": cost.peak_memory_bytes,
        }

    def systems(self) -> list[dict[str, Any]]:
        """The systems as results name them."""
        members = set(self.table.clip_ids)
        entries = []
        for model, category in self.names.items():
            ok = sum(row.status == "ok" and clip_id in members for clip_id, row in self.outputs[model].items())
            about = self.described[model]
            checkpoint = about.get("checkpoint")
            speed = about["speed"]
            entries.append(
                {
                    "category": category,
                    "model": model,
                    "title": about["title"],
                    "summary": about["summary"],
                    "parameters": self.finished.runner.loaded[model].parameters,
                    "checkpoint_sha256": checkpoint.get("sha256") if isinstance(checkpoint, Mapping) else None,
                    "rtf": speed["rtf"],
                    "seconds_per_clip": speed["seconds_per_clip"],
                    "n_ok": ok,
                    "n_failed": len(members) - ok,
                }
            )
        return entries


def _picture_samples(described: Mapping[str, Any]) -> int | None:
    frontend = described.get("frontend")
    settings = frontend.get("settings", frontend) if isinstance(frontend, Mapping) else {}
    samples = settings.get("n_samples") if isinstance(settings, Mapping) else None
    return int(samples) if isinstance(samples, int) and samples > 0 else None
