"""What stands around the pages: checks before they are written, and the files beside them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from paper_site.audio import SUFFIXES
from paper_site.documents import read_document
from paper_site.errors import ContentError, DataError
from paper_site.lint import Files, lint_audio, orphans, read_settings, refuse_faults
from paper_site.manifest import Companion
from paper_site.metadata import (
    BIBTEX,
    CRATE,
    CROISSANT,
    SAMPLES,
    audio_path,
    bibtex,
    crate,
    croissant,
    samples_table,
    sounds,
)
from paper_site.pages import Page, run_path
from paper_site.provenance import CHECKED_KINDS, Ledger, card_script, untraced
from paper_site.tables import table_files

LINT = "data/site/lint.json"
"""What site.yml asks of the audio, for those who check the site later."""


def extra_files(companion: Companion, ledger: Ledger) -> dict[str, bytes]:
    """Make the files that are no pages and no copies: path inside the site -> bytes."""
    results = [read_document(path) for name, path in companion.documents.items() if name.startswith("data/results/")]
    made = {
        run_path(run.id).removesuffix(".html") + ".js": card_script(
            run.raw, ledger.of_run(run.id), [document for document in results if document["run"] == run.id]
        )
        for run in companion.runs.values()
    }
    for part in companion.heard:
        if part.samples:
            made[audio_path(part.name)] = sounds(companion, part)
    if companion.heard and any(part.samples for part in companion.heard):
        made[SAMPLES] = samples_table(companion)
        made[CROISSANT] = croissant(companion, hashlib.sha256(made[SAMPLES]).hexdigest())
    if companion.citation is not None:
        made[BIBTEX] = bibtex(companion.citation)
    made |= table_files(companion)
    sizes = {name: path.stat().st_size for name, path in companion.documents.items()}
    made[CRATE] = crate(companion, sizes | {name: len(data) for name, data in made.items() if "/" in name})
    made[LINT] = (json.dumps(companion.site.raw.get("lint") or {}, indent=1, ensure_ascii=False) + "\n").encode()
    return made


def check_numbers(pages: Sequence[Page], rendered: Mapping[str, bytes], ledger: Ledger) -> None:
    """Refuse a number in a table of results that has no source or is not what its source holds.

    Raises:
        ContentError: For the first such number, with the page and, for a page of one text, that text's file.
    """
    for page in pages:
        if page.kind not in CHECKED_KINDS or page.path not in rendered:
            continue
        found = untraced(rendered[page.path].decode(), page.path, ledger)
        if found:
            more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
            raise ContentError(
                f"{page.path}:{found[0].line}: {found[0].message}{more}", path=page.prose.path if page.prose else None
            )


def check_audio(companion: Companion, files: Files) -> Companion:
    """Look at all audio; returns the companion with what was found.

    Raises:
        DataError: For faults that site.yml does not allow.
    """
    site = companion.site
    settings = read_settings(site.raw.get("lint"), site.path)
    collections = {part.name: companion.data[part.name] for part in companion.heard if part.samples}
    report = lint_audio(companion.source, collections, settings, files)
    refuse_faults(report, site.path)
    return replace(companion, audio=report)


def check_published(companion: Companion, copies: Mapping[str, Path], pages: Callable[[], Mapping[str, bytes]]) -> None:
    """Refuse published audio that nothing names.

    Raises:
        DataError: Naming the first such file.
    """
    settings = read_settings(companion.site.raw.get("lint"), companion.site.path)
    named = {file.path for c in companion.heard for s in c.samples for t in s.tracks for file in t.files.values()}
    extra = [path for path in copies if Path(path).suffix.lower() in SUFFIXES and path not in named]
    if not extra or settings.severity["orphan"] != "error":
        return
    for path in orphans(extra, named, pages()):
        if not settings.allowed("orphan", path):
            raise DataError(
                f"{path}: no manifest and no page names this file; remove it, or allow it with a reason under"
                " lint.allow [orphan]",
                path=companion.site.path,
            )


def printing(pages: Iterable[Page]) -> list[str]:
    """Name the pages that print the tree hash."""
    return [page.path for page in pages if page.kind == "reproduce"]
