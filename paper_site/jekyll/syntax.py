"""From the text of a Liquid template to a tree.

A text is cut into pieces of plain text and markup. What a string literal in the markup says, and the plain text, do not
change how a template is read; so they are lifted out, and templates that differ in nothing else share one shape, which
is read and compiled once.
"""

from __future__ import annotations

import re
from typing import Any

_PIECES = re.compile(r"(\{(?:%[^%]*+(?:%(?!\})[^%]*+)*+%\}|\{[^}]*+\}\}?))")
_VERBATIM = re.compile(r"\{%-?\s*(?:raw|comment|doc|#)")
_LITERAL = re.compile(r"\"[^\"]*\"|'[^']*'")
HOLE = "\x01"

_TAG = re.compile(r"\{%-?\s*(#|\w+)?\s*(.*?)\s*-?%\}", re.S)
_TOKEN = re.compile(
    r"\s*(?:(?P<float>-?\d+\.\d+(?!\.))|(?P<int>-?\d+(?![\w-]))|(?P<hole>\x01)|(?P<name>[A-Za-z_][\w-]*\??|\d[\w-]*)"
    r"|(?P<range>\.\.)|(?P<op>==|!=|<>|<=|>=|<|>)|(?P<punct>[.,:|\[\]()]))"
)
_WORDS = {"nil": None, "null": None, "true": True, "false": False}

Expression = tuple[Any, ...]


class TemplateError(Exception):
    """A template that cannot be read.

    Args:
        message: What is wrong and what would be right.
        token: Number of the piece of markup, from 0.
    """

    def __init__(self, message: str, token: int) -> None:
        super().__init__(message)
        self.token = token


class UnknownSyntax(Exception):
    """Something that the compiler leaves to python-liquid."""


class Pieces:
    """A template cut up.

    Attributes:
        texts: Plain texts; one more than there is markup.
        shape: The markup with a hole for every literal, and whether each text is empty, blank or neither.
        literals: The literals in order.
        source: The whole template.
    """

    __slots__ = ("literals", "shape", "source", "texts")

    def __init__(self, texts: list[str], shape: tuple[str, ...], literals: list[str], source: str) -> None:
        self.texts = texts
        self.shape = shape
        self.literals = literals
        self.source = source

    def line(self, token: int) -> int:
        """The line, from 1, on which a piece of markup begins."""
        parts = _PIECES.split(self.source)
        return "".join(parts[: 2 * token + 1]).count("\n") + 1


def cut(source: str) -> Pieces:
    """Cut a template up."""
    parts = _PIECES.split(source)
    texts, markup = parts[::2], parts[1::2]
    if not markup:
        return Pieces(texts, (), [], source)
    literals: list[str] = []
    joined = "\x02".join(markup)
    if HOLE in joined or "\x02" in source:
        raise UnknownSyntax("control characters")
    if "{%-" in joined or "{{-" in joined:
        for number, piece in enumerate(markup):
            if piece[2] == "-":
                texts[number] = texts[number].rstrip()
    if "-%}" in joined or "-}}" in joined:
        for number, piece in enumerate(markup):
            if piece[-3] == "-" and len(piece) > 4:
                texts[number + 1] = texts[number + 1].lstrip()
    if _VERBATIM.search(joined):
        # What stands in a raw block is text, whatever it looks like: such a template has a shape of its own.
        return Pieces(texts, ("raw", source), [], source)
    if '"' in joined or "'" in joined:
        literals = [literal[1:-1] for literal in _LITERAL.findall(joined)]
        joined = _LITERAL.sub(HOLE, joined)
    blank = "".join(["e" if not t else "b" if t.isspace() else "t" for t in texts])
    return Pieces(texts, (joined, blank), literals, source)


class Node:
    """One statement of a template.

    Attributes:
        kind: ``text``, ``output`` or the name of a tag.
        token: Number of its piece of markup.
        parts: What the kind needs.
        bodies: The statements inside.
    """

    __slots__ = ("bodies", "kind", "parts", "token")

    def __init__(
        self, kind: str, token: int, parts: dict[str, Any] | None = None, bodies: list[list[Node]] | None = None
    ) -> None:
        self.kind = kind
        self.token = token
        self.parts = {} if parts is None else parts
        self.bodies = [] if bodies is None else bodies


class Tokens:
    """The tokens of one piece of markup."""

    def __init__(self, text: str, token: int, holes: list[int]) -> None:
        self.text = text
        self.position = 0
        self.token = token
        self._holes = holes

    def peek(self) -> re.Match[str] | None:
        """The next token."""
        return _TOKEN.match(self.text, self.position)

    def next(self) -> re.Match[str]:
        """Take the next token."""
        found = self.peek()
        if found is None:
            raise UnknownSyntax(self.text)
        self.position = found.end()
        return found

    def take(self, text: str) -> bool:
        """Take a token if it is this one."""
        found = self.peek()
        if found is None or found[0].strip() != text:
            return False
        self.position = found.end()
        return True

    def word(self) -> str:
        """Take a name."""
        found = self.next()
        if found["name"] is None:
            raise UnknownSyntax(self.text)
        return found["name"]

    def done(self) -> bool:
        """Whether nothing is left."""
        return not self.text[self.position :].strip(" \t\r\n,")

    # -- expressions

    def value(self) -> Expression:
        """A literal, a range, or a variable with its path."""
        found = self.next()
        if found["hole"] is not None:
            return ("hole", self._holes.pop(0))
        if found["int"] is not None:
            return ("literal", int(found["int"]))
        if found["float"] is not None:
            return ("literal", float(found["float"]))
        if found["punct"] == "(":
            start = self.value()
            if self.next()["range"] is None:
                raise UnknownSyntax(self.text)
            stop = self.value()
            if not self.take(")"):
                raise UnknownSyntax(self.text)
            return ("range", start, stop)
        if found["punct"] == "[":
            raise UnknownSyntax(self.text)
        if found["name"] is None:
            raise UnknownSyntax(self.text)
        name = found["name"]
        keys: list[Expression] = []
        while self.position < len(self.text):
            char = self.text[self.position]
            if char == "." and not self.text.startswith("..", self.position):
                self.position += 1
                step = re.compile(r"[\w-]+\??").match(self.text, self.position)
                if not step:
                    raise UnknownSyntax(self.text)
                self.position = step.end()
                keys.append(("literal", step[0]))
            elif char == "[":
                self.position += 1
                keys.append(self.value())
                if not self.take("]"):
                    raise UnknownSyntax(self.text)
            else:
                break
        if not keys:
            if name in _WORDS:
                return ("literal", _WORDS[name])
            if name in {"empty", "blank"}:
                return (name,)
        return ("path", name, keys)

    def filtered(self, first: Expression | None = None) -> Expression:
        """A value and the filters after it; what stands between the value and the first filter is ignored."""
        out = first if first is not None else self.value()
        rest = self.peek()
        if rest is not None and rest["punct"] != "|":
            bar = self.text.find("|", self.position)
            skipped = self.text[self.position : bar if bar >= 0 else len(self.text)]
            for _ in range(skipped.count(HOLE)):
                self._holes.pop(0)
            self.position = bar if bar >= 0 else len(self.text)
        elif rest is None and self.text[self.position :].strip():
            raise UnknownSyntax(self.text)
        while self.take("|"):
            name = self.word()
            plain: list[Expression] = []
            named: dict[str, Expression] = {}
            if self.take(":"):
                while True:
                    before = self.position
                    found = self.peek()
                    if found is None or found["punct"] in {"|", ")", "]"}:
                        break
                    if found["name"] is not None:
                        self.next()
                        if self.take(":"):
                            named[found["name"]] = self.value()
                            self.take(",")
                            continue
                        self.position = before
                    plain.append(self.value())
                    if not self.take(","):
                        break
            out = ("filter", out, name, plain, named, self.token)
            extra = self.peek()
            if extra is not None and extra["punct"] != "|":
                raise UnknownSyntax(self.text)
        if self.text[self.position :].strip():
            raise UnknownSyntax(self.text)
        return out

    def condition(self) -> Expression:
        """Comparisons joined with ``and`` and ``or``, which bind from the right."""
        left = self._comparison()
        found = self.peek()
        if found is not None and found["name"] in {"and", "or"}:
            self.next()
            return (found["name"], left, self.condition())
        if not self.done():
            raise UnknownSyntax(self.text)
        return left

    def _comparison(self) -> Expression:
        left = self.value()
        found = self.peek()
        if found is not None and (found["op"] is not None or found["name"] == "contains"):
            self.next()
            return ("compare", found["op"] or "contains", left, self.value())
        return ("truth", left)


_BLOCKS = frozenset(["if", "unless", "for", "case", "capture", "highlight", "tablerow", "ifchanged"])
_MIDDLE = {"else", "elsif", "when"}
_SIMPLE = frozenset(
    [
        "assign",
        "echo",
        "break",
        "continue",
        "cycle",
        "increment",
        "decrement",
        "include",
        "include_cached",
        "include_relative",
        "link",
        "post_url",
        "seo",
        "feed_meta",
    ]
)
_LEFT = frozenset(["doc", "render"])
_INCLUDE = re.compile(r"(?P<name>(?:\{\{.*?\}\}|[^\s'\"\x01])+)(?P<rest>.*)\Z", re.S)
_PARAMETER = re.compile(r"\s*([\w-]+)\s*=\s*(?:(\x01)|([\w.\-\[\]\x01]+))")


class Reader:
    """Reads a cut template into statements.

    Args:
        pieces: The template.
    """

    def __init__(self, pieces: Pieces) -> None:
        self.literals = list(pieces.literals)
        self.texts = pieces.texts
        if pieces.shape and pieces.shape[0] == "raw":
            # The literals were not lifted: they are taken out here, piece by piece.
            self.markup = _PIECES.split(pieces.source)[1::2]
            self.lifted = False
        else:
            self.markup = pieces.shape[0].split("\x02") if pieces.shape else []
            self.lifted = True
        self._hole = 0
        self._at = 0

    def read(self) -> list[Node]:
        """All statements."""
        nodes, end, token = self._until(frozenset(), None)
        if end is not None:
            raise TemplateError(f"{{% {end} %}} has nothing that it ends", token)
        return nodes

    def tokens(self, text: str, token: int) -> Tokens:
        """The tokens of some markup, with the numbers of its literals."""
        if not self.lifted:

            def lift(found: re.Match[str]) -> str:
                self.literals.append(found[0][1:-1])
                return HOLE

            text = _LITERAL.sub(lift, text)
        count = text.count(HOLE)
        holes = list(range(self._hole, self._hole + count))
        self._hole += count
        return Tokens(text, token, holes)

    def _until(self, ends: frozenset[str], opened: int | None) -> tuple[list[Node], str | None, int]:
        nodes: list[Node] = []
        while True:
            if self.texts[self._at]:
                nodes.append(Node("text", self._at, {"index": self._at}))
            if self._at >= len(self.markup):
                if opened is not None:
                    start = _TAG.match(self.markup[opened])
                    kind = start[1] if start else ""
                    raise TemplateError(f"{{% {kind} %}} is never closed; add {{% end{kind} %}}", opened)
                return nodes, None, self._at
            token = self._at
            markup = self.markup[token]
            self._at += 1
            if markup.startswith("{{"):
                inside = markup[2:-2] if markup.endswith("}}") else markup[2:-1]
                inside = inside.removeprefix("-").removesuffix("-").strip()
                if inside:
                    tokens = self.tokens(inside, token)
                    nodes.append(Node("output", token, {"value": tokens.filtered()}))
                continue
            found = _TAG.match(markup)
            name = found[1] if found else None
            if name is None:
                raise TemplateError(f"{markup!r} is no tag", token)
            assert found is not None
            rest = found[2]
            if name in ends or name.startswith("end"):
                if name not in ends:
                    if not ends:
                        raise TemplateError(f"{{% {name} %}} has nothing that it ends", token)
                    wanted = ", ".join(sorted(e for e in ends if e.startswith("end")))
                    raise TemplateError(f"{{% {name} %}} stands where {{% {wanted} %}} is due", token)
                self._rest = rest
                return nodes, name, token
            nodes += self._tag(name, rest, token)

    def _tag(self, name: str, rest: str, token: int) -> list[Node]:
        if name == "#":
            return []
        if name in {"raw", "comment"}:
            return self._verbatim(name, token)
        if name == "liquid":
            raise UnknownSyntax("liquid")
        if name in _BLOCKS:
            return [getattr(self, f"_{name}")(rest, token)]
        if name in _SIMPLE:
            return [getattr(self, f"_{name}", self._bare)(rest, token, name)]
        if name in _LEFT:
            raise UnknownSyntax(name)
        if name in _MIDDLE:
            raise TemplateError(f"{{% {name} %}} stands outside of a block", token)
        from difflib import get_close_matches

        known = [*_BLOCKS, *_SIMPLE, "raw", "comment"]
        near = get_close_matches(name, known, 1)
        hint = f"did you mean {near[0]!r}?" if near else "tags of Jekyll plugins other than seo are not there"
        raise TemplateError(f"there is no tag {name!r}; {hint}", token)

    def _verbatim(self, name: str, token: int) -> list[Node]:
        depth = 0
        out = self.texts[self._at]
        nodes: list[Node] = []
        indexes: list[Any] = [("text", self._at)]
        while self._at < len(self.markup):
            markup = self.markup[self._at]
            found = _TAG.match(markup) if markup.startswith("{%") else None
            self._at += 1
            if found and found[1] == name and name == "comment":
                depth += 1
            elif found and found[1] == f"end{name}":
                if not depth:
                    if name == "raw":
                        nodes.append(Node("verbatim", token, {"parts": indexes}))
                    return nodes
                depth -= 1
            indexes += [("markup", markup), ("text", self._at)]
            out += markup
        raise TemplateError(f"{{% {name} %}} is never closed; add {{% end{name} %}}", token)

    # -- blocks

    def _if(self, rest: str, token: int, negated: bool = False) -> Node:
        name = "unless" if negated else "if"
        condition: Expression = self.tokens(rest, token).condition()
        if negated:
            condition = ("not", condition)
        tests: list[Expression | None] = [condition]
        node = Node("if", token)
        ends = frozenset({"elsif", "else", f"end{name}"})
        while True:
            body, end, at = self._until(ends, token)
            if len(node.bodies) < len(tests):
                node.bodies.append(body)
            if end == "elsif":
                tests.append(self.tokens(self._rest, at).condition())
            elif end == "else":
                tests.append(None)
            else:
                break
        node.parts["tests"] = tests
        return node

    def _unless(self, rest: str, token: int) -> Node:
        return self._if(rest, token, negated=True)

    def _case(self, rest: str, token: int) -> Node:
        node = Node("case", token, {"value": self.tokens(rest, token).filtered(), "tests": []})
        ends = frozenset({"when", "else", "endcase"})
        _, end, at = self._until(ends, token)
        while end != "endcase":
            if end == "when":
                tokens = self.tokens(self._rest, at)
                values = [tokens.value()]
                while tokens.take(",") or tokens.take("or"):
                    values.append(tokens.value())
                if not tokens.done():
                    raise UnknownSyntax(self._rest)
                node.parts["tests"].append(values)
            else:
                node.parts["tests"].append(None)
            body, end, at = self._until(ends, token)
            node.bodies.append(body)
        return node

    def _for(self, rest: str, token: int) -> Node:
        tokens = self.tokens(rest, token)
        name = tokens.word()
        if not tokens.take("in"):
            raise TemplateError("a loop reads {% for item in list %}", token)
        collection = tokens.value()
        parts: dict[str, Any] = {"name": name, "in": collection, "key": f"{name}-{collection!r}", "reversed": False}
        while not tokens.done():
            tokens.take(",")
            word = tokens.word()
            if word == "reversed":
                parts["reversed"] = True
            elif word in {"limit", "offset"} and tokens.take(":"):
                if word == "offset" and tokens.take("continue"):
                    parts["continue"] = True
                else:
                    parts[word] = tokens.value()
            else:
                raise UnknownSyntax(rest)
        node = Node("for", token, parts)
        body, end, _ = self._until(frozenset({"else", "endfor"}), token)
        node.bodies.append(body)
        if end == "else":
            body, end, _ = self._until(frozenset({"endfor"}), token)
            node.bodies.append(body)
        return node

    def _tablerow(self, rest: str, token: int) -> Node:
        tokens = self.tokens(rest, token)
        parts: dict[str, Any] = {"name": tokens.word()}
        if not tokens.take("in"):
            raise TemplateError("a table row reads {% tablerow item in list cols:2 %}", token)
        parts["in"] = tokens.value()
        while not tokens.done():
            tokens.take(",")
            word = tokens.word()
            if word not in {"cols", "limit", "offset"} or not tokens.take(":"):
                raise UnknownSyntax(rest)
            parts[word] = tokens.value()
        body, _, _ = self._until(frozenset({"endtablerow"}), token)
        return Node("tablerow", token, parts, [body])

    def _ifchanged(self, rest: str, token: int) -> Node:
        body, _, _ = self._until(frozenset({"endifchanged"}), token)
        return Node("ifchanged", token, {}, [body])

    def _capture(self, rest: str, token: int) -> Node:
        tokens = self.tokens(rest, token)
        found = tokens.next()
        if found["name"] is None and found["hole"] is None:
            raise UnknownSyntax(rest)
        name: Any = found["name"] if found["name"] is not None else ("hole", tokens._holes.pop(0))
        body, _, _ = self._until(frozenset({"endcapture"}), token)
        return Node("capture", token, {"name": name}, [body])

    def _highlight(self, rest: str, token: int) -> Node:
        found = re.match(r"\s*([\w.+#-]+)((?:\s+\w+(?:=(?:\w+|\"[^\"]*\"|\x01))?)*)\s*\Z", rest)
        if not found:
            raise TemplateError("a highlight block reads {% highlight language [linenos] %}", token)
        self.tokens(rest, token)
        body, _, _ = self._until(frozenset({"endhighlight"}), token)
        return Node("highlight", token, {"language": found[1], "options": found[2].split()}, [body])

    # -- single tags

    def _bare(self, rest: str, token: int, name: str) -> Node:
        self.tokens(rest, token)
        return Node(name, token)

    def _assign(self, rest: str, token: int, name: str) -> Node:
        target, equals, value = rest.partition("=")
        if not equals or not re.fullmatch(r"\s*[\w-]+\s*", target):
            raise TemplateError("an assignment reads {% assign name = value %}", token)
        return Node("assign", token, {"name": target.strip(), "value": self.tokens(value, token).filtered()})

    def _echo(self, rest: str, token: int, name: str) -> Node:
        return Node("output", token, {"value": self.tokens(rest, token).filtered()})

    def _cycle(self, rest: str, token: int, name: str) -> Node:
        tokens = self.tokens(rest, token)
        first = tokens.value()
        group = None
        values = [first]
        if tokens.take(":"):
            group, values = first, [tokens.value()]
        while tokens.take(","):
            values.append(tokens.value())
        if not tokens.done():
            raise UnknownSyntax(rest)
        return Node("cycle", token, {"group": group, "values": values})

    def _increment(self, rest: str, token: int, name: str) -> Node:
        return Node(name, token, {"name": self.tokens(rest, token).word()})

    _decrement = _increment

    def _include(self, rest: str, token: int, name: str) -> Node:
        if rest.startswith((HOLE, '"', "'")):
            raise TemplateError(f"the file name of {{% {name} %}} stands without quotation marks", token)
        found = _INCLUDE.match(rest)
        if not found:
            raise TemplateError(f"{{% {name} %}} needs the name of a file", token)
        file: list[Any] = []
        for part in re.split(r"(\{\{.*?\}\})", found["name"], flags=re.S):
            if part.startswith("{{"):
                file.append(self.tokens(part[2:-2].strip(), token).filtered())
            elif part:
                file.append(part)
        parameters: dict[str, Expression] = {}
        text = found["rest"]
        if not self.lifted:

            def lift(match: re.Match[str]) -> str:
                self.literals.append(match[0][1:-1])
                return HOLE

            text = re.sub(r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'", lift, text)
        position = 0
        while text[position:].strip():
            one = _PARAMETER.match(text, position)
            if not one:
                raise TemplateError(
                    f'{text[position:].strip()!r} is no parameter; write name="text" or name=variable', token
                )
            lifted = one[2] or one[3]
            inner = Tokens(lifted, token, list(range(self._hole, self._hole + lifted.count(HOLE))))
            self._hole += lifted.count(HOLE)
            parameters[one[1]] = inner.filtered()
            position = one.end()
        return Node(name, token, {"file": file, "parameters": parameters})

    _include_relative = _include
    _include_cached = _include

    def _link(self, rest: str, token: int, name: str) -> Node:
        file: list[Any] = []
        for part in re.split(r"(\{\{.*?\}\})", rest.strip(), flags=re.S):
            if part.startswith("{{"):
                file.append(self.tokens(part[2:-2].strip(), token).filtered())
            elif part:
                self.tokens(part, token)
                file.append(part)
        return Node(name, token, {"file": file})

    _post_url = _link
