"""After any edit the site that is built from the cache is the site that a clean build gives."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from paper_site import cache as cached
from paper_site.build import CACHE, TEMPLATES, build
from paper_site.errors import SiteError
from paper_site.lint import RULES
from paper_site.output import LEDGER
from paper_site.starter import STARTER

ROOT = Path(__file__).resolve().parent.parent.parent


def tree(folder: Path) -> dict[str, str]:
    return {
        p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and p.name != LEDGER
    }


class Author:
    """Somebody who edits a companion in every way that the builder knows of, at random."""

    def __init__(self, folder: Path, templates: Path, seed: int) -> None:
        self.folder, self.templates = folder, templates
        self.rng = random.Random(seed)
        self.count = 0
        self.edits: list[Callable[[], str]] = [
            self.change_a_label,
            self.change_a_score,
            self.change_a_mean,
            self.change_the_record,
            self.change_the_paper,
            self.change_a_text,
            self.add_a_text,
            self.remove_a_text,
            self.rename_a_text,
            self.change_a_template,
            self.change_an_include,
            self.change_a_layout,
            self.remove_a_sample,
            self.copy_a_sample,
            self.move_a_sample,
            self.rename_its_files,
            self.change_the_theme,
            self.change_audio_in_place,
            self.write_again,
            self.change_free_data,
            self.hide_a_change_of_time,
            self.change_the_lint,
            self.change_the_citation,
        ]
        # Whoever edits at random cannot keep to what the lint asks of audio.
        self.change_the_lint()

    def edit(self) -> str:
        self.count += 1
        return self.rng.choice(self.edits)()

    def word(self) -> str:
        return f"word{self.rng.randrange(10**6)} <&> \u202eוהי"

    def _yaml(self, change: Callable[[dict[str, Any]], Any], name: str = "tones") -> str:
        path = self.folder / "_data" / f"{name}.yml"
        document = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
        document = change(document) or document
        path.write_text(yaml.dump(document, Dumper=yaml.CSafeDumper, sort_keys=False, allow_unicode=True), "utf-8")
        return path.name

    def _json(self, path: Path, change: Callable[[Any], None]) -> str:
        document = json.loads(path.read_text(encoding="utf-8"))
        change(document)
        path.write_text(json.dumps(document), encoding="utf-8")
        return path.name

    def _sample(self, document: dict[str, Any]) -> Any:
        return document[self.rng.choice(list(document))]

    def change_a_label(self) -> str:
        key, value = self.rng.choice(
            [("pitch", self.rng.randrange(128)), ("instrument_family_str", self.word()), ("new_label", self.word())]
        )
        return "label in " + self._yaml(lambda d: self._sample(d).update({key: value}))

    def change_a_score(self) -> str:
        value = round(self.rng.random(), 4)
        return "score in " + self._yaml(lambda d: self._sample(d)["scores"]["phase"]["si_sdr"].update(value=value))

    def change_a_mean(self) -> str:
        def change(document: Any) -> None:
            row = self.rng.choice(document["aggregates"])
            row["mean"] = row["median"] = round(row["mean"] + 0.001, 6)

        return "mean in " + self._json(self.folder / "_data" / "results" / "tones.json", change)

    def change_the_record(self) -> str:
        path = next((self.folder / "_data" / "runs").iterdir())
        return "record " + self._json(path, lambda d: d.update(seed=self.rng.randrange(99), command=self.word()))

    def change_the_paper(self) -> str:
        key = self.rng.choice(["title", "short_title", "subtitle", "description", "licence", "venue"])
        return f"{key} in " + self._yaml(lambda d: d.update({key: self.word()}), "site")

    def change_the_citation(self) -> str:
        path = self.folder / "CITATION.cff"
        if path.exists() and self.rng.random() < 0.3:
            path.unlink()
            return "citation removed"
        text = (STARTER / "CITATION.cff").read_text(encoding="utf-8")
        path.write_text(text.replace("{{ title_text }}", f"Title {self.count}"), encoding="utf-8")
        return "citation"

    def change_the_lint(self) -> str:
        off = {name: "off" for name, (severity, _) in RULES.items() if severity == "error" and name != "missing"}
        limits = {"dc_fs": self.rng.randrange(1, 9) / 100}
        return "lint in " + self._yaml(lambda d: d.update(lint={"severity": off, "limits": limits}), "site")

    def _texts(self) -> list[Path]:
        return sorted([*self.folder.glob("*.md"), *self.folder.glob("_*/*.md")])

    def change_a_text(self) -> str:
        path = self.rng.choice(self._texts())
        path.write_text(path.read_text(encoding="utf-8") + f"\nnext word{self.count}, $x_{self.count}$\n", "utf-8")
        return f"text {path.name}"

    def add_a_text(self) -> str:
        path = self.folder / f"text{self.count}.md"
        body = self.rng.choice(
            [
                "{{ paper.title }} {{ site.data.tones | length }}",
                "{% for s in site.data.tones %}{{ s[1].pitch }} {% endfor %}",
                "{% for s in site.data.tones %}{{ s[0] }} {% endfor %}",
                "{% if site.venue is defined %}{{ site.venue }}{% endif %}",
                "{{ companion.collections[0].samples | length }}",
                '{% include "hello.html" ignore missing %}',
                "{% if 'free' in site.data %}{{ site.data.free }}{% endif %}",
                "{% for k, v in site.data.items() %}{{ k }}{% endfor %}",
            ]
        )
        path.write_text(f"---\ntitle: Text {self.count}\n---\n{body}\n", encoding="utf-8")
        return f"new {path.name}: {body}"

    def remove_a_text(self) -> str:
        found = sorted(self.folder.glob("text*.md"))
        if found:
            self.rng.choice(found).unlink()
        return "a text removed"

    def rename_a_text(self) -> str:
        found = sorted(self.folder.glob("text*.md"))
        if found:
            found[0].rename(self.folder / f"text-renamed{self.count}.md")
        return "a text renamed"

    def change_a_template(self) -> str:
        path = self.rng.choice(sorted(self.templates.rglob("*.html")))
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace("<p", f'<p data-edit="{self.count}"', 1), encoding="utf-8")
        return f"template {path.name}"

    def change_an_include(self) -> str:
        path = self.folder / "_includes" / self.rng.choice(["hello.html", "player.html", "missing.html"])
        if path.exists() and self.rng.random() < 0.5:
            path.unlink()
            return f"include {path.name} removed"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"<!-- {self.count} -->{{{{ paper.title }}}}", encoding="utf-8")
        return f"include {path.name}"

    def change_a_layout(self) -> str:
        path = self.folder / "_layouts" / "prose.html"
        if path.exists():
            path.unlink()
            return "layout removed"
        path.parent.mkdir(exist_ok=True)
        path.write_text(
            '{% extends "base.html" %}{% block main %}<h1>{{ page.title }}</h1>{{ content }}'
            "{{ companion.site.short_title }}{% endblock %}",
            encoding="utf-8",
        )
        return "layout added"

    def remove_a_sample(self) -> str:
        def change(document: dict[str, Any]) -> None:
            if len(document) > 1:
                del document[self.rng.choice(list(document))]

        return "a sample removed from " + self._yaml(change)

    def copy_a_sample(self) -> str:
        def change(document: dict[str, Any]) -> None:
            document[f"copy{self.count} {self.word()}"] = json.loads(json.dumps(self._sample(document)))

        return "a sample added to " + self._yaml(change)

    def move_a_sample(self) -> str:
        def change(document: dict[str, Any]) -> dict[str, Any]:
            names = list(document)
            self.rng.shuffle(names)
            return {name: document[name] for name in names}

        return "another order in " + self._yaml(change)

    def rename_its_files(self) -> str:
        def change(document: dict[str, Any]) -> None:
            entry = self._sample(document)["files"]["original"]["ogg"]
            old = self.folder / entry["path"]
            new = old.with_name(f"renamed{self.count}.ogg")
            shutil.copyfile(old, new)
            entry["path"] = new.relative_to(self.folder).as_posix()

        return "a file renamed in " + self._yaml(change)

    def change_the_theme(self) -> str:
        path = self.folder / "assets" / "css" / self.rng.choice(["own.css", "second.css"])
        if path.exists() and self.rng.random() < 0.3:
            path.unlink()
            return f"{path.name} removed"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"/* {self.count} */", encoding="utf-8")
        return path.name

    def change_audio_in_place(self) -> str:
        path = self.rng.choice(sorted((self.folder / "assets" / "audio").rglob("*.wav")))
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        with path.open("r+b") as file:
            file.write(data)
        return f"bytes of {path.name}"

    def write_again(self) -> str:
        path = self.rng.choice([*self._texts(), *sorted((self.folder / "_data").glob("*.yml"))])
        path.write_bytes(path.read_bytes())
        return f"{path.name} written again"

    def change_free_data(self) -> str:
        path = self.folder / "_data" / "free.yml"
        if path.exists() and self.rng.random() < 0.3:
            path.unlink()
            return "free data removed"
        path.write_text(f"a: {self.count}\nb: [1, {self.count}]\n", encoding="utf-8")
        return "free data"

    def hide_a_change_of_time(self) -> str:
        path = self.folder / "about.md"
        stat = path.stat()
        data = path.read_bytes()
        changed = data.replace(b"rows", b"ROWS") if b"rows" in data else data.replace(b"ROWS", b"rows")
        with path.open("r+b") as file:
            file.write(changed)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        return "same size and time, other text"


def _edits(companion: Path, tmp_path: Path, count: int, seed: int) -> None:
    templates = Path(shutil.copytree(TEMPLATES, tmp_path / "templates"))
    author = Author(companion, templates, seed)
    site, cache = companion / "_site", companion / CACHE
    log: list[str] = []
    refused = 0
    build(companion, site, templates=templates, cache=cache)
    for number in range(count):
        before = tmp_path / "before"
        shutil.copytree(companion, before, ignore=shutil.ignore_patterns("_site", ".cache"))
        log.append(author.edit())
        if author.rng.random() < 0.3:
            log.append(author.edit())
        if author.rng.random() < 0.03:
            shutil.rmtree(cache)
            log.append("cache deleted")
        if author.rng.random() < 0.05:
            author.rng.choice(sorted(site.rglob("*.html"))).write_text("damaged", encoding="utf-8")
            log.append("an output damaged")
        clean, seen = tmp_path / "clean", tree(site)
        after = f"after {number + 1} edits, seed {seed}: {log[-3:]}"
        try:
            build(companion, clean, templates=templates)
        except SiteError as wrong:
            # What a clean build refuses, an incremental one refuses as well; then the author takes it back.
            with pytest.raises(type(wrong)) as caught:
                build(companion, site, templates=templates, cache=cache)
            assert str(caught.value) == str(wrong), after
            assert tree(site) == seen, after
            for path in companion.iterdir():
                if path.name not in {"_site", ".cache"}:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
            shutil.copytree(before, companion, dirs_exist_ok=True)
            refused += 1
        else:
            report = build(companion, site, templates=templates, cache=cache)
            assert tree(site) == tree(clean), after
            assert report.reasons.keys() <= {p.relative_to(site).as_posix() for p in site.rglob("*.html")}
            shutil.rmtree(clean)
        shutil.rmtree(before)
    assert refused <= count // 4


def test_after_edits_the_tree_is_that_of_a_clean_build(companion: Path, tmp_path: Path) -> None:
    _edits(companion, tmp_path, 25, 1)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 12))
def test_after_fifty_edits_each_the_tree_is_that_of_a_clean_build(companion: Path, tmp_path: Path, seed: int) -> None:
    _edits(companion, tmp_path, 50, seed)


def _changed_by(companion: Path, edit: Callable[[], object]) -> tuple[set[str], dict[str, str]]:
    """Files of the site that an edit changes, and pages that were rendered with the reason."""
    site, cache = companion / "_site", companion / CACHE
    build(companion, site, cache=cache)
    before = tree(site)
    edit()
    report = build(companion, site, cache=cache)
    changed = {name for name, digest in tree(site).items() if before.get(name) != digest}
    return changed - {"SHA256SUMS", "tree.json", "reproduce.html"}, dict(report.reasons)


def _replace(path: Path, old: str, new: str) -> Callable[[], object]:
    return lambda: path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")


def test_an_edit_of_one_sample_renders_what_reads_it_and_says_so(companion: Path) -> None:
    (companion / "count.md").write_text("---\n---\n{{ site.data.tones | length }} rows\n", encoding="utf-8")
    (companion / "keys.md").write_text("---\n---\n{% for s in site.data.tones %}{{ s[0] }} {% endfor %}\n", "utf-8")
    edit = _replace(companion / "_data" / "tones.yml", "pitch: 77", "pitch: 78")
    changed, reasons = _changed_by(companion, edit)
    assert changed == {"listen/tones.html", "about.html", "data/tones.yml"}
    assert reasons["listen/tones.html"] == "_data/tones.yml: flute_acoustic_002-077-100 changed"
    assert reasons["about.html"] == "_data/tones: flute_acoustic_002-077-100.pitch changed"
    # A text that asks for the keys alone does not read what stands under them.
    assert "count.html" not in reasons and "keys.html" not in reasons


@pytest.mark.parametrize(
    ("place", "old", "new", "page", "reason"),
    [
        ("about.md", "rows", "lines", "about.html", "the text about.md changed"),
        ("_data/site.yml", "short_title: Tones", "short_title: T", "about.html", "_data/site.yml: short_title changed"),
        ("_models/codec.md", "minimises", "lowers", "models/codec.html", "the text codec.md changed"),
        ("_data/results/tones.json", '"n_ok": 11', '"n_ok": 10', "results.html", "_data/results/tones.json changed"),
    ],
)
def test_the_reason_names_what_changed(companion: Path, place: str, old: str, new: str, page: str, reason: str) -> None:
    changed, reasons = _changed_by(companion, _replace(companion / place, old, new))
    assert page in changed or page in reasons
    assert reason in reasons[page]


def test_a_changed_template_renders_the_pages_that_use_it(companion: Path, tmp_path: Path) -> None:
    (companion / "_includes").mkdir()
    (companion / "_includes" / "note.html").write_text("first", encoding="utf-8")
    (companion / "a.md").write_text('---\n---\n{% include "note.html" %}\n', encoding="utf-8")
    edit = _replace(companion / "_includes" / "note.html", "first", "second")
    changed, reasons = _changed_by(companion, edit)
    assert changed == {"a.html"}
    assert reasons == {"a.html": "the template note.html changed"}


def test_nothing_changed_is_seen_without_reading_anything(companion: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from paper_site import manifest

    site, cache = companion / "_site", companion / CACHE
    build(companion, site, cache=cache)
    time.sleep(0.06)  # what changed while it was looked at is looked at once more
    build(companion, site, cache=cache)
    monkeypatch.setattr(manifest, "read_companion", lambda _: pytest.fail("read"))
    assert build(companion, site, cache=cache).written.changed == 0
    (site / "index.html").unlink()
    monkeypatch.undo()
    assert build(companion, site, cache=cache).written.changed == 1
    assert (site / "index.html").is_file()


def test_every_file_that_a_build_opens_is_one_that_it_watches(companion: Path) -> None:
    program = (
        "import sys, os, json\n"
        "opened = set()\n"
        "def hook(event, arguments):\n"
        "    if event == 'open' and isinstance(arguments[0], str) and 'w' not in str(arguments[1] or 'r'):\n"
        "        opened.add(os.path.realpath(arguments[0]))\n"
        "from pathlib import Path\n"
        "from paper_site import build as module\n"
        "source = Path(sys.argv[1])\n"
        "task = module._Task(source, source / '_site', module.TEMPLATES, (source,))\n"
        "watched = {os.path.realpath(name) for name in task.inputs()}\n"
        "sys.addaudithook(hook)\n"
        "module.build(source, source / '_site')\n"
        "roots = (str(source), str(module.PROJECT))\n"
        "ours = {p for p in opened if p.startswith(roots) and '/.venv/' not in p and '/_site/' not in p}\n"
        "print(json.dumps(sorted(p for p in ours - watched if not p.endswith('.pyc') and os.path.isfile(p))))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(companion.resolve())], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == []


_BUILD = (
    "import sys; from pathlib import Path; from paper_site.build import build; s = Path(sys.argv[1]);"
    " build(s, s / '_site', cache=s / '.cache/site')"
)


def test_builds_side_by_side_and_killed_ones_leave_a_whole_site(companion: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", _BUILD, str(companion)]
    together = [subprocess.Popen(command, cwd=ROOT) for _ in range(3)]
    assert [process.wait(120) for process in together] == [0, 0, 0]
    rng = random.Random(3)
    for number in range(4):
        _replace(companion / "about.md", "rows", f"rows {number}")()
        killed = subprocess.Popen(command, cwd=ROOT)
        time.sleep(rng.uniform(0.2, 1.0))
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        for page in (companion / "_site").rglob("*.html"):
            assert page.read_text(encoding="utf-8").rstrip().endswith("</html>")
    subprocess.run(command, cwd=ROOT, check=True)
    build(companion, tmp_path / "clean")
    assert tree(companion / "_site") == tree(tmp_path / "clean")


@pytest.mark.parametrize("fault", ["no database", "half of one", "a folder", "read only", "other values"])
def test_a_damaged_cache_is_no_cache(companion: Path, tmp_path: Path, fault: str) -> None:
    site, cache = companion / "_site", companion / CACHE
    build(companion, site, cache=cache)
    file = cache / cached.FILE_NAME
    if fault == "no database":
        file.write_bytes(b"something else" * 100)
    elif fault == "half of one":
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    elif fault == "a folder":
        file.unlink()
        file.mkdir()
    elif fault == "read only":
        cache.chmod(0o500)
        file.chmod(0o400)
    else:
        connection = sqlite3.connect(file)
        with connection:
            connection.execute("UPDATE entries SET value = x'00'")
        connection.close()
    _replace(companion / "about.md", "rows", "lines")()
    build(companion, site, cache=cache)
    build(companion, site, cache=cache)
    cache.chmod(0o700)
    build(companion, tmp_path / "clean")
    assert tree(site) == tree(tmp_path / "clean")


def test_what_somebody_else_put_into_the_cache_is_not_read(
    companion: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site, cache = companion / "_site", companion / CACHE
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "theirs"))
    build(companion, site, cache=cache)
    with cached.using(cached.Cache(cache)) as theirs:
        theirs.put("secret", b"key", "planted")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "ours"))
    with cached.using(cached.Cache(cache)) as ours:
        assert ours.get("secret", b"key") is None
    assert len(build(companion, site, cache=cache).reasons) == len(list(site.rglob("*.html")))
    assert (tmp_path / "ours" / "earwitness" / "key").stat().st_mode & 0o077 == 0


def test_same_inputs_give_same_bytes_whatever_the_machine(companion: Path, tmp_path: Path) -> None:
    files = sorted(p for p in companion.rglob("*") if p.is_file())
    shuffled = tmp_path / "other" / "companion"
    for path in reversed(files):
        target = shuffled / path.relative_to(companion)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
        os.utime(target, (1, 1))
    settings = [
        (companion, {"TZ": "UTC", "LC_ALL": "C", "PYTHONHASHSEED": "1"}, 0o022),
        (
            shuffled,
            {"TZ": "Pacific/Kiritimati", "LC_ALL": "tr_TR.UTF-8", "LANG": "de_DE", "PYTHONHASHSEED": "77"},
            0o077,
        ),
        (shuffled, {"TZ": "America/St_Johns", "LC_ALL": "C", "PYTHONHASHSEED": "0", "PYTHONUTF8": "0"}, 0o002),
    ]
    trees = []
    for source, environment, umask in settings:
        one_core = ["taskset", "-c", "0"] if shutil.which("taskset") and umask == 0o077 else []
        subprocess.run(
            [*one_core, sys.executable, "-c", _BUILD, str(source)],
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], **environment},
            umask=umask,
            check=True,
        )
        trees.append(tree(source / "_site"))
        shutil.rmtree(source / ".cache")
    assert trees[0] == trees[1] == trees[2]
