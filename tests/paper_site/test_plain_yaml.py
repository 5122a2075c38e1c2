from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import yaml

from paper_site import documents
from paper_site.errors import DataError
from paper_site.plain_yaml import parse_plain

DATA = Path(__file__).resolve().parent.parent / "data"


def _full(text: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What the full reader says; a text that it refuses gives the error."""
    with monkeypatch.context() as patch:
        patch.setattr(documents, "parse_plain", lambda _: None)
        try:
            return documents.parse_yaml(text, Path("x.yml"))
        except DataError as wrong:
            return wrong


def _scalar(rng: random.Random) -> Any:
    if rng.random() < 0.7:
        return rng.choice(["word", "two words", "a/b.ogg", 5, -3, 0.25, True, None, "é", "x" * rng.randrange(1, 90)])
    return rng.choice(
        [
            rng.randrange(-999, 10**9),
            rng.uniform(-1e3, 1e3),
            10.0 ** rng.randrange(-30, 30),
            rng.random() < 0.5,
            None,
            "".join(rng.choice("abcXYZ019 _-./()+,:#'\"\\é\u202e<&>!|?*@`%~\n\t") for _ in range(rng.randrange(12))),
            rng.choice(
                ["no", "null", "1e3", "12e4", "0x1f", "1_000", "2026-11-21", "12:30", "-", ".", "...", "---", ".5"]
            ),
            rng.choice(["=", "<<", "y", ".inf", "-.INF", ".nan", "+5", "007", "~", "word word", "a: b", "a #b", "è"]),
        ]
    )


def _document(rng: random.Random, depth: int) -> Any:
    kind = rng.random()
    if depth == 0 or kind < 0.3:
        return _scalar(rng)
    if kind < 0.5:
        return [_document(rng, depth - 1) for _ in range(rng.randrange(4))]
    return {
        str(_scalar(rng))[:9].strip() if rng.random() < 0.2 else f"k{i}": _document(rng, depth - 1)
        for i in range(rng.randrange(4))
    }


def _same(one: Any, other: Any) -> bool:
    return repr(one) == repr(other)


@pytest.mark.parametrize("seed", range(4))
def test_it_says_what_the_full_reader_says_or_nothing(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(seed)
    taken = 0
    for _ in range(600):
        document = {f"k{i}": _document(rng, 3) for i in range(rng.randrange(1, 5))}
        style = rng.choice([None, "'", '"'])
        text = yaml.safe_dump(
            document,
            sort_keys=False,
            allow_unicode=rng.random() < 0.7,
            default_style=style,
            width=rng.choice([40, 10**4]),
        )
        if rng.random() < 0.6:
            lines = text.split("\n")
            for _ in range(rng.randrange(1, 4)):
                place = rng.randrange(len(lines))
                line = lines[place]
                lines[place] = rng.choice(
                    [
                        f" {line}",
                        line[1:],
                        f"{line} ",
                        line + rng.choice("x:#'\"-]}"),
                        line * 2,
                        "",
                        f"- {line}",
                        line + "\t",
                    ]
                )
                if rng.random() < 0.3:
                    lines.insert(
                        place, rng.choice([line, "...", "---", "# x", "k: &a 1", "l: *a", "? x", "  - y", "  z"])
                    )
            text = "\n".join(lines)
        quick = parse_plain(text)
        if quick is not None:
            taken += 1
            assert _same(quick, _full(text, monkeypatch)), text
    assert taken > 20


def test_the_manifests_that_the_evaluation_writes_are_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    from eval.manifest import to_yaml

    document = yaml.safe_load((DATA / "companion" / "_data" / "tones.yml").read_text(encoding="utf-8"))
    document["a: b"] = {
        "empty": [],
        "none": {},
        "list": [1, "two", None, -1.5],
        "rows": [{"x": 1, "y": "no"}],
        "n": None,
    }
    quick = parse_plain(to_yaml(document))
    assert quick is not None
    assert _same(quick, document) and _same(quick, _full(to_yaml(document), monkeypatch))


@pytest.mark.parametrize(
    "text",
    [
        "a: 1\na: 2",
        "a: *x",
        "a: &x 1",
        "a: [1, 2]",
        "a:\tb",
        "a: b\n c",
        "- a",
        "a: |\n  b",
        "null: 1",
        "1: 2",
        "a: b: c",
        "a: 'b",
        '"a\\x41": 1',
        "a: x\u2028b",
        "\ufeffa: 1",
        "a: b\r\n",
        "a:\n" + "".join(" " * (2 * i + 2) + "b:\n" for i in range(40)),
    ],
)
def test_what_is_not_plain_is_left_to_the_full_reader(text: str) -> None:
    assert parse_plain(text) is None
