"""Renders templates: finds, compiles and remembers them, and answers what their tags ask."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from paper_site.errors import ContentError
from paper_site.jekyll.compiler import Compiled, UnknownFilter, compile_template
from paper_site.jekyll.filters import FilterError
from paper_site.jekyll.syntax import Pieces, TemplateError, UnknownSyntax, cut
from paper_site.jekyll.values import equal, lookup, text_of

MAX_INCLUDES = 50


class Host(Protocol):
    """The site, as far as templates need it."""

    source: Path

    def highlighted(self, language: str, options: list[str], code: str) -> str:
        """A highlight block."""

    def linked(self, path: str) -> str | None:
        """Address of a file of the source."""

    def post(self, name: str) -> str | None:
        """Address of a post."""

    def seo_tags(self, context: Context) -> str:
        """What ``{% seo %}`` prints."""

    def feed_tags(self) -> str:
        """What ``{% feed_meta %}`` prints."""


class Template:
    """A file with Liquid in it, ready to render."""

    __slots__ = ("compiled", "first_line", "path", "pieces")

    def __init__(self, pieces: Pieces, compiled: Compiled | None, path: str, first_line: int) -> None:
        self.pieces = pieces
        self.compiled = compiled
        self.path = path
        self.first_line = first_line


class Context:
    """The variables of one rendering.

    Attributes:
        vars: What ``assign`` and ``capture`` set.
        env: ``page``, ``site``, ``content`` and the like.
        reads: The engine's.
    """

    __slots__ = (
        "_cycles",
        "_depth",
        "_engine",
        "_files",
        "_last",
        "_scopes",
        "counters",
        "env",
        "offsets",
        "reads",
        "vars",
    )

    def __init__(self, engine: Engine, env: dict[str, Any], file: str) -> None:
        self._engine = engine
        self.env = env
        self.vars: dict[str, Any] = {}
        self.offsets: dict[str, int] = {}
        self.counters: dict[str, int] = {}
        self.reads = engine.reads
        self._cycles: dict[Any, int] = {}
        self._scopes: list[dict[str, Any]] = []
        self._files: list[str] = [file]
        self._depth = 0
        self._last: str | None = None

    def get(self, name: str) -> Any:
        """A variable by its first name."""
        for scope in reversed(self._scopes):
            if name in scope:
                return scope[name]
        if name in self.vars:
            return self.vars[name]
        if name in self.env:
            return self.env[name]
        return self.counters.get(name)

    def data(self, path: tuple[Any, ...]) -> Any:
        """What stands below ``site.data``, noted as read."""
        site = self.get("site")
        if site is not self.env.get("site"):
            value = lookup(site, "data")
            for key in path:
                value = lookup(value, key)
            return value
        self.reads.add(path)
        value = self._engine.data
        for key in path:
            value = value[key] if type(value) is dict and key in value else lookup(value, key)
        return value

    def data_keys(self, path: tuple[Any, ...]) -> Any:
        """The keys of a map below ``site.data``, each as a pair of which nothing but the key is looked at."""
        site = self.get("site")
        value = self._engine.data
        for key in path:
            value = lookup(value, key)
        if site is not self.env.get("site") or not isinstance(value, Mapping):
            return self.data(path)
        self.reads.add((*path, KEYS))
        return [(key,) for key in value]

    def cycle(self, key: Any, values: tuple[Any, ...]) -> Any:
        """The next of some values."""
        try:
            at = self._cycles.get(key, 0)
        except TypeError:
            key = repr(key)
            at = self._cycles.get(key, 0)
        self._cycles[key] = at + 1
        return values[at % len(values)]

    def count(self, name: str, step: int) -> str:
        """``increment`` prints and then adds; ``decrement`` subtracts first."""
        value = self.counters.get(name, 0)
        self.counters[name] = value + step
        return str(value if step > 0 else value + step)

    def if_changed(self, text: str) -> str:
        """The text if it is not what it was the last time."""
        if self._last == text:
            return ""
        self._last = text
        return text

    def include(self, name: str, parameters: dict[str, Any], visible: dict[str, Any], relative: bool) -> str:
        """The text of an included file."""
        engine = self._engine
        path = engine.relative_file(name, self._files[0]) if relative else engine.include_file(name)
        if self._depth >= MAX_INCLUDES or self._files.count(path) > 8:
            chain = " -> ".join(p.rpartition("/")[2] for p in self._files[-4:])
            raise Refused(f"{name} includes itself without end ({chain}); break the circle with a condition")
        template = engine.file(path)
        if visible:
            self._scopes.append(visible)
        self._scopes.append({"include": parameters})
        self._files.append(path)
        self._depth += 1
        try:
            return engine.run(template, self)
        finally:
            self._depth -= 1
            self._files.pop()
            self._scopes.pop()
            if visible:
                self._scopes.pop()

    def highlight(self, language: str, options: list[str], text: str) -> str:
        """A highlight block."""
        return str(self._engine.host.highlighted(language, options, text))

    def link(self, path: str) -> str:
        """``{% link %}``."""
        self._engine.listed = True
        found: str | None = self._engine.host.linked(path.strip())
        if found is None:
            raise Refused(f"there is no file {path.strip()!r} to link; name it from the companion's folder")
        return found

    def post_url(self, name: str) -> str:
        """``{% post_url %}``."""
        self._engine.listed = True
        found: str | None = self._engine.host.post(name.strip())
        if found is None:
            raise Refused(f"there is no post {name.strip()!r}; posts are named YYYY-MM-DD-name without the ending")
        return found

    def seo(self) -> str:
        """``{% seo %}``."""
        return str(self._engine.host.seo_tags(self))

    def feed_meta(self) -> str:
        """``{% feed_meta %}``."""
        return str(self._engine.host.feed_tags())


KEYS = "\x00keys"


class Refused(Exception):
    """What a tag cannot do; the engine adds file and line."""


class Engine:
    """Renders templates of one site.

    Args:
        host: The site.
        strict_filters: Whether an unknown filter stops the build.

    Attributes:
        data: What ``site.data`` holds.
        reads: Paths below it that were read since `start`; one ends with `KEYS` where only the keys of a map were.
        listed: Whether other pages were asked for since then.
        used: Layouts and included files that were used since then.
    """

    def __init__(self, host: Any, *, strict_filters: bool = True) -> None:
        self.host = host
        self.strict_filters = strict_filters
        self.data: Any = {}
        self.listed = False
        self.reads: set[tuple[Any, ...]] = set()
        self.used: set[str] = set()
        self.shapes: dict[tuple[str, ...], Compiled | None] = {}
        self._files: dict[str, Template] = {}
        self._expressions: dict[tuple[str, bool], Any] = {}
        self._found: dict[str, str] = {}

    def start(self) -> None:
        """Begin to note what a page reads."""
        self.listed = False
        self.reads = set()
        self.used = set()

    def borrowed(self) -> None:
        """Note that a page has taken the contents of another one, and with them whatever that one reads."""
        self.listed = True
        self.reads.add(())

    # -- templates

    def template(self, source: str, path: str, first_line: int = 1) -> Template:
        """A template from text.

        Raises:
            ContentError: If it cannot be read.
        """
        try:
            pieces = cut(source)
        except UnknownSyntax:
            return Template(Pieces([source], ("left",), [], source), None, path, first_line)
        try:
            compiled = self.shapes[pieces.shape]
        except KeyError:
            compiled = self.shapes[pieces.shape] = self._compile(pieces, path, first_line)
        return Template(pieces, compiled, path, first_line)

    def _compile(self, pieces: Pieces, path: str, first_line: int) -> Compiled | None:
        try:
            return compile_template(pieces, f"<liquid {len(self.shapes)}>", strict_filters=self.strict_filters)
        except UnknownSyntax:
            return None
        except TemplateError as wrong:
            raise ContentError(str(wrong), path=Path(path), line=first_line - 1 + pieces.line(wrong.token)) from None
        except UnknownFilter as wrong:
            raise self._unknown_filter(wrong.name, path, first_line - 1 + pieces.line(wrong.token)) from None
        except RecursionError:
            raise ContentError("the template is nested too deep", path=Path(path), line=first_line) from None

    @staticmethod
    def _unknown_filter(name: str, path: str, line: int) -> ContentError:
        from difflib import get_close_matches

        from paper_site.jekyll.filters import PLAIN, SITED

        near = get_close_matches(name, [*PLAIN, *SITED], 1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        return ContentError(
            f"there is no filter {name!r}; {hint}Jekyll would pass the value through, which liquid: {{strict_filters:"
            " false} in _config.yml allows here too",
            path=Path(path),
            line=line,
        )

    def file(self, path: str) -> Template:
        """The template of a file that is included."""
        self.used.add(path)
        known = self._files.get(path)
        if known is None:
            known = self._files[path] = self.template(read_text(Path(path)), path)
        return known

    def include_file(self, name: str) -> str:
        """A file of ``_includes``, no link, and nowhere else."""
        known = self._found.get(name)
        if known is None:
            known = self._found[name] = self._inside(self.host.source / "_includes", name)
        return known

    def relative_file(self, name: str, page: str) -> str:
        """A file in the folder of the page."""
        if ".." in name.split("/"):
            raise Refused(f"include_relative may not leave the page's folder: {name!r}")
        return self._inside(Path(page).parent, name, root=self.host.source)

    @staticmethod
    def _inside(folder: Path, name: str, root: Path | None = None) -> str:
        if not name or name.startswith("/") or "\\" in name or ".." in name.split("/") or "\x00" in name:
            raise Refused(f"{name!r} may not be included: the path must stay inside {folder.name}")
        path = folder / name
        if not path.is_file():
            raise Refused(f"{name!r} is not in {folder.name}; make it, or correct the name")
        base = (root or folder).resolve()
        if not path.resolve().is_relative_to(base):
            raise Refused(f"{name!r} is a link that leaves {folder.name}; put the file itself there")
        return str(path)

    # -- rendering

    def render(self, template: Template, env: dict[str, Any]) -> tuple[str, Context]:
        """Render a page or a layout with its own variables."""
        context = Context(self, env, template.path)
        return self.run(template, context), context

    def run(self, template: Template, context: Context) -> str:
        """Render a template into a context that is there.

        Raises:
            ContentError: With file and line, for whatever goes wrong.
        """
        compiled = template.compiled
        pieces = template.pieces
        if compiled is None:
            from paper_site.jekyll import fallback

            return fallback.render(self, template, context)
        if not pieces.shape:
            return pieces.texts[0]
        out: list[str] = []
        literals = pieces.literals if compiled.literals is None else compiled.literals
        try:
            compiled.function(context, pieces.texts, literals, out.append, self.host)
        except ContentError:
            raise
        except (Refused, FilterError, TypeError, ValueError, ArithmeticError, RecursionError, MemoryError) as wrong:
            raise self._at(wrong, template, compiled) from None
        return "".join(out)

    @staticmethod
    def _at(wrong: Exception, template: Template, compiled: Compiled) -> ContentError:
        line = template.first_line
        trace = wrong.__traceback__
        while trace is not None:
            if trace.tb_frame.f_code.co_filename == compiled.name:
                line = template.first_line - 1 + template.pieces.line(compiled.token(trace.tb_lineno))
                break
            trace = trace.tb_next
        message = str(wrong)
        if isinstance(wrong, TypeError) and "argument" in message:
            name = re.search(r"(\w+)\(\)", message)
            message = f"a filter is given too many or too few arguments ({name[1].strip('_') if name else message})"
        elif isinstance(wrong, RecursionError):
            message = "the template calls itself too deep"
        elif isinstance(wrong, ArithmeticError):
            message = f"a number is out of range ({message})"
        return ContentError(message, path=Path(template.path), line=line)

    # -- expressions in filters

    def condition(self, text: str) -> Callable[[str, Any, Any], Any]:
        """A condition such as ``item.x > 1``."""
        found: Callable[[str, Any, Any], Any] = self._expression(text, True)
        return found

    def expression(self, text: str) -> Callable[[str, Any, Any], Any]:
        """An expression such as ``item.x | modulo: 3``."""
        found: Callable[[str, Any, Any], Any] = self._expression(text, False)
        return found

    def _expression(self, text: str, is_condition: bool) -> Any:
        key = (text, is_condition)
        known = self._expressions.get(key)
        if known is None:
            source = "{% if " + text + " %}1{% endif %}" if is_condition else "{% assign out = " + text + " %}"
            template = self.template(source, "expression")
            if template.compiled is None:
                raise FilterError(f"{text!r} cannot be read as a condition")

            def run(name: str, item: Any, _: Any) -> Any:
                context = Context(self, self.host.expression_env(), "expression")
                context._scopes.append({name: item})
                result = self.run(template, context)
                return bool(result) if is_condition else context.vars.get("out")

            known = self._expressions[key] = run
        return known


def read_text(path: Path) -> str:
    """A text file.

    Raises:
        ContentError: If it is not UTF-8 or cannot be read.
    """
    try:
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as wrong:
        raise ContentError(f"not UTF-8 at byte {wrong.start}; save the file as UTF-8", path=path) from None
    except OSError as wrong:
        raise ContentError(f"cannot be read: {wrong.strerror}", path=path) from None


__all__ = ["KEYS", "Context", "Engine", "Refused", "Template", "equal", "read_text", "text_of"]
