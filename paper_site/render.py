"""Pages to HTML: Jinja with autoescape and strict undefined names, the authors' texts in a sandbox.

Texts of the authors go through Jinja first and through Markdown afterwards, as with Jekyll. What a text prints from
data is held back until Markdown is done and then put in escaped: a label can neither become markup nor break a table.
"""

from __future__ import annotations

import hashlib
import html
import re
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import (
    BaseLoader,
    BytecodeCache,
    Environment,
    StrictUndefined,
    Template,
    TemplateError,
    TemplateNotFound,
    TemplateSyntaxError,
    pass_context,
)
from jinja2 import __version__ as jinja2_version
from jinja2.bccache import Bucket
from jinja2.exceptions import SecurityError
from jinja2.loaders import split_template_path
from jinja2.runtime import Context, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markupsafe import Markup

from paper_site.cache import active, digest
from paper_site.documents import read_text
from paper_site.errors import ContentError
from paper_site.filters import FILTERS, slug_id
from paper_site.labels import FILTERS as LABEL_FILTERS
from paper_site.manifest import Companion
from paper_site.markdown import to_html
from paper_site.metadata import FILTERS as METADATA_FILTERS
from paper_site.pages import Page, Prose, extremes_path, listening_path, model_path, navigation, run_path, study_path
from paper_site.schema import did_you_mean
from paper_site.tables import FILTERS as TABLE_FILTERS
from paper_site.trace import MISSING, DataMap, Digester, Reads, Watched, observe

TEMPLATES = Path(__file__).resolve().parent / "templates"
LONGEST = 1_000_000
_BLANK = r"(?:[\s\x00-\x20]|&#(?:x0*[9ad]|0*(?:9|10|13));?|&(?:Tab|NewLine);)*"
_SCRIPT_ADDRESS = re.compile(
    r"(?<![-\w])(?:href|src|action|formaction)\s*=\s*[\"']?"
    + _BLANK
    + f"(?:{_BLANK.join('javascript')}|{_BLANK.join('vbscript')}):",
    re.IGNORECASE,
)
# An address that begins with a printed value.
_ADDRESS = r"""\b(?:href|src|srcset|action|formaction|poster|data|cite)\s*=\s*(?:"|'|)\s*{salt}v(\d+)q"""


class _Template(Template):
    """A template that runs anew for every page that imports it, so that the page is known to read what it reads."""

    def _get_default_module(self, ctx: Context | None = None) -> Any:
        keys = ctx.globals_keys - self.globals.keys() if ctx is not None else ()
        return self.make_module({k: ctx.parent[k] for k in keys} if ctx is not None else None)


class _Noting:
    """Notes which templates a page is made of."""

    reads: Reads | None = None
    template_class = _Template

    def _load_template(self, name: str, globals: Any) -> Template:  # noqa: A002 (the base class names it so)
        if self.reads is not None:
            self.reads.note("template", (name,))
        loaded: Template = super()._load_template(name, globals)  # type: ignore[misc]
        return loaded


class _Open(_Noting, Environment):
    pass


class _Sandbox(_Noting, ImmutableSandboxedEnvironment):
    # Products can grow without bound in one short expression.
    intercepted_binops = frozenset(("*", "**"))

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if operator == "**" and not (
            isinstance(left, int | float) and isinstance(right, int | float) and abs(right) < 100
        ):
            raise SecurityError("a power above 99 is not allowed")
        for many, times in ((left, right), (right, left)):
            if operator == "*" and hasattr(many, "__len__") and isinstance(times, int) and len(many) * times > LONGEST:
                raise SecurityError(f"a product of more than {LONGEST} pieces is not allowed")
        return super().call_binop(context, operator, left, right)

    def getattr(self, obj: Any, attribute: str) -> Any:
        # A field named "items" or "values" is the field, not the method.
        if isinstance(obj, DataMap) and attribute in obj:
            return obj[attribute]
        return super().getattr(obj, attribute)


class _Loader(BaseLoader):
    """Finds templates: the companion's layouts, its includes, ours; links that leave their folder are refused."""

    def __init__(self, source: Path, templates: Path) -> None:
        self.includes = source / "_includes"
        self.folders = (source / "_layouts", self.includes, templates)

    def get_source(self, environment: Environment, template: str) -> tuple[str, str, None]:
        parts = split_template_path(template)
        places = [folder.joinpath(*parts) for folder in self.folders]
        if parts[0] == "partials":
            places.insert(0, self.includes.joinpath(*parts[1:]))
        for path in places:
            if path.is_file():
                if not any(path.resolve().is_relative_to(folder.resolve()) for folder in self.folders):
                    raise ContentError("the template is a link that leaves its folder; put the file there", path=path)
                return read_text(path, ContentError), str(path), None
        raise TemplateNotFound(template)


class _CompiledTemplates(BytecodeCache):
    """Keeps compiled templates from build to build, by the hash of their source."""

    def load_bytecode(self, bucket: Bucket) -> None:
        found = active().get_bytes("template", self._key(bucket))
        if found is not None:
            bucket.bytecode_from_string(found)

    def dump_bytecode(self, bucket: Bucket) -> None:
        active().put_bytes("template", self._key(bucket), bucket.bytecode_to_string())

    def _key(self, bucket: Bucket) -> bytes:
        kind = f"{type(bucket.environment).__name__} {bucket.environment.finalize is not None}"
        return digest(f"{jinja2_version} {sys.version} {kind} {bucket.key} {bucket.checksum}".encode())


def make_environment(source: Path, templates: Path = TEMPLATES, *, sandboxed: bool = True) -> _Open | _Sandbox:
    """Make the Jinja environment of a companion; its ``_layouts`` and ``_includes`` go before our templates."""
    environment = (_Sandbox if sandboxed else _Open)(
        loader=_Loader(source, templates),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        cache_size=-1,
        auto_reload=False,
        bytecode_cache=_CompiledTemplates(),
    )
    environment.filters.update(FILTERS | LABEL_FILTERS | METADATA_FILTERS | TABLE_FILTERS)
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
    if isinstance(error, RecursionError):
        message = "the templates include each other without end"
    elif isinstance(error, TemplateNotFound):
        message = f"there is no template {error.name!r}"
    elif isinstance(error, TemplateError):
        message = str(error.message or error)
    else:
        message = f"{type(error).__name__}: {error}"
    return ContentError(message, path=Path(place[0]) if place else path, line=place[1] if place else None)


def is_address(text: str) -> bool:
    """Whether an address is one of the web or of mail, or a path; blanks that browsers skip do not hide a scheme."""
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*):", re.sub(r"[\s\x00-\x20]", "", text))
    return scheme is None or scheme[1].lower() in {"http", "https", "mailto"}


def _line_of_value(prose: Prose, value: str) -> int | None:
    """The line of a text on which a value stands itself; None where it comes from data."""
    found = prose.body.find(value)
    return prose.body_line + prose.body[:found].count("\n") if found >= 0 else None


def contents(text: str) -> list[tuple[str, str]]:
    """List the second-level headings of a rendered text as (id, words)."""
    found = re.findall(r'<h2 id="([^"]+)">(.*?)</h2>', text, re.DOTALL)
    return [(name, Markup(words).striptags()) for name, words in found]


def _collections(companion: Companion, pages: list[Page]) -> dict[str, list[dict[str, Any]]]:
    """What texts see of the collections of texts: ``site.notes`` lists the front matter, title and address of each."""
    return {
        name: [
            {**page.prose.values, "title": page.title, "url": f"/{page.path}"}
            for page in pages
            if page.kind == "prose" and page.prose is not None and page.prose.name.startswith(f"{name}/")
        ]
        for name in companion.site.raw.get("collections") or ()
    }


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
        self.navigation = navigation(companion, pages)
        self.stylesheets = stylesheets
        self.digester = Digester()
        self.reads = Reads(self.digester)
        self._sources: dict[str, Any] = {}
        self.reads.source("template", lambda place: self._source_of(place[0]))
        self.site = {
            **companion.site.raw,
            **_collections(companion, pages),
            "data": companion.data,
            "baseurl": "",
            "url": "",
        }
        self.reads.source("site", lambda place: observe(self.site, place[1], place[0]))
        self.sandbox = make_environment(companion.source, templates)
        # Our own templates need no sandbox, which takes half of the time on a long table.
        foreign = any((companion.source / name).is_dir() for name in ("_layouts", "_includes"))
        self.environment = make_environment(companion.source, templates, sandboxed=foreign)
        for environment in (self.sandbox, self.environment):
            environment.reads = self.reads
            environment.globals.update(
                companion=Watched(companion, "companion", self.reads),
                paper=Watched(companion.site, "paper", self.reads),
                nav=self.navigation,
                stylesheets=stylesheets,
            )
        folders = (companion.source / "_layouts", companion.source / "_includes", templates)
        self.templates = sorted({path.name for folder in folders for path in folder.glob("*.html")})

    def _source_of(self, name: str) -> Any:
        if name not in self._sources:
            try:
                self._sources[name] = self.sandbox.loader.get_source(self.sandbox, name)[0]  # type: ignore[union-attr]
            except TemplateNotFound:
                self._sources[name] = MISSING
        return self._sources[name]

    def given(self, page: Page) -> dict[str, bytes]:
        """Hash all that a page is given: what it is, its data, its text, what stands on all pages.

        Raises:
            NotPlainError: If it is given something that is no data.
        """
        of = self.digester.of
        text = page.prose
        return {
            "page": of((page.path, page.template, page.title, page.kind, page.player, page.description)),
            "text": of(
                (text.name, text.path.name, text.values, text.body, text.body_line, text.markdown) if text else 0
            ),
            "navigation": of(self.navigation),
            "style sheets": of(self.stylesheets),
            **{f"data {name}": of(value) for name, value in page.context.items()},
        }

    def render(self, page: Page) -> bytes:
        """Render one page; `reads` knows afterwards what of the shared values it read.

        Raises:
            ContentError: For whatever is wrong in a template or a text, with file and line.
        """
        root = "../" * page.path.count("/") or "./"
        self.reads.begin()
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
        script = _SCRIPT_ADDRESS.search(text)
        if script:
            line = text[: script.start()].count("\n") + 1
            raise ContentError(
                f"line {line} of {page.path} has an address that is a script; name a page or a file",
                path=page.prose.path if page.prose else None,
            )
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
            "extremes_url": lambda name: url(extremes_path(name)),
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
        site = DataMap({**self.site, "baseurl": base}, self.reads)
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
        for found in re.finditer(_ADDRESS.format(salt=salt), text, re.IGNORECASE):
            address = html.unescape(held[int(found[1])])
            if not is_address(address):
                raise ContentError(
                    f"{address[:80]!r} is printed as an address and is none that a reader may follow (https://, http://,"
                    " mailto: or a path)",
                    path=prose.path,
                    line=_line_of_value(prose, address),
                )
        text = re.sub(f"{salt}v(\\d+)q", lambda found: held[int(found[1])], text)
        # Both spellings are in use: {{ site.baseurl }}/assets and {{ site.baseurl }}assets.
        return re.sub(f"{salt}base/?", root, text)
