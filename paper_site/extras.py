"""What a site holds beside its pages: the facts for the cards of its numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from paper_site.documents import read_document
from paper_site.errors import ContentError
from paper_site.manifest import Companion
from paper_site.pages import Page, run_path
from paper_site.provenance import CHECKED_KINDS, Ledger, card_script, untraced


def extra_files(companion: Companion, ledger: Ledger) -> dict[str, bytes]:
    """Make the files that are no pages and no copies: path inside the site -> bytes."""
    results = [read_document(path) for name, path in companion.documents.items() if name.startswith("data/results/")]
    return {
        run_path(run.id).removesuffix(".html") + ".js": card_script(
            run.raw, ledger.of_run(run.id), [document for document in results if document["run"] == run.id]
        )
        for run in companion.runs.values()
    }


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
