"""The compiler prints what python-liquid prints, and plain HTML goes through as the slow way would write it."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from paper_site.jekyll import fallback
from paper_site.jekyll.documents import load_yaml, plain_front_matter
from paper_site.jekyll.engine import Context
from paper_site.jekyll.kramdown.plain import is_plain
from paper_site.jekyll.kramdown.render import Document
from paper_site.jekyll.site import Site
from tests.paper_site.jekyll.dom import dom

DATA: dict[str, Any] = {
    "a": [3, 1, 2],
    "m": {"x": {"v": 1, "n": "one"}, "y": {"v": 2}},
    "s": "Hello World",
    "n": None,
    "f": 2.5,
    "t": True,
    "rows": [{"g": "x", "v": 1}, {"g": "y", "v": 2}],
}
VALUES = ["a", "s", "m.x.v", "m['y'].v", "n", "f", "t", "rows[0].g", "'lit'", "3", "i", "p[0]", "row.v", "a.size", "k"]
FILTERS = [
    "upcase",
    "capitalize",
    "append: '!'",
    "plus: 1",
    "times: 2",
    "size",
    "default: 'none'",
    "join: '-'",
    "truncate: 5, '.'",
    "replace: 'l', 'L'",
    "jsonify",
    "first",
    "split: 'o'",
    "reverse",
]
CONDITIONS = ["s == 'Hello World'", "a contains 2", "m.x.v < 2 and t", "n or f > 2", "i == 2", "n == nil", "s != k"]


def output(rng: random.Random) -> str:
    return "{{ " + " | ".join([rng.choice(VALUES), *rng.sample(FILTERS, rng.randrange(3))]) + " }}"


def template(rng: random.Random, depth: int = 0) -> str:
    parts = []
    for _ in range(rng.randrange(1, 5)):
        kind = rng.randrange(10 if depth < 3 else 4)
        if kind <= 2:
            parts.append(output(rng))
        elif kind == 3:
            parts.append(rng.choice(["text ", "\n", " <b>x</b> ", "{% assign k = s %}", "{% assign k = 'new' %}"]))
        elif kind == 4:
            parts.append(f"{{% if {rng.choice(CONDITIONS)} %}}{template(rng, depth + 1)}{{% else %}}no{{% endif %}}")
        elif kind == 5:
            parts.append(f"{{% unless {rng.choice(CONDITIONS)} %}}{template(rng, depth + 1)}{{% endunless %}}")
        elif kind == 6:
            head = rng.choice(["i in a", "p in m", "row in rows", "i in (1..3)", "i in a reversed", "i in a limit: 2"])
            inner = rng.choice(["", "{{ forloop.index }}", "{% if forloop.last %}.{% endif %}"])
            parts.append(f"{{% for {head} %}}{inner}{template(rng, depth + 1)}{{% else %}}none{{% endfor %}}")
        elif kind == 7:
            # Not white space alone, which python-liquid drops and Ruby keeps.
            parts.append(f"{{% capture c %}}c{template(rng, depth + 1)}{{% endcapture %}}[{{{{ c }}}}]")
        elif kind == 8:
            parts.append(f"{{% case m.x.v %}}{{% when 1 %}}{template(rng, depth + 1)}{{% else %}}z{{% endcase %}}")
        else:
            parts.append("{%- comment -%} c {%- endcomment -%}")
    return "".join(parts)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    folder = tmp_path_factory.mktemp("empty")
    (folder / "_config.yml").write_text("title: t\n", encoding="utf-8")
    return Site(folder, epoch=0.0)


def test_compiled_templates_print_what_python_liquid_prints(site: Site) -> None:
    rng = random.Random(11)
    compared = 0
    for _ in range(250):
        source = template(rng)
        made = site.engine.template(source, "case")
        assert made.compiled is not None, source
        env = {"site": site.drop, **DATA}
        try:
            ours = site.engine.render(made, env)[0]
        except Exception as wrong:
            ours = type(wrong).__name__
        try:
            theirs = fallback.render(site.engine, made, Context(site.engine, env, "case"))
        except Exception as wrong:
            theirs = type(wrong).__name__
        assert ours == theirs, source
        compared += ours != "ContentError"
    assert compared > 150


def test_values_leave_a_loop_only_when_they_do_not_change_in_it(site: Site) -> None:
    source = (
        "{% assign k = 0 %}{% for i in a %}{% for row in rows %}{{ i }}{{ k }}{{ row.v }}{{ s | upcase }}"
        "{% assign k = i %}{% endfor %}{% endfor %}"
    )
    made = site.engine.template(source, "case")
    expected, k = "", "0"
    for i in DATA["a"]:
        for row in DATA["rows"]:
            expected += f"{i}{k}{row['v']}HELLO WORLD"
            k = str(i)
    assert site.engine.render(made, dict(DATA))[0] == expected


def test_what_the_compiler_leaves_is_rendered_all_the_same(site: Site) -> None:
    made = site.engine.template("{% liquid\nassign x = 'y'\necho x | upcase\n%}{{ x }}", "case")
    assert made.compiled is None
    assert site.engine.render(made, dict(DATA))[0] == "Yy"


TAGS = ["div", "p", "section", "table", "tbody", "tr", "td", "ul", "li", "audio", "figure", "em", "span", "details"]


def markup(rng: random.Random, depth: int) -> str:
    out = ""
    for _ in range(rng.randrange(1, 4)):
        kind = rng.randrange(7)
        name = rng.choice(TAGS)
        space = rng.choice(["", "\n", "\n\n", " "])
        if kind <= 2 and depth:
            attributes = rng.choice(["", " controls", ' class="a b"', ' id="x" data-k="v w"', ' href="a?b&amp;c"'])
            out += f"{space}<{name}{attributes}>{markup(rng, depth - 1)}</{name}>"
        elif kind == 3:
            out += space + rng.choice(["<br>", "<br />", '<img src="a.png" alt="x">', '<source src="b" type="c">'])
        elif kind == 4:
            out += rng.choice(["text", "*star*", "&amp;", "a > b", "&eacute;", '"q"', "`c`", "{: .x}", "$$m$$"])
        elif kind == 5:
            out += rng.choice(["a < b", "AT&T", "</p>", "<p>", "<!-- c -->", "<b class=x>y</b>", "&copy"])
        else:
            out += space
    return out


def test_plain_html_is_the_same_document_the_fast_way_and_the_slow_way() -> None:
    rng = random.Random(5)
    plain = 0
    for _ in range(800):
        text = f"<{(name := rng.choice(['div', 'table', 'p', 'section']))}>{markup(rng, 4)}</{name}>\n"
        if is_plain(text):
            plain += 1
            assert dom(text) == dom(Document(text, plain=False).html()), text
    assert plain > 50


def test_plain_front_matter_is_what_yaml_reads() -> None:
    rng = random.Random(9)
    text = "yes|No|null|~|12|1.5|a b|key|2020-01-01|x-y|on|true|Étude|a: b|a#b|a # b|'q'|[x]|{}|- a|.5|e|y|n|NaN|1_000"
    words = (text + "|0x1|a.b/c|x |end.|...|---|title|layout|Some words here").split("|")
    read = 0
    for _ in range(1500):
        lines = [f"{rng.choice(words)}: {rng.choice(words)}" for _ in range(rng.randrange(1, 3))]
        text = "\n".join(lines) + "\n"
        found = plain_front_matter(text)
        if found is not None:
            read += 1
            assert found == load_yaml(text, Path("x"), __import__("datetime").UTC), text
    assert read > 20
