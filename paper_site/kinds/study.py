"""Studies: a page for each, with its claims, tables, plots and listening rows, and one page with the claims of all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from paper_site.kinds.model import list_models
from paper_site.manifest import Companion
from paper_site.pages import STUDIES, Page, Prose, replaces, study_path
from paper_site.plots import place_plot


def pages(companion: Companion, prose: Mapping[str, Prose]) -> Iterator[Page]:
    """Yield the page of all claims and one page per study, also for those not measured yet."""
    if not companion.studies:
        return
    if not replaces(prose.get("studies"), "studies"):
        yield Page(
            path=STUDIES,
            template="studies.html",
            title="Studies",
            kind="studies",
            prose=prose.get("studies"),
            description="What every study was to show, and what was reached",
        )
    described = {model.name: model.path for model in list_models(companion, prose)}
    siblings = [(study.title, study_path(study.name)) for study in companion.studies]
    for study in companion.studies:
        found = study.findings
        yield Page(
            path=study_path(study.name),
            template="study.html",
            title=study.title,
            kind="study",
            prose=prose.get(f"studies/{study.name}"),
            player=study.rows is not None,
            description=found.question if found and found.question else None,
            context={
                "study": study,
                "plots": [(plot, place_plot(plot)) for plot in found.plots] if found else [],
                "model_paths": described,
                "siblings": siblings,
            },
        )
