"""From a template's tree to a Python function, as fast templates in Python are made.

Names of loops become local variables, straight runs of text and values one formatted string. Every read below
``site.data`` is recorded by its path, so that a page is made again when just that part of the data changes.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

from paper_site.jekyll.filters import PLAIN, PURE, SITED
from paper_site.jekyll.syntax import Expression, Node, Pieces, Reader
from paper_site.jekyll.values import (
    BLANK,
    EMPTY,
    contains,
    equal,
    integer,
    items,
    less,
    lookup,
    make_range,
    text_of,
    truthy,
)

_COUNTS = {
    "index": "{i} + 1",
    "index0": "{i}",
    "first": "{i} == 0",
    "last": "{i} == {n} - 1",
    "length": "{n}",
    "rindex": "{n} - {i}",
    "rindex0": "{n} - {i} - 1",
}
_RECORDED = "data"
_MEMO = 4096
# What a drop works out when it is asked: only where a template says so.
_COSTLY = frozenset({"content", "excerpt", "output", "next", "previous"})
# Deeper than this, Python itself would refuse the nesting.
MAX_DEPTH = 18


class UnknownFilter(Exception):
    """A filter that is not there.

    Args:
        name: Its name.
        token: Number of the piece of markup.
    """

    def __init__(self, name: str, token: int) -> None:
        super().__init__(name)
        self.name = name
        self.token = token


class Compiled:
    """A template's function, and which line of it belongs to which piece of markup."""

    __slots__ = ("function", "lines", "literals", "name")

    def __init__(self, function: Callable[..., None], lines: list[int], name: str, literals: list[str] | None) -> None:
        self.function = function
        self.lines = lines
        self.name = name
        self.literals = literals

    def token(self, line: int) -> int:
        """The piece of markup from which a line of the function was made."""
        return self.lines[line - 1] if 0 < line <= len(self.lines) else 0


def _helpers() -> dict[str, Any]:
    return {
        "S": text_of,
        "L": lookup,
        "I": items,
        "EQ": equal,
        "LT": less,
        "HAS": contains,
        "T": truthy,
        "R": make_range,
        "N": integer,
        "EMPTY": EMPTY,
        "BLANK": BLANK,
    }


class _Frame:
    """One loop that is being written: what changes inside it, and what moves out of it."""

    def __init__(self, changes: set[str], names: int, loops: int) -> None:
        self.changes = changes
        self.names = names
        self.loops = loops
        self.before: list[str] = []
        self.moved: dict[str, str] = {}


class _Writer:
    def __init__(self, reader: Reader, strict: bool) -> None:
        self.reader = reader
        self.strict = strict
        self.lines: list[str] = []
        self.tokens: list[int] = []
        self.depth = 1
        self.token = 0
        self.names: list[dict[str, str]] = [{}]
        self.loops: list[dict[str, Any]] = []
        self.frames: list[_Frame] = []
        self.pending: list[str] = []
        self.writer = "w"
        self.count = 0
        self.memos = 0
        self.texts: set[int] = set()
        self.holes: set[int] = set()

    def fresh(self, prefix: str) -> str:
        self.count += 1
        return f"{prefix}{self.count}"

    def line(self, text: str) -> None:
        self.lines.append("    " * self.depth + text)
        self.tokens.append(self.token)

    def put(self, piece: str) -> None:
        self.pending.append(piece)
        if len(self.pending) > 40:
            self.flush()

    def flush(self) -> None:
        if not self.pending:
            return
        if len(self.pending) == 1:
            self.line(f"{self.writer}({self.pending[0]})")
        else:
            inner = "".join("{" + piece + "}" for piece in self.pending)
            self.line(f'{self.writer}(f"{inner}")')
        self.pending = []

    # -- expressions

    def find(self, name: str) -> str | None:
        for scope in reversed(self.names):
            if name in scope:
                return scope[name]
        return None

    def expression(self, value: Expression) -> str:
        kind = value[0]
        if kind == "literal":
            return repr(value[1])
        if kind == "hole":
            self.holes.add(value[1])
            return f"p{value[1]}"
        if kind == "empty":
            return "EMPTY"
        if kind == "blank":
            return "BLANK"
        if kind == "range":
            return f"R({self.expression(value[1])}, {self.expression(value[2])})"
        if kind == "path":
            return self.path(value[1], value[2])
        if kind == "filter":
            return self.filter(value)
        raise AssertionError(kind)

    def path(self, name: str, keys: list[Expression]) -> str:
        if name == "forloop" and self.loops and len(keys) == 1 and keys[0][0] == "literal" and self.find(name) is None:
            loop = self.loops[-1]
            pattern = _COUNTS.get(keys[0][1])
            if pattern:
                return "(" + pattern.format(**loop) + ")"
        local = self.find(name)
        if local is None and name == "site" and keys and keys[0] == ("literal", _RECORDED):
            return f"c.data(({''.join(self.expression(key) + ', ' for key in keys[1:])}))"
        out = local if local is not None else f"g({name!r})"
        for key in keys:
            out = f"L({out}, {self.expression(key)})"
        return out

    def filter(self, value: Expression) -> str:
        _, inner, name, plain, named, token = value
        if name not in PLAIN and name not in SITED:
            if self.strict:
                raise UnknownFilter(name, token)
            return self.expression(inner)
        chain: list[tuple[str, list[Expression]]] = []
        base = value
        while (
            base[0] == "filter"
            and base[2] in PURE
            and not base[4]
            and all(argument[0] in {"literal", "hole"} for argument in base[3])
        ):
            chain.append((base[2], base[3]))
            base = base[1]
        if chain and base[0] == "path" and self.loops:
            # The same few texts come again and again in a loop: remember what the filters made of them.
            self.memos += 1
            memo = f"memo{self.memos}"
            one = "k"
            for filter_name, constants in reversed(chain):
                one = self.call(filter_name, one, [self.expression(constant) for constant in constants])
            return f"M({memo}, {self.expression(base)}, lambda k: {one})"
        arguments = [self.expression(argument) for argument in plain]
        arguments += [f"{key}={self.expression(argument)}" for key, argument in named.items() if key.isidentifier()]
        return self.call(name, self.expression(inner), arguments)

    @staticmethod
    def call(name: str, value: str, arguments: list[str]) -> str:
        first = "site, " if name in SITED else ""
        return f"F_{name}({first}{', '.join([value, *arguments])})"

    def condition(self, value: Expression) -> str:
        kind = value[0]
        if kind == "not":
            return f"not ({self.condition(value[1])})"
        if kind in {"and", "or"}:
            return f"({self.condition(value[1])} {kind} {self.condition(value[2])})"
        if kind == "truth":
            return f"T({self.expression(value[1])})"
        _, operator, left, right = value
        first, second = self.expression(left), self.expression(right)
        if operator == "==":
            return f"EQ({first}, {second})"
        if operator in {"!=", "<>"}:
            return f"not EQ({first}, {second})"
        if operator == "contains":
            return f"HAS({first}, {second})"
        swapped = operator[0] == ">"
        equal_too = ", or_equal=True" if operator.endswith("=") else ""
        return f"LT({second}, {first}{equal_too})" if swapped else f"LT({first}, {second}{equal_too})"

    # -- statements

    def body(self, nodes: list[Node], *, blank: bool = False) -> None:
        start = len(self.lines)
        for node in nodes:
            if blank and node.kind == "text":
                continue
            self.statement(node)
        self.flush()
        if len(self.lines) == start:
            self.line("pass")

    def shown(self, value: Expression) -> str:
        """The text of a value; worked out before the loops in which it does not change."""
        level = len(self.frames)
        if level and self.can_move(value):
            roots = {path[1] for path in _paths(value)}
            while level and not roots & self.frames[level - 1].changes:
                level -= 1
        if level < len(self.frames):
            frame = self.frames[level]
            saved, self.frames = self.frames, self.frames[:level]
            names, self.names = self.names, self.names[: frame.names]
            loops, self.loops = self.loops, self.loops[: frame.loops]
            text = self.text(value)
            self.frames, self.names, self.loops = saved, names, loops
            known = frame.moved.get(text)
            if known is None:
                known = frame.moved[text] = self.fresh("h")
                frame.before.append(f"{known} = {text}")
            return known
        return self.text(value)

    def text(self, value: Expression) -> str:
        written = self.expression(value)
        if written.startswith("M("):
            return written
        if written.isidentifier():
            return f"({written} if {written}.__class__ is str else S({written}))"
        return f"S({written})"

    @staticmethod
    def can_move(value: Expression) -> bool:
        """Whether asking earlier, or without need, makes no difference: paths, and filters that are safe on texts."""
        while value[0] == "filter":
            if value[2] not in PURE or value[4] or any(a[0] not in {"literal", "hole"} for a in value[3]):
                return False
            value = value[1]
        return (
            value[0] == "path"
            and value[1] not in {"forloop", "tablerowloop"}
            and all(key[0] in {"literal", "hole"} for key in value[2])
            and not any(key[0] == "literal" and key[1] in _COSTLY for key in value[2])
        )

    def is_blank(self, node: Node) -> bool:
        if node.kind == "text":
            text = self.reader.texts[node.parts["index"]]
            return not text.strip()
        if node.kind in {"assign", "capture", "ifchanged", "tablerow"}:
            return True
        if node.kind in {"if", "for", "case"}:
            return all(self.is_blank(inner) for body in node.bodies for inner in body)
        return False

    def statement(self, node: Node) -> None:
        if node.kind == "text":
            self.texts.add(node.parts["index"])
            self.put(f"t{node.parts['index']}")
            return
        if node.kind == "output":
            if self.token != node.token:
                self.flush()
            self.token = node.token
            self.put(self.shown(node.parts["value"]))
            return
        self.flush()
        self.token = node.token
        if len(self.loops) > MAX_DEPTH or self.depth > 90:
            from paper_site.jekyll.syntax import TemplateError

            raise TemplateError(f"blocks are nested too deep (at most {MAX_DEPTH} loops); use includes", node.token)
        getattr(self, f"_{node.kind}")(node)

    def _verbatim(self, node: Node) -> None:
        for kind, value in node.parts["parts"]:
            if kind == "text":
                self.texts.add(value)
                self.put(f"t{value}")
            else:
                self.put(repr(value))

    def _assign(self, node: Node) -> None:
        self.line(f"V[{node.parts['name']!r}] = {self.expression(node.parts['value'])}")

    def _capture(self, node: Node) -> None:
        outer, self.writer = self.writer, self.fresh("w")
        held = self.fresh("o")
        self.line(f"{held} = []; {self.writer} = {held}.append")
        self.body(node.bodies[0], blank=False)
        self.writer = outer
        name = node.parts["name"]
        target = repr(name) if isinstance(name, str) else self.expression(name)
        self.line(f"V[{target}] = ''.join({held})")

    def _highlight(self, node: Node) -> None:
        outer, self.writer = self.writer, self.fresh("w")
        held = self.fresh("o")
        self.line(f"{held} = []; {self.writer} = {held}.append")
        self.body(node.bodies[0], blank=False)
        self.writer = outer
        self.line(f"{self.writer}(c.highlight({node.parts['language']!r}, {node.parts['options']!r}, ''.join({held})))")

    def _if(self, node: Node) -> None:
        # White space alone is printed only where some branch holds more than that.
        blank = self.is_blank(node)
        for number, (test, body) in enumerate(zip(node.parts["tests"], node.bodies, strict=True)):
            if test is None:
                if number == 0:
                    self.body(body, blank=blank)
                    continue
                self.line("else:")
            else:
                self.line(f"{'el' if number else ''}if {self.condition(test)}:")
            self.depth += 1
            self.body(body, blank=blank)
            self.depth -= 1

    def _case(self, node: Node) -> None:
        blank = self.is_blank(node)
        subject, matched = self.fresh("case"), self.fresh("hit")
        self.line(f"{subject} = {self.expression(node.parts['value'])}; {matched} = False")
        for values, body in zip(node.parts["tests"], node.bodies, strict=True):
            if values is None:
                self.line(f"if not {matched}:")
            else:
                tests = " or ".join(f"EQ({subject}, {self.expression(value)})" for value in values)
                self.line(f"if {tests}:")
            self.depth += 1
            if values is not None:
                self.line(f"{matched} = True")
            self.body(body, blank=blank)
            self.depth -= 1

    def _for(self, node: Node) -> None:
        blank = self.is_blank(node)
        parts = node.parts
        collection, name = parts["in"], parts["name"]
        number = self.fresh("")
        variable, index, size, data = f"v{number}", f"i{number}", f"n{number}", f"d{number}"
        source = None
        if (
            collection[0] == "path"
            and collection[1] == "site"
            and self.find("site") is None
            and collection[2][:1] == [("literal", _RECORDED)]
            and _only_keys(name, node.bodies)
        ):
            keys = "".join(self.expression(key) + ", " for key in collection[2][1:])
            source = f"c.data_keys(({keys}))"
        self.line(f"{data} = I({source or self.expression(collection)})")
        if "continue" in parts:
            self.line(f"{data} = {data}[c.offsets.get({parts['key']!r}, 0):]")
            base = f"c.offsets.get({parts['key']!r}, 0)"
        elif "offset" in parts:
            self.line(f"{data} = {data}[N({self.expression(parts['offset'])}):]")
            base = f"N({self.expression(parts['offset'])})"
        else:
            base = "0"
        if "limit" in parts:
            self.line(f"{data} = {data}[:max(0, N({self.expression(parts['limit'])}))]")
        self.line(f"{size} = len({data})")
        if "limit" in parts or "continue" in parts:
            self.line(f"c.offsets[{parts['key']!r}] = {base} + {size}")
        if parts["reversed"]:
            self.line(f"{data} = {data}[::-1]")
        uses_object = _needs_object(node.bodies[0])
        counted = uses_object or _mentions(node.bodies[0], "forloop")
        if counted:
            self.line(f"for {index}, {variable} in enumerate({data}):")
        else:
            self.line(f"for {variable} in {data}:")
        frame = _Frame(_changes(node, name), len(self.names), len(self.loops))
        # The header is in; what moves out of the loop goes before it.
        header, tokens = self.lines.pop(), self.tokens.pop()
        outer_lines, outer_tokens = self.lines, self.tokens
        self.lines, self.tokens = [], []
        self.frames.append(frame)
        self.depth += 1
        scope = {name: variable}
        if uses_object:
            held = f"f{number}"
            parent = self.find("forloop") or "None"
            self.line(f"{held} = LOOP({index}, {size}, {parent}, {f'{name}-loop'!r})")
            scope["forloop"] = held
        self.names.append(scope)
        self.loops.append({"i": index, "n": size})
        self.body(node.bodies[0], blank=blank)
        self.loops.pop()
        self.names.pop()
        self.depth -= 1
        self.frames.pop()
        inner_lines, inner_tokens = self.lines, self.tokens
        self.lines, self.tokens = outer_lines, outer_tokens
        for line in frame.before:
            self.line(line)
        self.lines += [header, *inner_lines]
        self.tokens += [tokens, *inner_tokens]
        if len(node.bodies) > 1:
            self.line(f"if not {size}:")
            self.depth += 1
            self.body(node.bodies[1], blank=blank)
            self.depth -= 1

    def _tablerow(self, node: Node) -> None:
        parts = node.parts
        number = self.fresh("")
        variable, index, size, data, columns = (f"{letter}{number}" for letter in "vindc")
        self.line(f"{data} = I({self.expression(parts['in'])})")
        if "offset" in parts:
            self.line(f"{data} = {data}[N({self.expression(parts['offset'])}):]")
        if "limit" in parts:
            self.line(f"{data} = {data}[:max(0, N({self.expression(parts['limit'])}))]")
        self.line(f"{size} = len({data})")
        given = f"N({self.expression(parts['cols'])})" if "cols" in parts else size
        self.line(f"{columns} = {given} or 1")
        self.line(f"{self.writer}('<tr class=\"row1\">\\n')")
        self.line(f"for {index}, {variable} in enumerate({data}):")
        self.depth += 1
        held = f"f{number}"
        self.line(f"{held} = TROW({index}, {size}, {columns})")
        self.names.append({parts["name"]: variable, "tablerowloop": held})
        self.loops.append({"i": index, "n": size})
        self.line(f"{self.writer}(f'<td class=\"col{{{index} % {columns} + 1}}\">')")
        self.body(node.bodies[0], blank=False)
        self.line(f"{self.writer}('</td>')")
        self.line(f"if {index} % {columns} == {columns} - 1 and {index} != {size} - 1:")
        self.depth += 1
        self.line(f"{self.writer}(f'</tr>\\n<tr class=\"row{{{index} // {columns} + 2}}\">')")
        self.depth -= 2
        self.loops.pop()
        self.names.pop()
        self.line(f"{self.writer}('</tr>\\n')")

    def _ifchanged(self, node: Node) -> None:
        outer, self.writer = self.writer, self.fresh("w")
        held = self.fresh("o")
        self.line(f"{held} = []; {self.writer} = {held}.append")
        self.body(node.bodies[0], blank=False)
        self.writer = outer
        self.line(f"{self.writer}(c.if_changed(''.join({held})))")

    def _break(self, node: Node) -> None:
        self.line("break" if self.loops else "return")

    def _continue(self, node: Node) -> None:
        self.line("continue" if self.loops else "return")

    def _cycle(self, node: Node) -> None:
        values = [self.expression(value) for value in node.parts["values"]]
        group = node.parts["group"]
        key = f"S({self.expression(group)})" if group is not None else f"({', '.join(values)},)"
        self.line(f"{self.writer}(S(c.cycle({key}, ({', '.join(values)},))))")

    def _increment(self, node: Node) -> None:
        self.line(f"{self.writer}(c.count({node.parts['name']!r}, 1))")

    def _decrement(self, node: Node) -> None:
        self.line(f"{self.writer}(c.count({node.parts['name']!r}, -1))")

    def _file(self, node: Node) -> str:
        pieces = [repr(part) if isinstance(part, str) else f"S({self.expression(part)})" for part in node.parts["file"]]
        return " + ".join(pieces) or "''"

    def _include(self, node: Node) -> None:
        parameters = ", ".join(f"{k!r}: {self.expression(v)}" for k, v in node.parts["parameters"].items())
        scope: dict[str, str] = {}
        for names in self.names:
            scope.update(names)
        visible = ", ".join(f"{k!r}: {v}" for k, v in scope.items())
        kind = node.kind == "include_relative"
        self.line(f"{self.writer}(c.include({self._file(node)}, {{{parameters}}}, {{{visible}}}, {kind}))")

    _include_relative = _include
    _include_cached = _include

    def _link(self, node: Node) -> None:
        self.line(f"{self.writer}(c.link({self._file(node)}))")

    def _post_url(self, node: Node) -> None:
        self.line(f"{self.writer}(c.post_url({self._file(node)}))")

    def _seo(self, node: Node) -> None:
        self.line(f"{self.writer}(c.seo())")

    def _feed_meta(self, node: Node) -> None:
        self.line(f"{self.writer}(c.feed_meta())")


def _walk(nodes: list[Node]) -> Any:
    for node in nodes:
        yield node
        for body in node.bodies:
            yield from _walk(body)


def _changes(node: Node, name: str) -> set[str]:
    """The names that a loop gives values to; with an include, any name may be one."""
    changed = {name, "forloop"}
    for inner in _walk(node.bodies[0]):
        if inner.kind.startswith("include"):
            return _Everything()
        if inner.kind in {"assign", "capture", "increment", "decrement"}:
            target = inner.parts["name"]
            if not isinstance(target, str):
                return _Everything()
            changed.add(target)
        elif inner.kind in {"for", "tablerow"}:
            changed.add(inner.parts["name"])
    return changed


class _Everything(set[str]):
    """A set of all names."""

    def __rand__(self, other: object) -> set[str]:
        return {"everything"}

    __and__ = __rand__


def _paths(value: Any) -> Any:
    """All variables in an expression."""
    if isinstance(value, tuple):
        if value and value[0] == "path":
            yield value
        for part in value:
            yield from _paths(part)
    elif isinstance(value, list):
        for part in value:
            yield from _paths(part)
    elif isinstance(value, dict):
        for part in value.values():
            yield from _paths(part)


def _mentions(nodes: list[Node], name: str) -> bool:
    return any(path[1] == name for node in _walk(nodes) for path in _paths(node.parts))


def _needs_object(nodes: list[Node]) -> bool:
    """Whether a loop's ``forloop`` must be a thing of its own: for files that are included, and for parentloop."""
    for node in _walk(nodes):
        if node.kind.startswith("include"):
            return True
        for path in _paths(node.parts):
            if path[1] == "forloop" and not (
                len(path[2]) == 1 and path[2][0][0] == "literal" and path[2][0][1] in _COUNTS
            ):
                return True
    return False


def _only_keys(name: str, bodies: list[list[Node]]) -> bool:
    """Whether a loop over a map looks at nothing but the keys."""
    for body in bodies:
        for node in _walk(body):
            if node.kind.startswith("include"):
                return False
            if any(path[1] == name and path[2][:1] != [("literal", 0)] for path in _paths(node.parts)):
                return False
    return True


def _memo(store: dict[Any, str], key: Any, make: Callable[[Any], Any]) -> str:
    if type(key) is not str:
        return text_of(make(key))
    found = store.get(key)
    if found is None:
        if len(store) >= _MEMO:
            store.clear()
        found = store[key] = text_of(make(key))
    return found


class Loop(dict[str, Any]):
    """``forloop`` as an object."""

    printed = "Liquid::ForloopDrop"


def _loop(index: int, size: int, parent: Any, name: str) -> Loop:
    return Loop(
        index=index + 1,
        index0=index,
        first=index == 0,
        last=index == size - 1,
        length=size,
        rindex=size - index,
        rindex0=size - index - 1,
        parentloop=parent,
        name=name,
    )


def _row(index: int, size: int, columns: int) -> Loop:
    loop = _loop(index, size, None, "tablerow")
    column = index % columns
    loop.update(
        col=column + 1, col0=column, row=index // columns + 1, col_first=column == 0, col_last=column == columns - 1
    )
    return loop


def compile_template(pieces: Pieces, name: str, *, strict_filters: bool = True) -> Compiled:
    """Compile a template.

    Args:
        pieces: The template, cut up.
        name: What tracebacks call it.
        strict_filters: Whether an unknown filter is an error rather than left out.

    Raises:
        TemplateError: If it cannot be read.
        UnknownFilter: If a filter is not there.
        UnknownSyntax: If it holds what this compiler leaves to python-liquid.
    """
    reader = Reader(pieces)
    nodes = reader.read()
    writer = _Writer(reader, strict_filters)
    writer.body(nodes, blank=False)
    head = ["def render(c, t, p, w, site):", "    g = c.get; V = c.vars"]
    if writer.texts:
        head.append("    " + "; ".join(f"t{i} = t[{i}]" for i in sorted(writer.texts)))
    if writer.holes:
        head.append("    " + "; ".join(f"p{i} = p[{i}]" for i in sorted(writer.holes)))
    if writer.memos:
        head.append("    " + "; ".join(f"memo{i} = {{}}" for i in range(1, writer.memos + 1)))
    code = compile("\n".join(head + writer.lines), name, "exec")
    function = next(part for part in code.co_consts if isinstance(part, types.CodeType))
    return Compiled(bind(function), [0] * len(head) + writer.tokens, name, None if reader.lifted else reader.literals)


def bind(code: types.CodeType) -> Callable[..., None]:
    """A template's function from its code."""
    namespace = {**_helpers(), "M": _memo, "LOOP": _loop, "TROW": _row}
    for name, filter_ in (*PLAIN.items(), *SITED.items()):
        namespace[f"F_{name}"] = filter_
    return types.FunctionType(code, namespace)
