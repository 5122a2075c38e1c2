"""After any edit the site that is built from the cache is the site that a clean build gives."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from paper_site.build import CACHE, TEMPLATES, build
from paper_site.lint import RULES
from paper_site.output import LEDGER

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
    build(companion, site, templates=templates, cache=cache)
    for number in range(count):
        log.append(author.edit())
        if author.rng.random() < 0.3:
            log.append(author.edit())
        if author.rng.random() < 0.03:
            shutil.rmtree(cache)
            log.append("cache deleted")
        if author.rng.random() < 0.05:
            author.rng.choice(sorted(site.rglob("*.html"))).write_text("damaged", encoding="utf-8")
            log.append("an output damaged")
        report = build(companion, site, templates=templates, cache=cache)
        clean = tmp_path / "clean"
        build(companion, clean, templates=templates)
        assert tree(site) == tree(clean), f"after {number + 1} edits, seed {seed}: {log[-3:]}"
        shutil.rmtree(clean)
        assert report.reasons.keys() <= {p.relative_to(site).as_posix() for p in site.rglob("*.html")}


def test_after_edits_the_tree_is_that_of_a_clean_build(companion: Path, tmp_path: Path) -> None:
    _edits(companion, tmp_path, 25, 1)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 12))
def test_after_fifty_edits_each_the_tree_is_that_of_a_clean_build(companion: Path, tmp_path: Path, seed: int) -> None:
    _edits(companion, tmp_path, 50, seed)
