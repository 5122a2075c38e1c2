"""Existing Jekyll companions, built as they are."""

from __future__ import annotations

import os


def is_jekyll(source: str | os.PathLike[str]) -> bool:
    """Whether a folder is a Jekyll companion: it has ``_config.yml`` and no ``_data/site.yml``."""
    folder = os.fspath(source)
    join = os.path.join
    return os.path.isfile(join(folder, "_config.yml")) and not os.path.exists(join(folder, "_data", "site.yml"))
