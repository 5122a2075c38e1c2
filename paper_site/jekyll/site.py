"""A Jekyll companion: its pages, posts, collections, files and addresses, and how each page is rendered."""

from __future__ import annotations

import datetime as dt
import os
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Any

from paper_site.errors import ContentError, ToolError
from paper_site.jekyll import documents, quick, times
from paper_site.jekyll.config import EXCLUDED, Config
from paper_site.jekyll.engine import Context, Engine, Template, read_text
from paper_site.jekyll.filters import FilterError, relative_url
from paper_site.jekyll.kramdown.plain import is_plain
from paper_site.jekyll.values import text_of

_POST = re.compile(r"(?:.*/)?(\d{2,4}-\d{1,2}-\d{1,2})-(.*)(\.[^.]+)\Z")
_DATED = re.compile(r"(?:(\d{2,4}-\d{1,2}-\d{1,2})-)?(.*)(\.[^.]+)\Z")
_STYLES = {
    "date": "/:categories/:year/:month/:day/:title:output_ext",
    "pretty": "/:categories/:year/:month/:day/:title/",
    "ordinal": "/:categories/:year/:y_day/:title:output_ext",
    "weekdate": "/:categories/:year/W:week/:short_day/:title:output_ext",
    "none": "/:categories/:title:output_ext",
}
_SAFE_URL = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:@/-]*")
_LAZY = frozenset(
    [
        "posts",
        "pages",
        "html_pages",
        "html_files",
        "static_files",
        "documents",
        "collections",
        "categories",
        "tags",
        "related_posts",
        "data",
    ]
)


class Drop(dict[str, Any]):
    """A map whose rare keys are worked out when they are asked for."""

    printed: str | None = None

    def __init__(self, values: dict[str, Any], owner: Any, lazy: frozenset[str]) -> None:
        super().__init__(values)
        self._owner = owner
        self._lazy = lazy

    def __missing__(self, key: str) -> Any:
        if key in self._lazy:
            return self._owner.lazy(key)
        raise KeyError(key)

    def __contains__(self, key: object) -> bool:
        return super().__contains__(key) or key in self._lazy

    __hash__ = object.__hash__  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return self is other


_PAGE_LAZY = frozenset({"content", "dir"})
_DOC_LAZY = frozenset({"content", "excerpt", "next", "previous", "output"})


class Page:
    """A file with front matter.

    Attributes:
        relative: Path from the source.
        data: Front matter with defaults.
        kind: ``pages``, ``posts`` or the label of a collection.
        url: Its address, not escaped.
        drop: What templates see.
    """

    __slots__ = (
        "_body",
        "_converted",
        "_excerpt",
        "converting",
        "data",
        "date",
        "drop",
        "ext",
        "first_line",
        "kind",
        "next",
        "output_ext",
        "previous",
        "relative",
        "site",
        "url",
    )

    def __init__(self, site: Site, relative: str, data: dict[str, Any], body: str, first_line: int, kind: str) -> None:
        self.site = site
        self.relative = relative
        self.data = data
        self._body: str | None = body
        self.first_line = first_line
        self.kind = kind
        self.ext = os.path.splitext(relative)[1]  # noqa: PTH122
        self.output_ext = site.output_ext(self.ext)
        self.previous: Page | None = None
        self.next: Page | None = None
        self.date: times.Time | None = None
        self._converted: str | None = None
        self._excerpt: str | None = None
        self.converting = False
        self.url = ""
        self.drop = Drop({}, self, _PAGE_LAZY if kind == "pages" else _DOC_LAZY)

    @property
    def path(self) -> Path:
        """Its file."""
        return self.site.source / self.relative

    @property
    def is_markdown(self) -> bool:
        """Whether its body is Markdown."""
        return self.ext[1:].lower() in self.site.markdown_exts

    def destination(self) -> str:
        """Path of its file in the site."""
        from urllib.parse import unquote

        url = unquote(self.url) if "%" in self.url else self.url
        path = url.lstrip("/")
        if url.endswith("/"):
            return path + "index" + self.output_ext
        return path if path.endswith(self.output_ext) else path + self.output_ext

    def lazy(self, key: str) -> Any:
        """A key of its drop that is worked out when it is asked for."""
        if key == "dir":
            return self.url if self.url.endswith("/") else self.url.rsplit("/", 1)[0] + "/"
        if key == "content":
            self.site.engine.borrowed()
            current = self.site.current
            if self.converting or (
                self.kind == "pages"
                and (current is None or current.kind != "pages" or _file_name(self) > _file_name(current))
            ):
                # Pages are rendered by name: one whose turn has not come shows its text as it is.
                return self._converted if self._converted is not None and self.converting else self.body
            return self.converted()
        if key == "output":
            self.site.engine.borrowed()
            return self.converted()
        if key == "excerpt":
            self.site.engine.borrowed()
            return self.excerpt()
        self.site.engine.listed = True
        neighbour = self.next if key == "next" else self.previous
        return neighbour.drop if neighbour is not None else None

    def converted(self) -> str:
        """Its body as HTML, without a layout."""
        if self._converted is None:
            self.site.convert(self)
        assert self._converted is not None
        return self._converted

    def keep(self, html: str) -> None:
        """Remember its HTML."""
        self._converted = html

    @property
    def body(self) -> str:
        """The text after the front matter, not yet read as a template."""
        if self._body is None:
            self._body = self.site.body_of(self)
        return self._body

    def forget(self) -> None:
        """Drop its texts; they are read again when somebody asks."""
        self._converted = self._body = None

    def excerpt(self) -> Any:
        """The first part of its body, rendered; what the front matter says comes first."""
        if "excerpt" in self.data:
            return self.data["excerpt"]
        if self._excerpt is None:
            # A first part that asks for itself gets nothing.
            self._excerpt = ""
            separator = text_of(self.data.get("excerpt_separator", self.site.config.values["excerpt_separator"]))
            if not separator:
                return ""
            head, found, tail = self.body.partition(separator)
            if found:
                # What the first part refers to may be defined after it.
                references = re.findall(r"^ {0,3}(?:(?:\[[^\]]+\])(?::.+))$", tail, re.M)
                head = head + "\n\n" + "\n".join(references)
            was, self.converting = self.converting, True
            try:
                template = self.site.engine.template(head, str(self.path), self.first_line)
                text, _ = self.site.engine.render(template, self.site.env(self))
                self._excerpt = self.site.markdown(text) if self.is_markdown else text
            finally:
                self.converting = was
        return self._excerpt


class Site:
    """A companion that is ready to be rendered.

    Args:
        source: Its folder.
        environment: ``jekyll.environment``.
        epoch: Seconds since 1970 that ``site.time`` shows.
        entries: What `quick.scan` found in the source; it is looked through when this is not given.
        settings: The configuration file's contents, when they are known.
    """

    def __init__(
        self,
        source: Path,
        *,
        environment: str = "development",
        epoch: float | None = None,
        entries: list[str | int] | None = None,
        settings: dict[str, Any] | None = None,
    ) -> None:
        self.source = source
        self.config = Config(source, settings)
        found = quick.scan(str(source)) if entries is None else entries
        self._entries = sorted(str(name) for name in found[::3])
        self._allowed: dict[str, bool] = {"": True}
        self._taken: dict[str, Page | None] = {}
        self._complete = False
        self.due: float | None = None
        values = self.config.values
        self._root = str(source)
        self._defaults = bool(values.get("defaults"))
        self._excluded = [str(e).strip("/") for e in (*EXCLUDED, *values["exclude"])]
        self._included = [str(e).strip("/") for e in values["include"]]
        # Most names are told apart from every pattern by one look.
        starts = [re.escape(e.partition("*")[0].partition("?")[0].partition("[")[0]) for e in self._excluded if e]
        self._may_be_listed = re.compile("|".join(starts) or r"(?!)").match
        self.zone = times.zone(values.get("timezone"))
        moment = dt.datetime.fromtimestamp(epoch, dt.UTC) if epoch is not None else dt.datetime.now(dt.UTC)
        self.now = times.local(moment, self.zone)
        self.baseurl = values.get("baseurl")
        self.url = values.get("url")
        self.environment = environment
        self.markdown_exts = frozenset(
            part.strip().lower() for part in str(values.get("markdown_ext") or "").split(",") if part.strip()
        )
        self.engine = Engine(self, strict_filters=self.config.strict("liquid", "strict_filters"))
        self._strict = self.config.strict("strict_front_matter")
        self._kramdown = self.config.kramdown()
        self._highlights = values.get("highlighter") not in (None, False, "none")
        self.pages: list[Page] = []
        self.documents: dict[str, list[Page]] = {}
        self.files: dict[str, Path] = {}
        self._layouts: dict[str, tuple[dict[str, Any], Template] | None] = {}
        self._linked: dict[str, str] | None = None
        self._lists: dict[str, Any] = {}
        self.drop = Drop({**values, "time": self.now, "collections": None}, self, _LAZY | set(self.config.collections))
        del self.drop["collections"]
        self._jekyll = {"version": "4.3.1", "environment": environment}

    # -- reading

    def output_ext(self, ext: str) -> str:
        """The ending of the file that a converter makes."""
        if ext[1:].lower() in self.markdown_exts:
            return ".html"
        return ".css" if ext in {".scss", ".sass"} else ext

    def read(self) -> None:
        """Read everything: pages, posts, collections, files and data."""
        self.read_shared()
        self.complete()

    def read_shared(self) -> None:
        """Read what every page may need: data, posts and collections."""
        self._check_theme()
        self.engine.data = documents.read_data(
            self.source / str(self.config.values.get("data_dir") or "_data"), self.zone
        )
        self._read_posts()
        for label in self.config.collections:
            if label != "posts":
                self._read_collection(label)

    def complete(self) -> None:
        """Read all pages that were not read yet, and put the lists in Jekyll's order."""
        if not self._complete:
            self._complete = True
            for relative in self.candidates():
                self.take(relative)
            self.pages.sort(key=_file_name)

    def _check_theme(self) -> None:
        theme = self.config.values.get("theme") or self.config.values.get("remote_theme")
        if theme and not (self.source / "_layouts").is_dir():
            raise ToolError(
                f"the theme {theme!r} is a Ruby gem and is not here; copy its _layouts, _includes, _sass and assets"
                " into this folder and take the line out",
                path=self.config.path,
            )

    def candidates(self) -> list[str]:
        """All files that may be pages or are copied, in a fixed order."""
        found: list[str] = []
        for relative in self._entries:
            folder, _, name = relative.rpartition("/")
            known = self._allowed.get(folder)
            if known is None:
                known = self._is_allowed(folder)
            if known:
                plain = name[0] not in "._#~" and name[-1] != "~" and not self._may_be_listed(relative)
                if plain or self._is_visible(relative):
                    found.append(relative)
        return found

    def _is_allowed(self, folder: str) -> bool:
        """Whether Jekyll looks into a folder."""
        known = self._allowed.get(folder)
        if known is None:
            known = self._allowed[folder] = (
                self._is_allowed(folder.rpartition("/")[0])
                and self._is_visible(folder)
                and not (self.source / folder / quick.LEDGER).exists()
            )
        return known

    def _is_visible(self, relative: str) -> bool:
        name = relative.rpartition("/")[2]
        hidden = name[0] in "._#~" or name[-1] == "~" or _listed(relative, self._excluded)
        return not hidden or _listed(relative, self._included)

    def take(self, relative: str) -> Page | None:
        """Take a file as a page, or as one to copy, for which there is None."""
        if relative in self._taken:
            return self._taken[relative]
        page = self._page(relative, "pages")
        if page is None:
            self.files[relative] = self.source / relative
        elif page.data.get("published") is False and not self.config.values.get("unpublished"):
            page = None
        else:
            self._place(page)
            self.pages.append(page)
        self._taken[relative] = page
        return page

    def _page(self, relative: str, kind: str) -> Page | None:
        try:
            descriptor = os.open(f"{self._root}/{relative}", os.O_RDONLY)
            try:
                raw = os.read(descriptor, 1 << 12)
                if not documents.has_front_matter(raw):
                    return None
                if len(raw) == 1 << 12:
                    with open(descriptor, "rb", closefd=False) as file:
                        raw += file.read()
            finally:
                os.close(descriptor)
        except OSError as wrong:
            raise ContentError(f"cannot be read: {wrong.strerror}", path=self.source / relative) from None
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError as wrong:
            raise ContentError(
                f"not UTF-8 at byte {wrong.start}; save the file as UTF-8", path=self.source / relative
            ) from None
        found = documents.split_plain(text)
        if found is None:
            found = documents.split_front_matter(text, self.source / relative, self.zone, strict=self._strict)
        data, body, lines = found
        if self._defaults:
            data = {**self.config.default_for(relative, kind), **data}
        return Page(self, relative, data, body, lines + 1, kind)

    def _place(self, page: Page) -> None:
        """Give a page its address and what templates see of it."""
        folder, name = ("", page.relative) if "/" not in page.relative else tuple(page.relative.rsplit("/", 1))
        base = name[: len(name) - len(page.ext)] if page.ext else name
        own = page.data.get("permalink")
        html = page.output_ext == ".html"
        if own is not None and text_of(own):
            pattern = text_of(own)
        elif not html:
            pattern = "/:path/:basename:output_ext"
        elif base == "index":
            pattern = "/:path/"
        else:
            pattern = "/:path/:basename" + self._suffix()
        if ":" in pattern:
            if pattern == "/:path/:basename:output_ext":
                page.url = _tidy(f"/{page.relative[: len(page.relative) - len(page.ext)]}{page.output_ext}")
            else:
                page.url = _fill(
                    pattern, {"path": folder, "basename": base, "output_ext": page.output_ext, "name": base}
                )
        else:
            page.url = _tidy(pattern)
        page.drop.update(page.data)
        page.drop.update(name=name, path=page.relative, url=page.url)

    def _suffix(self) -> str:
        style = str(self.config.values.get("permalink") or "date")
        if style == "pretty" or (style not in _STYLES and style.endswith("/")):
            return "/"
        return ":output_ext" if style in _STYLES or style.endswith(":output_ext") else ""

    def _read_posts(self) -> None:
        posts: list[Page] = []
        future = self.config.values.get("future")
        for relative in self._posts():
            found = _POST.match(relative)
            if not found:
                continue
            page = self._page(relative, "posts")
            if page is None:
                continue
            self._document(page, found[1], found[2], "posts")
            assert page.date is not None
            if page.data.get("published") is False and not self.config.values.get("unpublished"):
                continue
            if page.date > self.now and not future:
                self._wait_for(page.date)
                continue
            posts.append(page)
        posts.sort(key=lambda page: (page.date, page.relative))
        limit = self.config.values.get("limit_posts")
        if isinstance(limit, int) and limit > 0:
            posts = posts[-limit:]
        for before, after in pairwise(posts):
            before.next, after.previous = after, before
        self.documents["posts"] = posts

    def _wait_for(self, moment: times.Time) -> None:
        """Note when the site would be another one with nothing changed."""
        due = moment.timestamp()
        self.due = due if self.due is None else min(self.due, due)

    def _posts(self) -> Iterator[str]:
        """Files of the folders ``_posts``, wherever in the tree."""
        for relative in self._entries:
            if "_posts/" not in relative:
                continue
            before, found, _ = ("/" + relative).partition("/_posts/")
            name = relative.rpartition("/")[2]
            if found and name[0] not in ".#~" and name[-1] != "~" and self._is_allowed(before.lstrip("/")):
                yield relative

    def _read_collection(self, label: str) -> None:
        root = self.config.values.get("collections_dir") or ""
        folder = f"{root}/_{label}".lstrip("/")
        pages: list[Page] = []
        for relative in self._entries:
            if not relative.startswith(folder + "/"):
                continue
            inner = relative[len(folder) + 1 :]
            if any(part[0] in "._#~" or part[-1] == "~" for part in inner.split("/")):
                continue
            page = self._page(relative, label)
            if page is None:
                if self.config.collections[label].get("output"):
                    self.files[f"{label}/{inner}"] = self.source / relative
                continue
            found = _DATED.match(relative.rsplit("/", 1)[-1])
            if found is None:
                continue
            self._document(page, found[1], found[2], label)
            if page.data.get("published") is False and not self.config.values.get("unpublished"):
                continue
            if page.date is not None and found[1] and page.date > self.now and not self.config.values.get("future"):
                self._wait_for(page.date)
                continue
            pages.append(page)
        key = self.config.collections[label].get("sort_by")
        if key:
            with_key = [p for p in pages if p.data.get(key) is not None]
            without = [p for p in pages if p.data.get(key) is None]
            pages = sorted(with_key, key=lambda p: p.data[key]) + without
        else:
            pages.sort(
                key=lambda p: (
                    (p.date is not None, p.date or self.now, p.relative) if p.date else (False, self.now, p.relative)
                )
            )
        for before, after in pairwise(pages):
            before.next, after.previous = after, before
        self.documents[label] = pages

    def _document(self, page: Page, dated: str | None, slug: str, label: str) -> None:
        data = page.data
        given = data.get("date")
        moment = times.any_time(given, self.zone) if given is not None else None
        if given is not None and moment is None:
            raise ContentError(
                f"the date {text_of(given)!r} cannot be read; write 2020-04-01 or 2020-04-01 07:00:00 -0500",
                path=page.path,
            )
        if moment is None and dated:
            moment = times.read(dated, self.zone)
            if moment is None:
                raise ContentError(f"the date {dated!r} in the file name is none", path=page.path)
        if moment is not None:
            moment = times.local(moment, self.zone)
        elif label != "posts":
            moment = None
        page.date = moment
        inner = page.relative.split(f"_{label}/", 1)[-1]
        data.setdefault("slug", slug)
        data.setdefault("title", " ".join(word[:1].upper() + word[1:] for word in re.split(r"[-_]", slug) if word))
        categories: list[str] = []
        if label == "posts":
            before = page.relative.split("_posts/", 1)[0].strip("/")
            categories = [part for part in before.split("/") if part]
        for key in ("category", "categories"):
            value = data.get(key)
            if isinstance(value, list | tuple):
                categories += [text_of(v) for v in value if v is not None]
            elif value is not None and key == "categories":
                categories += text_of(value).split()
            elif value is not None:
                categories.append(text_of(value))
        categories = list(dict.fromkeys(categories))
        tags: list[str] = []
        for key in ("tag", "tags"):
            value = data.get(key)
            if isinstance(value, list | tuple):
                tags += [text_of(v) for v in value if v is not None]
            elif value is not None:
                tags += text_of(value).split() if key == "tags" else [text_of(value)]
        data["categories"] = categories
        data["tags"] = list(dict.fromkeys(tags))
        shown = moment if moment is not None else self.now
        permalink = data.get("permalink") or self.config.collections[label].get("permalink")
        if permalink is None:
            style = str(self.config.values.get("permalink") or "date")
            permalink = _STYLES.get(style, style) if label == "posts" else "/:collection/:path" + self._suffix()
        else:
            permalink = _STYLES.get(text_of(permalink), text_of(permalink))
        title = text_of(data["slug"])
        from paper_site.jekyll.filters import PLAIN

        slugify = PLAIN["slugify"]
        without_ext = inner[: len(inner) - len(page.ext)]
        page.url = _fill(
            permalink,
            {
                "collection": label,
                "path": without_ext,
                "output_ext": page.output_ext,
                "name": slugify(slug) or slug,
                "title": slugify(title, "pretty") or title,
                "slug": slugify(title) or title,
                "categories": "/".join(dict.fromkeys(c.lower() for c in categories)),
                "slugified_categories": "/".join(dict.fromkeys(slugify(c) for c in categories)),
                "year": f"{shown.year:04d}",
                "month": f"{shown.month:02d}",
                "day": f"{shown.day:02d}",
                "hour": f"{shown.hour:02d}",
                "minute": f"{shown.minute:02d}",
                "second": f"{shown.second:02d}",
                "i_day": str(shown.day),
                "i_month": str(shown.month),
                "short_year": f"{shown.year % 100:02d}",
                "short_month": times.strftime(shown, "%b"),
                "long_month": times.strftime(shown, "%B"),
                "short_day": times.strftime(shown, "%a"),
                "long_day": times.strftime(shown, "%A"),
                "y_day": f"{shown.timetuple().tm_yday:03d}",
                "week": f"{shown.isocalendar()[1]:02d}",
                "w_year": str(shown.isocalendar()[0]),
                "w_day": str(shown.isoweekday()),
            },
        )
        drop = page.drop
        drop.update(data)
        drop.update(
            url=page.url,
            path=page.relative,
            relative_path=page.relative,
            collection=label,
            id=os.path.splitext(page.url)[0] if not page.url.endswith("/") else page.url.rstrip("/"),  # noqa: PTH122
            ext=page.ext,
            name=page.relative.rsplit("/", 1)[-1],
            draft=data.get("draft", False),
        )
        drop["date"] = shown

    # -- what templates see

    def lazy(self, key: str) -> Any:
        """A list of the site that is made when it is asked for."""
        if key == "data":
            # The whole of the data is handed out: whoever has it may read all of it.
            self.engine.reads.add(())
            return self.engine.data
        self.engine.listed = True
        self.complete()
        if key == "related_posts":
            current = self.current
            if current is None or current.kind != "posts":
                return None
            return [page.drop for page in reversed(self.documents["posts"]) if page is not current][:10]
        if key not in self._lists:
            self._lists[key] = self._list(key)
        return self._lists[key]

    current: Page | None = None

    def body_of(self, page: Page) -> str:
        """The body of a page, read again."""
        again = self._page(page.relative, page.kind)
        return "" if again is None else again.body

    def _list(self, key: str) -> Any:
        if key == "posts":
            return [page.drop for page in reversed(self.documents["posts"])]
        if key == "pages":
            return [page.drop for page in self.pages]
        if key in {"html_pages", "html_files"}:
            if key == "html_pages":
                return [p.drop for p in self.pages if p.destination().endswith(".html")]
            return [file for file in self.lazy("static_files") if file["extname"] in {".html", ".htm"}]
        if key == "static_files":
            return [self._static(relative) for relative in sorted(self.files)]
        if key == "documents":
            return [page.drop for label in self.documents for page in self.documents[label]]
        if key == "collections":
            return [self._collection(label) for label in sorted(self.config.collections)]
        if key in {"categories", "tags"}:
            found: dict[str, list[Any]] = {}
            for page in self.documents["posts"]:
                for name in page.data[key]:
                    found.setdefault(name, []).insert(0, page.drop)
            return found
        return [page.drop for page in self.documents.get(key, [])]

    def _collection(self, label: str) -> dict[str, Any]:
        settings = self.config.collections[label]
        return {
            **settings,
            "label": label,
            "docs": [page.drop for page in self.documents.get(label, [])],
            "files": [],
            "directory": str(self.source / f"_{label}"),
            "relative_directory": f"_{label}",
            "output": bool(settings.get("output")),
        }

    def _static(self, relative: str) -> dict[str, Any]:
        name = relative.rsplit("/", 1)[-1]
        base, ext = os.path.splitext(name)  # noqa: PTH122
        stamp = self.files[relative].stat().st_mtime
        return {
            **self.config.default_for(relative, "static"),
            "path": "/" + relative,
            "name": name,
            "basename": base,
            "extname": ext,
            "modified_time": times.local(dt.datetime.fromtimestamp(int(stamp), dt.UTC), self.zone),
            "collection": None,
        }

    def env(self, page: Page) -> dict[str, Any]:
        """The variables that a page begins with."""
        env = {"site": self.drop, "page": page.drop, "jekyll": self._jekyll, "paginator": None}
        name = page.data.get("layout")
        if name is not None and name is not False and (found := self.layout(text_of(name))) is not None:
            env["layout"] = found[0]
        return env

    def expression_env(self) -> dict[str, Any]:
        """The variables of an expression inside a filter."""
        return {"site": self.drop, "jekyll": self._jekyll}

    # -- rendering

    def written_documents(self) -> Iterator[Page]:
        """Posts and documents of collections that become files."""
        for label, pages in self.documents.items():
            if self.config.collections[label].get("output"):
                yield from pages

    def outputs(self) -> Iterator[Page]:
        """Everything that becomes a file, in the order in which Jekyll renders it."""
        self.complete()
        yield from self.written_documents()
        yield from self.pages

    def convert(self, page: Page) -> tuple[str, Context]:
        """A page's body through Liquid and its converter."""
        if page.converting:
            raise ContentError("the page needs its own contents; take the circle out", path=page.path)
        page.converting = True
        before, self.current = self.current, page
        try:
            template = self.engine.template(page.body, f"{self._root}/{page.relative}", page.first_line)
            if page.data.get("render_with_liquid") is False:
                text, context = page.body, Context(self.engine, self.env(page), str(page.path))
            else:
                text, context = self.engine.render(template, self.env(page))
            if page.is_markdown:
                try:
                    text = self.markdown(text)
                except RecursionError:
                    raise ContentError("the Markdown is nested too deep", path=page.path) from None
            elif page.ext in {".scss", ".sass"}:
                text = self._compile_sass(text, page)
            page.keep(text)
        finally:
            page.converting = False
            self.current = before
        return text, context

    def render(self, page: Page) -> tuple[str, Context]:
        """A page with its layouts.

        Raises:
            ContentError: With file and line.
        """
        html, context = self.convert(page)
        name = page.data.get("layout")
        if name is None or name is False or name in ("none", "") or page.ext in {".scss", ".sass"}:
            return html, context
        seen: list[str] = []
        layouts: dict[str, Any] = {}
        while name is not None and name is not False and name not in ("none", ""):
            label = text_of(name)
            if label in seen:
                raise ContentError(f"the layouts {' -> '.join([*seen, label])} go in a circle", path=page.path)
            found = self.layout(label)
            if found is None:
                raise ContentError(
                    f"there is no layout {label!r} in _layouts; make _layouts/{label}.html or say layout: none",
                    path=page.path if not seen else self.source / "_layouts" / seen[-1],
                    line=1,
                )
            seen.append(label)
            data, template = found
            layouts = {**data, **layouts}
            context.env["content"] = html
            context.env["layout"] = layouts
            self.engine.used.add(template.path)
            inner = Context(self.engine, context.env, template.path)
            html = self.engine.run(template, inner)
            name = data.get("layout")
        return html, context

    def layout(self, name: str) -> tuple[dict[str, Any], Template] | None:
        """A layout's front matter and template."""
        if name not in self._layouts:
            self._layouts[name] = self._load_layout(name)
        return self._layouts[name]

    def _load_layout(self, name: str) -> tuple[dict[str, Any], Template] | None:
        folder = self.source / str(self.config.values.get("layouts_dir") or "_layouts")
        parts = PurePosixPath(name)
        if parts.is_absolute() or ".." in parts.parts:
            return None
        parent = folder / parts.parent
        if not parent.is_dir() or not parent.resolve().is_relative_to(folder.resolve()):
            return None
        for path in sorted(parent.iterdir()):
            stem = path.name.split(".")[0] if path.suffix else path.name
            if path.is_file() and not path.is_symlink() and parts.name in {path.stem, stem, path.name}:
                text = read_text(path)
                if text.startswith("---"):
                    data, body, lines = documents.split_front_matter(text, path, self.zone, strict=self._strict)
                    return data, self.engine.template(body, str(path), lines + 1)
                return {}, self.engine.template(text, str(path))
        return None

    # -- what filters and tags ask

    def markdown(self, text: str) -> str:
        """Markdown as HTML."""
        if is_plain(text):
            return text
        from paper_site.jekyll.kramdown.render import to_html

        if not self._highlights:
            return to_html(text, self._kramdown)
        from paper_site.jekyll.highlight import tokens

        return to_html(text, self._kramdown, tokens)

    def smart(self, text: str) -> str:
        """Typographic quotes, dashes and ellipses."""
        from paper_site.jekyll.kramdown.render import smart

        return smart(text)

    def sass(self, text: str, *, indented: bool) -> str:
        """Sass as CSS.

        Raises:
            FilterError: If no compiler is installed, or the Sass is wrong.
        """
        try:
            import sass
        except ImportError:
            raise FilterError(
                "Sass needs a compiler that is not installed: python -m pip install libsass, or put plain CSS there"
            ) from None
        try:
            return str(
                sass.compile(
                    string=text, indented=indented, include_paths=[str(self.source / "_sass")], output_style="expanded"
                )
            )
        except sass.CompileError as wrong:
            raise FilterError(f"this is not Sass: {wrong}") from None

    def _compile_sass(self, text: str, page: Page) -> str:
        try:
            return self.sass(text, indented=page.ext == ".sass")
        except FilterError as wrong:
            raise ToolError(str(wrong), path=page.path, line=page.first_line) from None

    def condition(self, text: str) -> Any:
        """See `Engine.condition`."""
        return self.engine.condition(text)

    def expression(self, text: str) -> Any:
        """See `Engine.expression`."""
        return self.engine.expression(text)

    def highlighted(self, language: str, options: list[str], code: str) -> str:
        """A highlight block."""
        from paper_site.jekyll.highlight import block

        return block(language, options, code)

    def linked(self, path: str) -> str | None:
        """Address of a file of the source, with the base."""
        self.complete()
        if self._linked is None:
            self._linked = {page.relative: page.url for page in self.pages}
            for pages in self.documents.values():
                self._linked.update({page.relative: page.url for page in pages})
            for relative in self.files:
                self._linked.setdefault(relative, "/" + relative)
        found = self._linked.get(path.lstrip("/"))
        return None if found is None else str(relative_url(self, found))

    def post(self, name: str) -> str | None:
        """Address of a post, with the base."""
        wanted = name.strip("/")
        for page in self.documents["posts"]:
            inner = page.relative.replace("_posts/", "", 1)
            stem = inner[: len(inner) - len(page.ext)]
            if wanted in {stem, stem.rsplit("/", 1)[-1]}:
                return str(relative_url(self, page.url))
        return None

    def seo_tags(self, context: Context) -> str:
        """What ``{% seo %}`` prints."""
        from paper_site.jekyll.seo import tags

        return tags(self, context)

    def feed_tags(self) -> str:
        """What ``{% feed_meta %}`` prints."""
        from paper_site.jekyll.filters import absolute_url
        from paper_site.jekyll.kramdown.tags import escape_attribute

        title = self.config.values.get("title") or self.config.values.get("name")
        named = f' title="{escape_attribute(text_of(title))}"' if title else ""
        return f'<link type="application/atom+xml" rel="alternate" href="{absolute_url(self, "/feed.xml")}"{named} />'


def _file_name(page: Page) -> str:
    return page.relative.rpartition("/")[2]


def _listed(relative: str, patterns: list[str]) -> bool:
    import fnmatch

    for pattern in patterns:
        if relative == pattern or relative.startswith(pattern + "/"):
            return True
        if "*" in pattern and fnmatch.fnmatchcase(relative, pattern):
            return True
    return False


def _fill(pattern: str, values: dict[str, str]) -> str:
    """A permalink with its placeholders filled in."""
    names = sorted(values, key=len, reverse=True)
    filled = re.sub(":(" + "|".join(names) + ")", lambda m: values[m[1]], pattern)
    return _tidy(filled)


def _tidy(url: str) -> str:
    path = "/" + re.sub(r"/{2,}", "/", url).lstrip("/")
    if _SAFE_URL.fullmatch(path):
        return path
    from urllib.parse import quote

    return quote(path, safe="-._~!$&'()*+,;=:@/%")
