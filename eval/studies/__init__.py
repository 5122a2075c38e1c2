"""Studies: experiments that are more than the reconstruction of clip after clip.

A new study is a module here with the names of `eval.studies.base.Study`, and a line in `STUDIES`. Modules are
imported when they are asked for.
"""

from __future__ import annotations

import importlib
from contextlib import suppress
from typing import cast

from eval.studies.base import Study
from models.errors import InputError

__all__ = ["STUDIES", "collection_name", "load_study", "study_of"]

STUDIES: dict[str, str] = {
    "coding": "eval.studies.coding",
    "generation": "eval.studies.generation",
    "inpainting": "eval.studies.inpainting",
    "vocoders": "eval.studies.vocoders",
    "expansion": "eval.studies.expansion",
    "idea_chain": "eval.studies.idea_chain",
    "switches": "eval.studies.switches",
    "style": "eval.studies.style",
    "representation": "eval.studies.representation",
    "speed": "eval.studies.speed",
}
"""Name of a study to its module, in the order in which readers see them."""


def load_study(name: str) -> Study:
    """Import a study.

    Raises:
        InputError: If there is no such study; the message lists those there are.
    """
    if name not in STUDIES:
        raise InputError(f"study {name!r} is unknown; known: {', '.join(STUDIES) or 'none'}")
    return cast("Study", importlib.import_module(STUDIES[name]))


def collection_name(study: str) -> str:
    """Name of the collection that holds the listening rows of a study."""
    return f"study_{study}"


def study_of(model: str) -> str | None:
    """The first study that uses a model; None where there is none. Imports the studies."""
    for name in STUDIES:
        with suppress(ImportError):
            if model in load_study(name).MODELS:
                return name
    return None
