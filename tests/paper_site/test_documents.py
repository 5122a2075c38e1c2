from __future__ import annotations

from pathlib import Path

import pytest

from paper_site.documents import line_of, parse_json, parse_yaml, read_document, split_front_matter
from paper_site.errors import ContentError, DataError

PATH = Path("x.yml")


def test_scalars_are_read_as_yaml_1_2() -> None:
    text = "a: no\nb: 2026-11-21\nc: 12:30\nd: 1.0e3\ne: true\nf: ~\ng: 007\nh: 1_000\ni: -3\nj: 12e4"
    assert parse_yaml(text, PATH) == {
        "a": "no", "b": "2026-11-21", "c": "12:30", "d": 1000.0, "e": True, "f": None, "g": "007", "h": "1_000",
        "i": -3, "j": "12e4",
    }  # fmt: skip


def test_map_order_is_file_order() -> None:
    assert list(parse_yaml("z: 1\na: 2\nm: 3", PATH)) == ["z", "a", "m"]


@pytest.mark.parametrize(
    ("text", "line", "word"),
    [
        ("a: 1\nb: [1, c\nd: 2\n", 3, "broken YAML"),
        ("a: 1\nb: 2\na: 3\n", 3, "'a' stands twice"),
        ("a: &x [1]\nb: *x\n", 2, "alias *x"),
        ("a: 1\n\tb: 2\n", 2, "broken YAML"),
        ("a: !!python/object/apply:os.system [ls]\n", 1, "broken YAML"),
    ],
)
def test_broken_yaml_names_file_and_line(text: str, line: int, word: str) -> None:
    with pytest.raises(DataError, match=r"x\.yml:") as caught:
        parse_yaml(text, PATH)
    assert caught.value.line == line
    assert word in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 200_000,
        "[" * 2000 + "]" * 2000,
        "{a: " * 2000 + "1" + "}" * 2000,
        "- " * 5000 + "x",
        "? " * 5000 + "x",
        "".join(" " * i + "a:\n" for i in range(2000)) + " " * 2000 + "1",
    ],
)
def test_deep_nesting_is_an_error_and_not_a_crash(text: str) -> None:
    with pytest.raises(DataError):
        parse_yaml(text, PATH)


def test_a_bomb_of_aliases_is_refused() -> None:
    rows = ["a0: &a0 [x, x, x]", *(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}, *a{i - 1}]" for i in range(1, 40))]
    with pytest.raises(DataError, match="alias"):
        parse_yaml("\n".join(rows), PATH)


@pytest.mark.parametrize(
    ("text", "line"), [('{"a": 1,\n "b": }', 2), ('{"a": NaN}', None), ('{"a": 1,\n"a": 2}', 2), ("[" * 100_000, None)]
)
def test_broken_json(text: str, line: int | None) -> None:
    with pytest.raises(DataError) as caught:
        parse_json(text, Path("x.json"))
    assert caught.value.line == line


def test_not_utf8_and_missing_files(tmp_path: Path) -> None:
    path = tmp_path / "a.yml"
    path.write_bytes(b"a: 1\nb: \xff\n")
    with pytest.raises(DataError, match="UTF-8") as caught:
        read_document(path)
    assert caught.value.line == 2
    with pytest.raises(DataError, match="no such file"):
        read_document(tmp_path / "none.yml")


def test_tables_become_rows(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,y\n1,two\n", encoding="utf-8")
    assert read_document(tmp_path / "a.csv") == [{"x": "1", "y": "two"}]


def test_line_of_finds_values_keys_and_parents() -> None:
    text = "a: 1\nlist:\n  - x: 1\n  - x: 2\n    y:\n      - 5\n"
    assert line_of(text, ["list", 1, "x"]) == 4
    assert line_of(text, ["list", 1, "y", 0]) == 6
    assert line_of(text, ["list", 1, "missing"]) == 4
    assert line_of(text, ["list"], key=True) == 2
    assert line_of('{"a":\n {"b": 1}}', ["a", "b"]) == 2


def test_front_matter_by_jekylls_rule() -> None:
    page = Path("a.md")
    assert split_front_matter("---\ntitle: A\n---\nbody\n", page) == ({"title": "A"}, "body\n", 4)
    assert split_front_matter("---\r\n---\r\nbody", page) == ({}, "body", 3)
    assert split_front_matter("--- \nx: 1\n...\nbody", page) == ({"x": 1}, "body", 4)
    assert split_front_matter(" ---\ntitle: A\n---\n", page) is None
    assert split_front_matter("text", page) is None
    with pytest.raises(ContentError, match="does not end"):
        split_front_matter("---\ntitle: A\n", page)
    with pytest.raises(ContentError, match=r"a\.md:4: broken YAML"):
        split_front_matter("---\na: 1\nb: [\n---\n", page)
    with pytest.raises(ContentError, match="mapping"):
        split_front_matter("---\n- a\n---\n", page)
