"""Templates that the compiler leaves alone, rendered by python-liquid with the same filters and Jekyll's tags."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from liquid import Environment, Mode, RenderContext
from liquid.ast import BlockNode
from liquid.ast import Node as LiquidNode
from liquid.builtin.output import Output, OutputNode
from liquid.builtin.tags.echo_tag import EchoTag
from liquid.exceptions import LiquidError
from liquid.parser import get_parser
from liquid.stream import TokenStream
from liquid.tag import Tag
from liquid.token import TOKEN_EOF, TOKEN_EXPRESSION, TOKEN_TAG, Token
from liquid.undefined import is_undefined

from paper_site.errors import ContentError
from paper_site.jekyll.filters import PLAIN, SITED, FilterError
from paper_site.jekyll.syntax import _SIMPLE, _TAG
from paper_site.jekyll.values import text_of

if TYPE_CHECKING:
    from paper_site.jekyll.engine import Context, Engine, Template

_OWN = ("include", "include_cached", "include_relative", "link", "post_url", "seo", "feed_meta")
_KNOWN = frozenset(
    [
        *_SIMPLE,
        *_OWN,
        "if",
        "elsif",
        "else",
        "unless",
        "case",
        "when",
        "for",
        "capture",
        "highlight",
        "raw",
        "comment",
        "liquid",
        "tablerow",
        "ifchanged",
        "doc",
    ]
)


class _Scope(dict[str, Any]):
    """The variables of python-liquid as one of ours."""

    def __init__(self, context: RenderContext) -> None:
        super().__init__()
        self._context = context

    def __contains__(self, key: object) -> bool:
        return not is_undefined(self._context.resolve(str(key)))

    def __getitem__(self, key: str) -> Any:
        found = self._context.resolve(key)
        return None if is_undefined(found) else found


class _OwnNode(LiquidNode):
    """A tag of Jekyll's: done by our own engine as a template of this one tag."""

    __slots__ = ("text",)

    def __init__(self, token: Token, text: str) -> None:
        super().__init__(token)
        self.text = text
        self.blank = False

    def render_to_output(self, context: RenderContext, buffer: TextIO) -> int:
        own: Context = context.globals["__context"]  # type: ignore[assignment]
        engine: Engine = context.globals["__engine"]  # type: ignore[assignment]
        template = engine.template(self.text, own._files[-1])
        before = dict(own.vars)
        own._scopes.append(_Scope(context))
        try:
            out = engine.run(template, own)
        finally:
            own._scopes.pop()
        for name, value in own.vars.items():
            if name not in before or before[name] is not value:
                context.assign(name, value)
        return buffer.write(out)


class _OwnTag(Tag):
    block = False

    def parse(self, stream: TokenStream) -> LiquidNode:
        token = stream.eat(TOKEN_TAG)
        inner = stream.current.value if stream.current.kind == TOKEN_EXPRESSION else ""
        return _OwnNode(token, f"{{% {self.name} {inner} %}}")


class _HighlightNode(LiquidNode):
    __slots__ = ("block", "language", "options")

    def __init__(self, token: Token, inner: str, block: BlockNode) -> None:
        super().__init__(token)
        self.language, *self.options = inner.split() or ["plaintext"]
        self.block = block
        self.blank = False

    def render_to_output(self, context: RenderContext, buffer: TextIO) -> int:
        held = context.get_buffer(buffer)
        self.block.render(context, held)
        engine: Engine = context.globals["__engine"]  # type: ignore[assignment]
        return buffer.write(engine.host.highlighted(self.language, self.options, held.getvalue()))


class _HighlightTag(Tag):
    name = "highlight"
    end = "endhighlight"

    def parse(self, stream: TokenStream) -> LiquidNode:
        token = stream.eat(TOKEN_TAG)
        inner = ""
        if stream.current.kind == TOKEN_EXPRESSION:
            inner = stream.current.value
            next(stream)
        block = get_parser(self.env).parse_block(stream, frozenset({"endhighlight", TOKEN_EOF}))
        stream.expect(TOKEN_TAG, value="endhighlight")
        return _HighlightNode(token, inner, block)


class _OutputNode(OutputNode):
    """Prints values as Ruby does."""

    def render_to_output(self, context: RenderContext, buffer: TextIO) -> int:
        value = self.expression.evaluate(context)
        return buffer.write("" if is_undefined(value) else text_of(value))


class _Output(Output):
    node_class = _OutputNode


class _EchoNode(_OutputNode):
    """``{% echo %}``."""


class _Echo(EchoTag):
    node_class = _EchoNode  # type: ignore[assignment]


def _plain(value: Any) -> Any:
    return None if is_undefined(value) else value


def _wrapped(function: Any) -> Any:
    def run(*arguments: Any, **named: Any) -> Any:
        return function(*map(_plain, arguments), **{k: _plain(v) for k, v in named.items()})

    return run


def environment(engine: Engine) -> Environment:
    """An environment for the templates of one site."""
    env = Environment(tolerance=Mode.LAX, strict_filters=False)
    env.add_tag(_Output)
    env.add_tag(_Echo)
    for name, function in PLAIN.items():
        env.add_filter(name, _wrapped(function))
    for name, function in SITED.items():
        env.add_filter(name, _wrapped(partial(function, engine.host)))
    for name in _OWN:
        env.add_tag(type(f"_{name}", (_OwnTag,), {"name": name}))
    env.add_tag(_HighlightTag)
    return env


_environments: dict[int, tuple[Any, Environment]] = {}


def render(engine: Engine, template: Template, context: Context) -> str:
    """Render a whole template.

    Raises:
        ContentError: With file and line.
    """
    source = template.pieces.source
    _check(source, template, engine)
    known = _environments.get(id(engine))
    if known is None or known[0] is not engine:
        _environments.clear()
        known = _environments[id(engine)] = (engine, environment(engine))
    scopes: dict[str, Any] = {**context.env}
    # What it reads cannot be followed: the page depends on all of the data.
    context.reads.add(())
    for scope in context._scopes:
        scopes.update(scope)
    scopes.update(context.vars)
    scopes.update({"__context": context, "__engine": engine})
    try:
        bound = known[1].from_string(source, globals=scopes)
        return bound.render()
    except LiquidError as wrong:
        line = wrong.context()[0] if wrong.token is not None and wrong.context() else 1  # type: ignore[index]
        raise ContentError(
            f"{wrong.message}", path=Path(template.path), line=template.first_line - 1 + max(1, int(line))
        ) from None
    except (FilterError, TypeError, ValueError, ArithmeticError, RecursionError) as wrong:
        raise ContentError(str(wrong), path=Path(template.path), line=template.first_line) from None


def _check(source: str, template: Template, engine: Engine) -> None:
    """Refuse unknown tags and filters, which python-liquid would pass over."""
    outside = re.sub(
        r"\{%-?\s*(raw|comment|doc)\s*-?%\}.*?\{%-?\s*end\1\s*-?%\}",
        lambda m: "\n" * m[0].count("\n"),
        source,
        flags=re.S,
    )
    for found in re.finditer(r"\{%.*?%\}", outside, re.S):
        tag = _TAG.match(found[0])
        name = tag[1] if tag else None
        line = template.first_line + outside.count("\n", 0, found.start())
        if name is None:
            raise ContentError(f"{found[0]!r} is no tag", path=Path(template.path), line=line)
        if name != "#" and name not in _KNOWN and not (name.startswith("end") and name[3:] in _KNOWN):
            raise ContentError(f"there is no tag {name!r}", path=Path(template.path), line=line)
    if engine.strict_filters:
        for found in re.finditer(r"\{\{.*?\}\}|\{%-?\s*(?:assign|echo)\s.*?%\}", outside, re.S):
            bare = re.sub(r"\"[^\"]*\"|'[^']*'", "''", found[0])
            for name in re.findall(r"\|\s*(\w+)", bare):
                if name not in PLAIN and name not in SITED:
                    line = template.first_line + outside.count("\n", 0, found.start())
                    raise engine._unknown_filter(name, template.path, line)
