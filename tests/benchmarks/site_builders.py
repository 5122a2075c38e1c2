"""Our builder beside Hugo and Jekyll on companions of many samples: ``python -m tests.benchmarks.site_builders``.

Two companions are made: ``table``, one page in which every sample has two players of three formats, and ``pages``, one
page a sample and an index of all. Our builder and Jekyll get the Jekyll form of them, Hugo its own.
Measured are a build into an empty destination, one with nothing to do, and one after a change of one value of the data:
wall seconds and the peak of resident memory. The builders take turns, and of several turns the fastest counts, because
whatever else the machine does only adds. A builder that is not installed is left out.

Times depend on the machine; what is to hold is `GOALS`, in the same run as Hugo.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FAMILIES = ("bass", "brass", "flute", "guitar", "keyboard", "mallet", "organ", "reed", "string", "vocal")
FORMATS = ("ogg", "flac", "wav")
KINDS = ("original", "reconstruction")
EDITED = 987_654

# scenario -> quantity -> (limit, share of Hugo's time that must not be reached)
GOALS: dict[str, dict[str, tuple[float, float | None]]] = {
    "table": {"cold": (0.6, 1.0)},
    "pages": {"cold": (3.0, 0.5), "edit": (0.3, None), "nothing": (0.15, None)},
}
MEMORY_LIMIT_MIB = 150

TEXT = """Every note was coded and decoded again. The codes have the sizes \\\\( 32 \\times 4 \\\\) and
\\\\( 64 \\times 8 \\\\); see [the first paper][one].

\\\\[ p(a, b) = \\prod_{i}{ p(a\\_i | a\\_{\\<i}) } \\prod_{j}{ p(b\\_j | b\\_{\\<j}, a) } \\\\]

1. A note becomes a picture,
2. the picture becomes _codes_,
3. the codes become a note.

## Listen

"""
LINKS = '\n[one]: https://example.org/paper "a paper"\n'
SHELL = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<link rel="stylesheet" href="/assets/style.css"></head>
<body><main>
{content}
</main></body></html>
"""
PLAYER = (
    '<audio controls preload="none">{% for format in formats %}<source src="{{ site.baseurl }}/audio/KEY-{{ kind }}.'
    '{{ format }}" type="audio/{{ format }}">{% endfor %}</audio>'
)
LISTS = (
    '{% assign formats = "ogg, flac, wav" | split: ", " %}\n'
    '{% assign kinds = "original, reconstruction" | split: ", " %}\n'
)
TABLE = (
    '<div markdown="0">\n<table>\n<thead><tr><th>Family</th><th>Pitch</th><th>Kind</th><th>Audio</th></tr></thead>\n'
    "<tbody>\n" + LISTS + "{% for sample in site.data.samples %}\n  {% for kind in kinds %}\n  <tr>\n"
    "    <td>{{ sample[1].family | capitalize }}"
    "</td>\n    <td>{{ sample[1].pitch }}</td>\n"
    '    <td>{{ kind | capitalize | truncate: 5, "." }}</td>\n    <td>'
    + PLAYER.replace("KEY", "{{ sample[0] }}")
    + "</td>\n  </tr>\n  {% endfor %}\n{% endfor %}\n</tbody></table>\n</div>\n"
)
INDEX = (
    '<ul>{% for s in site.data.samples %}<li><a href="{{ site.baseurl }}/samples/{{ s[0] }}.html">{{ s[0] }}</a></li>'
    "{% endfor %}</ul>\n"
)
SAMPLE = (
    "<p>{{ page.title }} has the pitch {{ site.data.samples['KEY'].pitch }}.</p>\n"
    + LISTS
    + "{% for kind in kinds %}<p>{{ kind | capitalize }}</p>"
    + PLAYER.replace("KEY", "{{ page.title }}")
    + "\n{% endfor %}\n"
)
HUGO_PLAYERS = (
    '{{ range $kind := slice "original" "reconstruction" }}OPEN<audio controls preload="none">'
    '{{ range $f := slice "ogg" "flac" "wav" }}'
    '<source src="/audio/{{ $k }}-{{ $kind }}.{{ $f }}" type="audio/{{ $f }}">'
    "{{ end }}</audio>CLOSE{{ end }}"
)


def samples(count: int) -> dict[str, dict[str, object]]:
    """The data: one entry a sample."""
    return {
        f"{FAMILIES[i % 10]}_{i:05d}-{24 + i % 60:03d}": {"pitch": 24 + i % 60, "family": FAMILIES[i % 10]}
        for i in range(count)
    }


def put(path: Path, text: str) -> None:
    """Write a file, and its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def make_jekyll(root: Path, data: dict[str, dict[str, object]], scenario: str) -> Path:
    """The companion for Jekyll and for ours; returns the data file."""
    put(root / "_config.yml", 'title: bench\nbaseurl: ""\n')
    put(root / "_layouts/default.html", SHELL.format(title="{{ page.title }}", content="{{ content }}"))
    put(root / "assets/style.css", "td { padding: 0.3rem }\n")
    head = "---\nlayout: default\ntitle: {}\n---\n"
    put(root / "index.md", head.format("Companion") + TEXT + (TABLE if scenario == "table" else INDEX) + LINKS)
    if scenario == "pages":
        for key in data:
            put(root / f"samples/{key}.md", head.format(key) + SAMPLE.replace("KEY", key, 1))
    put(root / "_data/samples.json", json.dumps(data))
    return root / "_data/samples.json"


def make_hugo(root: Path, data: dict[str, dict[str, object]], scenario: str) -> Path:
    """The companion for Hugo; returns the data file."""
    put(
        root / "config.toml",
        'baseURL = "/"\ntitle = "bench"\ndisableKinds = ["taxonomy", "term", "RSS", "sitemap", "404"]\n'
        "uglyURLs = true\n"
        "[markup.goldmark.renderer]\nunsafe = true\n",
    )
    put(root / "static/assets/style.css", "td { padding: 0.3rem }\n")
    row = HUGO_PLAYERS.replace(
        "OPEN",
        '<tr><td>{{ title $s.family }}</td><td>{{ $s.pitch }}</td><td>{{ truncate 5 "." (title $kind) }}</td><td>',
    ).replace("CLOSE", "</td></tr>")
    table = "<table><tbody>{{ range $k, $s := .Site.Data.samples }}" + row + "\n{{ end }}</tbody></table>"
    link = '<li><a href="/samples/{{ $k }}.html">{{ $k }}</a></li>'
    links = "<ul>{{ range $k, $s := .Site.Data.samples }}" + link + "{{ end }}</ul>"
    content = "{{ .Content }}" + (table if scenario == "table" else links)
    put(root / "layouts/index.html", SHELL.format(title="{{ .Title }}", content=content))
    one = (
        "{{ $k := .Params.key }}{{ $s := index .Site.Data.samples $k }}<p>{{ $k }} has the pitch {{ $s.pitch }}.</p>"
        + HUGO_PLAYERS.replace("OPEN", "<p>{{ title $kind }}</p>").replace("CLOSE", "")
    )
    put(root / "layouts/_default/single.html", SHELL.format(title="{{ .Title }}", content="{{ .Content }}" + one))
    put(root / "layouts/_default/list.html", SHELL.format(title="{{ .Title }}", content="{{ .Content }}"))
    put(root / "content/_index.md", "---\ntitle: Companion\n---\n" + TEXT + LINKS)
    if scenario == "pages":
        for key in data:
            put(root / f"content/samples/{key}.md", f"---\ntitle: {key}\nkey: {key}\n---\n")
    put(root / "data/samples.json", json.dumps(data))
    return root / "data/samples.json"


@dataclass(frozen=True)
class Builder:
    """One builder: how its companion is made and how it is called."""

    make: Callable[[Path, dict[str, dict[str, object]], str], Path]
    command: tuple[str, ...]


BUILDERS = {
    "ours": Builder(
        make_jekyll, (sys.executable, str(ROOT / "build_site.py"), "--source", "SOURCE", "--destination", "OUT")
    ),
    "hugo": Builder(make_hugo, ("hugo", "--quiet", "-s", "SOURCE", "-d", "OUT")),
    "jekyll": Builder(make_jekyll, ("jekyll", "build", "-q", "--disable-disk-cache", "-s", "SOURCE", "-d", "OUT")),
}


@dataclass
class Figures:
    """What was measured of one builder in one scenario."""

    cold_s: list[float] = field(default_factory=list)
    nothing_s: list[float] = field(default_factory=list)
    edit_s: list[float] = field(default_factory=list)
    peak_mib: float = 0.0
    rewritten: int = 0
    stale: bool = False


def run(command: list[str], folder: Path) -> tuple[float, float]:
    """Wall seconds and peak resident MiB of the largest process of a command."""
    environment = dict(os.environ, LC_ALL="C.UTF-8", SOURCE_DATE_EPOCH="1700000000")
    started = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    peak = 0.0
    while process.poll() is None:
        try:
            for line in Path(f"/proc/{process.pid}/status").read_text(encoding="ascii").splitlines():
                if line.startswith("VmHWM"):
                    peak = max(peak, int(line.split()[1]) / 1024)
        except (OSError, ValueError):
            pass
        time.sleep(0.003)
    seconds = time.perf_counter() - started
    assert process.stderr is not None
    words = process.stderr.read()
    process.stderr.close()
    if process.returncode:
        raise SystemExit(f"{command[0]} failed: {words[-800:]}")
    return seconds, peak


def stamps(folder: Path) -> dict[str, int]:
    """Time of change of every file of a site."""
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*.html")}


def measure(names: list[str], scenario: str, count: int, turns: int, work: Path) -> dict[str, Figures]:
    """Measure builders by turns."""
    data = samples(count)
    middle = list(data)[count // 2]
    figures = {name: Figures() for name in names}
    places = {}
    for name in names:
        source = work / f"{name}-{scenario}-{count}" / "source"
        places[name] = (source, source.parent / "out", BUILDERS[name].make(source, data, scenario))
    for turn in range(turns):
        for name in names:
            source, out, manifest = places[name]
            command = [part.replace("SOURCE", str(source)).replace("OUT", str(out)) for part in BUILDERS[name].command]
            manifest.write_text(json.dumps(data), encoding="utf-8")
            for made in (out, source / ".cache", source / "resources", source / ".jekyll-cache"):
                shutil.rmtree(made, ignore_errors=True)
            result = figures[name]
            seconds, peak = run(command, source)
            result.cold_s.append(seconds)
            result.peak_mib = max(result.peak_mib, peak)
            result.nothing_s.append(run(command, source)[0])
            before = stamps(out)
            changed = {**data, middle: {**data[middle], "pitch": EDITED + turn}}
            # Some builders compare whole seconds.
            time.sleep(1.1)
            manifest.write_text(json.dumps(changed), encoding="utf-8")
            result.edit_s.append(run(command, source)[0])
            after = stamps(out)
            result.rewritten = sum(before.get(path) != stamp for path, stamp in after.items())
            page = out / ("index.html" if scenario == "table" else f"samples/{middle}.html")
            result.stale = str(EDITED + turn) not in page.read_text(encoding="utf-8")
    return figures


def verdicts(scenario: str, figures: dict[str, Figures]) -> list[str]:
    """Our figures beside the goals."""
    ours, hugo = figures.get("ours"), figures.get("hugo")
    if ours is None:
        return []
    lines = []
    for quantity, (limit, share) in GOALS[scenario].items():
        value = min(getattr(ours, f"{quantity}_s"))
        words = f"{scenario} {quantity}: {value:.3f} s, goal {limit:g} s: {'held' if value <= limit else 'MISSED'}"
        if share is not None and hugo is not None:
            rival = min(getattr(hugo, f"{quantity}_s"))
            words += f"; Hugo {rival:.3f} s, share {value / rival:.2f} below {share:g}: "
            words += "held" if value < share * rival else "MISSED"
        lines.append(words)
    held = ours.peak_mib <= MEMORY_LIMIT_MIB
    lines.append(f"{scenario} memory: {ours.peak_mib:.0f} MiB, goal {MEMORY_LIMIT_MIB}: {'held' if held else 'MISSED'}")
    right = not ours.stale and ours.rewritten == 1
    lines.append(
        f"{scenario} pages rewritten after one edit: {ours.rewritten}, goal 1: {'held' if right else 'MISSED'}"
    )
    return lines


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--count", type=int, default=10_000, help="samples (default: 10000)")
    parser.add_argument("--turns", type=int, default=3, help="turns of every builder (default: 3)")
    parser.add_argument("--scenarios", default="table,pages")
    parser.add_argument("--builders", default="ours,hugo", help=f"of {', '.join(BUILDERS)} (default: ours,hugo)")
    options = parser.parse_args()
    names = []
    for name in options.builders.split(","):
        if shutil.which(BUILDERS[name].command[0]):
            names.append(name)
        else:
            print(f"{name} is not installed", file=sys.stderr)
    print("| builder | scenario | samples | cold s | nothing to do s | one edit s | rewritten | stale | peak MiB |")
    print("|---|---|---|---|---|---|---|---|---|")
    words = []
    for scenario in options.scenarios.split(","):
        with tempfile.TemporaryDirectory(prefix="builders-") as folder:
            figures = measure(names, scenario, options.count, options.turns, Path(folder))
        for name, f in figures.items():
            print(
                f"| {name} | {scenario} | {options.count} | {min(f.cold_s):.3f} | {min(f.nothing_s):.3f}"
                f" | {min(f.edit_s):.3f} | {f.rewritten} | {f.stale} | {f.peak_mib:.0f} |",
                flush=True,
            )
        # The goals are those of ten thousand samples.
        words += verdicts(scenario, figures) if options.count >= 10_000 else []
    print("\n".join(words))


if __name__ == "__main__":
    main()
