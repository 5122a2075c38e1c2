"""``_config.yml``, and what Jekyll takes for granted when it does not say."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

from paper_site.errors import ContentError
from paper_site.jekyll.documents import load_yaml
from paper_site.jekyll.engine import read_text

EXCLUDED = (
    ".sass-cache",
    ".jekyll-cache",
    "gemfiles",
    "Gemfile",
    "Gemfile.lock",
    "node_modules",
    "vendor/bundle/",
    "vendor/cache/",
    "vendor/gems/",
    "vendor/ruby/",
)
_DEFAULTS: dict[str, Any] = {
    "permalink": "date",
    "timezone": None,
    "encoding": "utf-8",
    "markdown_ext": "markdown,mkdown,mkdn,mkd,md",
    "baseurl": None,
    "excerpt_separator": "\n\n",
    "include": [".htaccess"],
    "exclude": [],
    "keep_files": [".git", ".svn"],
    "show_drafts": None,
    "future": False,
    "unpublished": False,
    "markdown": "kramdown",
    "highlighter": "rouge",
    "defaults": [],
    "liquid": {"error_mode": "warn", "strict_filters": False, "strict_variables": False},
    "lsi": False,
    "limit_posts": 0,
    "paginate_path": "/page:num",
}


class Config:
    """A companion's configuration.

    Args:
        source: The companion's folder.
        own: The file's contents, when they are known.

    Attributes:
        values: Every key, those that Jekyll adds included.
        own: The keys that the file itself has.
    """

    def __init__(self, source: Path, own: Any = None) -> None:
        path = source / "_config.yml"
        if own is None:
            own = load_yaml(read_text(path), path, dt.UTC, error=ContentError)
        if own is None:
            own = {}
        if not isinstance(own, dict):
            raise ContentError("the configuration is no map; write key: value", path=path, line=1)
        self.path = path
        self.own: dict[str, Any] = own
        self.values: dict[str, Any] = {**_DEFAULTS, **own}
        for name in ("include", "exclude", "keep_files"):
            if isinstance(self.values[name], str):
                self.values[name] = [self.values[name]]
            elif not isinstance(self.values[name], list):
                self.values[name] = []
        if "collections" in own and isinstance(own["collections"], list):
            self.values["collections"] = {str(name): {} for name in own["collections"]}
        collections = self.values.get("collections")
        self.collections: dict[str, dict[str, Any]] = {"posts": {"output": True}}
        if isinstance(collections, dict):
            for name, settings in collections.items():
                self.collections[str(name)] = dict(settings) if isinstance(settings, dict) else {}
        self.collections["posts"] = {**self.collections["posts"], "output": True}

    def strict(self, *keys: str) -> bool:
        """A switch that is on unless the file itself turns it off."""
        value: Any = self.own
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        return value is not False

    def kramdown(self) -> dict[str, Any]:
        """Options of the Markdown step."""
        given = self.values.get("kramdown")
        options: dict[str, Any] = {}
        if isinstance(given, dict):
            if "auto_ids" in given:
                options["auto_ids"] = bool(given["auto_ids"])
            if given.get("auto_id_prefix"):
                options["auto_id_prefix"] = str(given["auto_id_prefix"])
            if isinstance(given.get("footnote_nr"), int):
                options["footnote_nr"] = given["footnote_nr"]
            if "toc_levels" in given:
                from paper_site.jekyll.kramdown.blocks import toc_levels

                levels = given["toc_levels"]
                options["toc_levels"] = (
                    [int(v) for v in levels] if isinstance(levels, list) else toc_levels(str(levels))
                )
            if given.get("hard_wrap"):
                options["hard_wrap"] = True
        return options

    def default_for(self, path: str, kind: str) -> dict[str, Any]:
        """Front-matter defaults of a file: those of a longer path win."""
        found: list[tuple[tuple[int, int, int], dict[str, Any]]] = []
        defaults = self.values.get("defaults")
        for number, entry in enumerate(defaults if isinstance(defaults, list) else []):
            scope = entry.get("scope") if isinstance(entry, dict) else None
            values = entry.get("values") if isinstance(entry, dict) else None
            if not isinstance(scope, dict) or not isinstance(values, dict):
                continue
            where, of = str(scope.get("path") or "").strip("/"), scope.get("type")
            if of is not None and str(of) != kind:
                continue
            if where and not _covers(where, path, kind):
                continue
            found.append(((len(where), 1 if of is not None else 0, number), values))
        out: dict[str, Any] = {}
        for _, values in sorted(found, key=lambda pair: pair[0]):
            out.update(values)
        return out


def _covers(scope: str, path: str, kind: str) -> bool:
    if "*" in scope:
        import fnmatch

        return fnmatch.fnmatchcase(path, scope) or fnmatch.fnmatchcase(path, scope + "/*")
    return path == scope or path.startswith(scope + "/")
