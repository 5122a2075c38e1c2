"""A quick reader for the plain YAML that manifests are written in; whatever else YAML can say is left to the full one.

A manifest of ten thousand samples has half a million lines. Nearly all of them say ``key: value``, and a reader that
knows nothing more is ten times as fast as one that knows all of YAML. It understands block mappings and lists, plain
words and numbers, and texts in quotes on one line; it takes a document whole or not at all.
"""

from __future__ import annotations

import json
import re
from sys import intern
from typing import Any

# Line breaks beyond the usual one, tabs, and characters that YAML refuses.
_STRANGE = re.compile("[^\n\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
_PLAIN = r"[A-Za-z0-9_./(][A-Za-z0-9_./ +()-]*|-[0-9.][0-9.eE+-]*|[^\x00-\x7f][^\x00-\x7f ]*"
_LINE = re.compile(
    rf"""([ ]*)(-[ ])?                                        # indentation, entry of a list
    (?:([A-Za-z_][A-Za-z0-9_./()-]*|"(?:[^"\\]|\\["\\bfnrt])*"):(?:[ ]|$))?   # key
    ({_PLAIN}|"(?:[^"\\]|\\["\\bfnrt])*"|'(?:[^']|'')*'|\[\]|\{{\}})?$        # value on the same line
    """,
    re.VERBOSE,
)
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]*)$")
_FLOAT = re.compile(
    r"(?:[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
)
_WORDS = {
    **dict.fromkeys(("null", "Null", "NULL", "~"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_NO_KEYS = frozenset(_WORDS)


class _OtherYaml(Exception):
    pass


def _value(text: str) -> Any:
    first = text[0]
    if first == '"':
        return json.loads(text) if "\\" in text else text[1:-1]
    if first == "'":
        return text[1:-1].replace("''", "'")
    if first in "[{":
        return [] if first == "[" else {}
    if text in _WORDS:
        return _WORDS[text]
    if first in "-.0123456789":
        if _INT.match(text):
            return int(text)
        if _FLOAT.match(text):
            lowered = text.lower()
            return float(lowered.replace(".inf", "inf").replace(".nan", "nan"))
        if first == "-" or text[-1] == " ":
            raise _OtherYaml
    if text[-1] == " ":
        raise _OtherYaml
    return text


def parse_plain(text: str, known: dict[str, Any] | None = None) -> dict[str, Any] | None:
    """Read a mapping.

    Args:
        text: The document.
        known: Values read so far, by how they were written, so that documents of one kind share them.

    Returns:
        What the full reader would give, or None where the document says more than plain lines can: then the full
        reader has to be asked, also for what is wrong with it.
    """
    if _STRANGE.search(text) or text.startswith(("---", "...", "%")):
        return None
    try:
        return _parse(text, {} if known is None else known)
    except (_OtherYaml, ValueError, RecursionError):
        return None


def _parse(text: str, known: dict[str, Any]) -> dict[str, Any] | None:
    root: dict[str, Any] = {}
    # Open containers: indentation of their entries, the container, and the key that waits for its value.
    stack: list[tuple[int, Any]] = [(0, root)]
    waiting: tuple[Any, Any] | None = None  # container and key (or index) whose value may stand on the next lines
    waiting_indent = 0
    depth = 0
    here: Any = root
    match, lookup = _LINE.match, known.get
    for line in text.split("\n"):
        found = match(line)
        if found is None:
            raise _OtherYaml
        blanks, dash, key, raw = found.groups()
        if key is None and raw is None and dash is None:
            if line.strip():
                raise _OtherYaml
            continue
        indent = len(blanks)
        if indent > 60:
            raise _OtherYaml
        if waiting is not None:
            # A list may stand at the indentation of its key.
            if indent > waiting_indent or (dash and indent == waiting_indent and type(waiting[0]) is dict):
                here = [] if dash else {}
                waiting[0][waiting[1]] = here
                depth = indent
                stack.append((depth, here))
            waiting = None
        if indent != depth or (type(here) is list) != bool(dash):
            while len(stack) > 1 and (
                stack[-1][0] > indent or (stack[-1][0] == indent and not dash and type(stack[-1][1]) is list)
            ):
                stack.pop()
            depth, here = stack[-1]
            if indent != depth or (type(here) is list) != bool(dash):
                raise _OtherYaml
        if dash:
            if key is not None:
                inner: dict[str, Any] = {}
                here.append(inner)
                depth, here = indent + 2, inner
                stack.append((depth, here))
            elif raw is None:
                raise _OtherYaml
            else:
                here.append(_value(raw))
                continue
        if key is None:
            raise _OtherYaml
        if key[0] == '"':
            key = json.loads(key)
            if len(key) > 500:
                raise _OtherYaml
        elif key in _NO_KEYS:
            raise _OtherYaml
        # The same few keys stand in every row.
        key = intern(key)
        if key in here:
            raise _OtherYaml
        if raw is None:
            here[key] = None
            waiting, waiting_indent = (here, key), depth
        else:
            value = lookup(raw, known)
            if value is known:
                value = _value(raw)
                if type(value) is not list and type(value) is not dict:
                    known[raw] = value
                    if len(known) > 20000:
                        known.clear()
            here[key] = value
    return root or None
