"""Pages to HTML: Jinja with autoescape and strict undefined names, the authors' texts in a sandbox.

Texts of the authors go through Jinja first and through Markdown afterwards, as with Jekyll. What a text prints from
data is held back until Markdown is done and then put in escaped: a label can neither become markup nor break a table.
"""

from __future__ import annotations

import hashlib
import html
import re
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import (
    BaseLoader,
    ChoiceLoader,
    Environment,
    FileSystemLoader,
    FunctionLoader,
    StrictUndefined,
    TemplateError,
    TemplateNotFound,
    TemplateSyntaxError,
    pass_context,
)
from jinja2.runtime import Context, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markupsafe import Markup

from paper_site.documents import read_text
from paper_site.errors import ContentError
from paper_site.filters import FILTERS, slug_id
from paper_site.labels import FILTERS as LABEL_FILTERS
from paper_site.manifest import Companion
from paper_site.markdown import to_html
from paper_site.pages import Page, Prose, listening_path, model_path, navigation, run_path, study_path
from paper_site.schema import did_you_mean

TEMPLATES = Path(__file__).resolve().parent / "templates"


class DataMap(Mapping[str, Any]):
    """A mapping as Jekyll shows it: a loop yields pairs, ``entry[0]`` the key and ``entry[1].field`` a value."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values

    def __getitem__(self, key: str) -> Any:
        return wrap(self._values[key])

    def __iter__(self) -> Iterator[Any]:
        return ((key, wrap(value)) for key, value in self._values.items())

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, key: object) -> bool:
        return key in self._values

    def items(self) -> Any:
        """Pairs of key and value."""
        return list(self)

    def keys(self) -> Any:
        """The keys, in the order of the file."""
        return list(self._values)

    def values(self) -> Any:
        """The values, in the order of the file."""
        return [wrap(value) for value in self._values.values()]

    def __str__(self) -> str:
        return str(dict(self._values))


def wrap(value: Any) -> Any:
    """Wrap mappings for use in the authors' texts; leave everything else as it is."""
    if isinstance(value, Mapping) and not isinstance(value, DataMap):
        return DataMap(value)
    if isinstance(value, list | tuple):
        return [wrap(inner) for inner in value]
    return value


class _Environment(ImmutableSandboxedEnvironment):
    def getattr(self, obj: Any, attribute: str) -> Any:
        # A field named "items" or "values" is the field, not the method.
        if isinstance(obj, DataMap) and attribute in obj:
            return obj[attribute]
        return super().getattr(obj, attribute)


def _loader(source: Path, templates: Path) -> BaseLoader:
    def include(name: str) -> tuple[str, str, Callable[[], bool]] | None:
        if not name.startswith("partials/"):
            return None
        path = source / "_includes" / name.removeprefix("partials/")
        if ".." in Path(name).parts or not path.is_file():
            return None
        return read_text(path, ContentError), str(path), lambda: True

    return ChoiceLoader(
        [
            FunctionLoader(include),
            FileSystemLoader([source / "_layouts", source / "_includes", templates]),
        ]
    )


def make_environment(source: Path, templates: Path = TEMPLATES, *, sandboxed: bool = True) -> Environment:
    """Make the Jinja environment of a companion; its ``_layouts`` and ``_includes`` go before our templates."""
    environment = (_Environment if sandboxed else Environment)(
        loader=_loader(source, templates),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        cache_size=-1,
    )
    environment.filters.update(FILTERS | LABEL_FILTERS)
    return environment


def _line_in(error: BaseException, names: set[str]) -> tuple[str, int] | None:
    """Find the innermost line of a template in a traceback."""
    places = [(f.filename, f.lineno) for f in traceback.extract_tb(error.__traceback__) if f.lineno is not None]
    return next(
        ((name, line) for name, line in reversed(places) if name in names or name.endswith((".html", ".md"))), None
    )


def _content_error(error: Exception, path: Path | None) -> ContentError:
    if isinstance(error, TemplateSyntaxError):
        where = Path(error.filename) if error.filename else path
        return ContentError(error.message or "wrong template", path=where, line=error.lineno)
    place = _line_in(error, {str(path)})
    if isinstance(error, TemplateNotFound):
        message = f"there is no template {error.name!r}"
    elif isinstance(error, TemplateError):
        message = str(error.message or error)
    else:
        message = f"{type(error).__name__}: {error}"
    return ContentError(message, path=Path(place[0]) if place else path, line=place[1] if place else None)


def contents(text: str) -> list[tuple[str, str]]:
    """List the second-level headings of a rendered text as (id, words)."""
    found = re.findall(r'<h2 id="([^"]+)">(.*?)</h2>', text, re.DOTALL)
    return [(name, Markup(words).striptags()) for name, words in found]


class Renderer:
    """Turns the pages of one companion into HTML.

    Args:
        companion: The data.
        pages: All pages, for the navigation.
        templates: Folder of the templates.
        stylesheets: Paths inside the site of additional style sheets.
    """

    def __init__(
        self,
        companion: Companion,
        pages: list[Page],
        *,
        templates: Path = TEMPLATES,
        stylesheets: tuple[str, ...] = (),
    ) -> None:
        self.companion = companion
        self.sandbox = make_environment(companion.source, templates)
        # Our own templates need no sandbox, which takes half of the time on a long table.
        foreign = any((companion.source / name).is_dir() for name in ("_layouts", "_includes"))
        self.environment = make_environment(companion.source, templates, sandboxed=foreign)
        for environment in (self.sandbox, self.environment):
            environment.globals.update(
                companion=companion, paper=companion.site, nav=navigation(companion, pages), stylesheets=stylesheets
            )
        folders = (companion.source / "_layouts", companion.source / "_includes", templates)
        self.templates = sorted({path.name for folder in folders for path in folder.glob("*.html")})

    def render(self, page: Page) -> bytes:
        """Render one page.

        Raises:
            ContentError: For whatever is wrong in a template or a text, with file and line.
        """
        root = "../" * page.path.count("/") or "./"
        context = self._context(page, root)
        try:
            content = self._prose(page.prose, context, root) if page.prose else None
            template = self.environment.get_template(page.template)
            text = template.render(**context, content=content, toc=contents(content or ""))
        except ContentError:
            raise
        except TemplateNotFound as wrong:
            hint = did_you_mean(wrong.name or "", self.templates)
            where = page.prose.path if page.prose else None
            raise ContentError(f"there is no template {wrong.name!r}{hint}", path=where) from None
        except RecursionError:
            raise ContentError(f"{page.path}: the templates include each other without end") from None
        except Exception as wrong:
            raise _content_error(wrong, page.prose.path if page.prose else None) from wrong
        # Blank lines are what control structures leave behind.
        return re.sub(r"\n[ \t]*(?:\n[ \t]*)+\n", "\n\n", text).lstrip().encode()

    def _context(self, page: Page, root: str) -> dict[str, Any]:
        def url(path: str) -> str:
            path, _, fragment = path.partition("#")
            return root + quote(path) + (f"#{fragment}" if fragment else "")

        def run_url(run: str, fragment: str = "") -> str:
            return url(run_path(run)) + (f"#{slug_id(fragment)}" if fragment else "")

        return {
            **page.context,
            "page": page,
            "root": root,
            "url": url,
            "run_url": run_url,
            "model_url": lambda name: url(model_path(name)),
            "study_url": lambda name: url(study_path(name)),
            "listen_url": lambda name, fragment="": url(listening_path(name)) + (f"#{fragment}" if fragment else ""),
        }

    def _prose(self, prose: Prose, context: Mapping[str, Any], root: str) -> Markup:
        # Padding keeps the lines of errors those of the file.
        body = "\n" * (prose.body_line - 1) + prose.body
        if "{{" in body or "{%" in body:
            body = self._expand(prose, body, context, root)
        elif prose.markdown:
            body = to_html(body, prose.path)
        return Markup(body)

    def _expand(self, prose: Prose, body: str, context: Mapping[str, Any], root: str) -> str:
        salt = "q" + hashlib.sha256(body.encode()).hexdigest()[:12]
        held: list[str] = []

        def hold(text: str) -> Markup:
            held.append(text)
            return Markup(f"{salt}v{len(held) - 1}q")

        @pass_context
        def finalize(_: Context, value: Any) -> Any:
            if isinstance(value, Markup | Undefined):
                return value
            return hold(html.escape("" if value is None else str(value)))

        environment = self.sandbox.overlay(finalize=finalize)
        base = Markup(f"{salt}base")
        site = DataMap({**self.companion.site.raw, "data": self.companion.data, "baseurl": base, "url": ""})
        page: Page = context["page"]
        values = {
            **context,
            "site": site,
            "page": DataMap({"url": "/" + page.path, "path": prose.path.name, "title": page.title, **prose.values}),
        }
        try:
            code = environment.compile(body, name=prose.path.name, filename=str(prose.path))
            template = environment.template_class.from_code(
                environment,
                code,
                environment.make_globals(None),
                None,
            )
            text = template.render(values)
        except Exception as wrong:
            if isinstance(wrong, ContentError):
                raise
            raise _content_error(wrong, prose.path) from wrong
        if prose.markdown:
            text = to_html(text, prose.path)
        # Both spellings are in use: {{ site.baseurl }}/assets and {{ site.baseurl }}assets.
        text = re.sub(f"{salt}base/?", root, text)
        return re.sub(f"{salt}v(\\d+)q", lambda found: held[int(found[1])], text)
