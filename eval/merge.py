"""Several results stores into one: the parts of a job that was cut into shards."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from eval.results import FILE_NAME, OutputRow, ResultsStore
from models.errors import InputError, OutputError, StoreError, system_reason


@dataclass(frozen=True)
class MergeReport:
    """What was brought together.

    Attributes:
        stores: Stores that were read.
        clips: Clips that the target holds now.
        outputs: Outputs that were added.
        equal: Outputs that the target had already.
    """

    stores: int
    clips: int
    outputs: int
    equal: int


def merge_stores(target: ResultsStore, sources: Sequence[Path]) -> MergeReport:
    """Copy clips, outputs, scores and audio files of stores into another one.

    An output that both have counts once. Where their keys are equal but their samples are not, or their keys differ,
    nothing can say which is right, and the merge stops before that output.

    Args:
        target: Where everything goes.
        sources: Folders of results stores.

    Raises:
        InputError: If a folder holds no store.
        StoreError: If two stores contradict each other.
        OutputError: If a file cannot be copied.
    """
    for folder in sources:
        if not (folder / FILE_NAME).is_file():
            raise InputError(f"{folder}: holds no {FILE_NAME}; name the output folders of runs")
    added = equal = 0
    for folder in sources:
        with ResultsStore(folder, shared=True) as source:
            for clip_id in source.clip_ids():
                target.add([source.clip(clip_id)], ())
            for model in source.models():
                for row in source.outputs(model, with_scores=True):
                    if _has(target, row, folder):
                        equal += 1
                        target.add_scores([row])
                        continue
                    if row.path is not None:
                        _copy(folder / row.path, target.folder / row.path)
                    target.add((), [row])
                    added += 1
    return MergeReport(len(sources), len(target.clip_ids()), added, equal)


def _has(target: ResultsStore, row: OutputRow, folder: Path) -> bool:
    """Whether the target has this output already; a failure gives way to a success."""
    known = target.output_key(row.clip_id, row.model)
    if known is None or (known[1] != "ok" and row.status == "ok"):
        return False
    if known[1] == "ok" and row.status != "ok":
        return True
    same = known[0] == row.output_key and target.output_pcm(row.clip_id, row.model) == row.pcm_sha256
    if not same:
        raise StoreError(
            f"{folder}: its output of {row.model!r} for clip {row.clip_id!r} is not that of {target.folder};"
            " merge only parts of one job"
        )
    return True


def _copy(source: Path, target: Path) -> None:
    from eval.audio_io import make_folder

    make_folder(target.parent)
    part = target.with_name(f".{target.name}.part")
    try:
        shutil.copyfile(source, part)
        part.replace(target)
    except OSError as error:
        raise OutputError(f"{target}: cannot be written ({system_reason(error)})") from None
