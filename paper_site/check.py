"""Look at a built site as a stranger would: links, anchors, media, HTML, other hosts, hashes, sources of numbers.

It reads nothing but the site's own folder. The copies of the manifests under ``data/`` say which bytes each file must
have.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from paper_site.access import Access
from paper_site.documents import read_document
from paper_site.errors import SiteError
from paper_site.lint import lint_audio, read_settings
from paper_site.provenance import CHECKED_KINDS, Ledger, untraced
from paper_site.sums import check_sums

VOID = frozenset(re.findall(r"\w+", "area base br col embed hr img input link meta source track wbr"))
OPTIONAL_END = frozenset(
    re.findall(r"\w+", "p li dt dd tr td th thead tbody tfoot option colgroup caption html head body")
)
BLOCKS = frozenset(
    re.findall(
        r"\w+",
        "address article aside blockquote details dialog div dl fieldset figure footer form h1 h2 h3 h4 h5 h6 header"
        " hr main nav ol p pre section table ul",
    )
)
MAGIC = {
    ".ogg": (b"OggS",),
    ".flac": (b"fLaC",),
    ".wav": (b"RIFF",),
    ".png": (b"\x89PNG\r\n\x1a\n",),
    ".jpg": (b"\xff\xd8",),
}
_ID_LISTS = ("aria-labelledby", "aria-describedby", "aria-controls", "headers", "for")
_CSS_URL = re.compile(r"url\(\s*['\"]?([^'\")]+)|@import\s+['\"]([^'\"]+)")


_ADDRESSES = frozenset(("href", "src", "srcset", "action", "formaction", "poster", "data", "cite", "xlink:href"))
_POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'none'",
}


def policy_faults(policy: str) -> list[str]:
    """List what a content security policy allows beyond the site's own files, or does not settle."""
    rules = {parts[0].lower(): parts[1:] for rule in policy.split(";") if (parts := rule.split())}
    faults = [
        f"{name} is {' '.join(rules.get(name, [])) or 'not set'} and must be {wanted}"
        for name, wanted in _POLICY.items()
        if rules.get(name) != [wanted]
    ]
    allowed = {"'self'", "'none'", "data:", "blob:"}
    for name, sources in rules.items():
        if name not in _POLICY:
            faults += [f"{name} lets {source} in" for source in sources if source not in allowed]
    return faults


@dataclass(frozen=True, order=True)
class Problem:
    """One thing that is wrong, where, and what."""

    path: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.message}" if self.line else f"{self.path}: {self.message}"


@dataclass
class _Page:
    path: Path
    name: str
    ids: dict[str, int] = field(default_factory=dict)
    references: list[tuple[str, str, str, int]] = field(default_factory=list)  # (tag, attribute, value, line)
    id_uses: list[tuple[str, str, int]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    kind: str = ""


class _Reader(HTMLParser):
    def __init__(self, page: _Page) -> None:
        super().__init__(convert_charrefs=True)
        self.page = page
        self.stack: list[tuple[str, int]] = []
        self.seen: dict[str, int] = {}
        self.title = ""
        self.doctype = False
        self.policy = False
        self.access = Access(lambda line, message: page.problems.append(Problem(page.name, line, message)))

    def problem(self, message: str) -> None:
        self.page.problems.append(Problem(self.page.name, self.getpos()[0], message))

    def handle_decl(self, decl: str) -> None:
        self.doctype = self.doctype or decl.lower() == "doctype html"

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        foreign = any(name in {"svg", "math"} for name, _ in self.stack) or tag in {"svg", "math"}
        self.handle_starttag(tag, attrs)
        if tag in VOID:
            return
        if foreign:
            self.handle_endtag(tag)
        else:
            self.problem(f"<{tag}/> closes nothing in HTML")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen[tag] = self.seen.get(tag, 0) + 1
        if tag in BLOCKS and self.stack and self.stack[-1][0] == "p":
            self.stack.pop()
        open_tags = [name for name, _ in self.stack]
        if tag in {"a", "button"} and any(name in {"a", "button"} for name in open_tags):
            self.problem(f"<{tag}> inside another link or button")
        self._attributes(tag, attrs)
        values = {name: value or "" for name, value in attrs}
        self.access.start(tag, values, self.getpos()[0], len(self.stack), void=tag in VOID)
        if tag not in VOID:
            self.stack.append((tag, self.getpos()[0]))

    def _attributes(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        for name in sorted({n for n in names if names.count(n) > 1}):
            self.problem(f"<{tag}> has the attribute {name!r} twice")
        values = {name: value or "" for name, value in attrs}
        line = self.getpos()[0]
        for name, value in values.items():
            if name.startswith("on"):
                self.problem(f"inline handler {name!r} on <{tag}>")
            if name == "style":
                self.problem(f"inline style on <{tag}>")
            scheme = re.sub(r"[\s\x00-\x1f]", "", value).lower() if name in _ADDRESSES else ""
            if scheme.startswith(("javascript:", "vbscript:")):
                self.problem(f"script address in {name!r} of <{tag}>")
        if tag == "script" and "src" not in values and values.get("type") != "application/ld+json":
            self.problem("inline script")
        if tag == "style":
            self.problem("inline style sheet")
        if tag == "img" and "alt" not in values:
            self.problem("<img> without alt")
        if tag in {"audio", "video"} and not (values.get("aria-label") or values.get("aria-labelledby")):
            self.problem(f"<{tag}> without a name (aria-label)")
        if tag == "body":
            kinds = [name[5:] for name in values.get("class", "").split() if name.startswith("kind-")]
            self.page.kind = kinds[0] if kinds else ""
        if tag == "html" and not values.get("lang"):
            self.problem("<html> without lang")
        if tag == "meta" and values.get("http-equiv", "").lower() == "content-security-policy":
            self.policy = True
            for fault in policy_faults(values.get("content", "")):
                self.problem(f"content security policy: {fault}")
        if "id" in values:
            if not values["id"] or re.search(r"\s", values["id"]):
                self.problem(f"the id {values['id']!r} is empty or holds blanks")
            if values["id"] in self.page.ids:
                self.problem(f"the id {values['id']!r} stands twice (first on line {self.page.ids[values['id']]})")
            self.page.ids.setdefault(values["id"], line)
        for name in _ID_LISTS:
            for target in values.get(name, "").split():
                self.page.id_uses.append((name, target, line))
        for name in ("href", "src", "poster", "data-ogg", "data-flac", "data-wav", "action", "xlink:href"):
            if name in values:
                self.page.references.append((tag, name, values[name].strip(), line))
        for candidate in values.get("srcset", "").split(","):
            if candidate.strip():
                self.page.references.append((tag, "srcset", candidate.split()[0], line))

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            self.problem(f"</{tag}> closes nothing")
            return
        depth = len(self.stack)
        while depth and self.stack[depth - 1][0] != tag and self.stack[depth - 1][0] in OPTIONAL_END:
            depth -= 1
        if depth and self.stack[depth - 1][0] == tag:
            del self.stack[depth - 1 :]
        elif any(name == tag for name, _ in self.stack):
            top, line = self.stack[-1]
            self.problem(f"</{tag}> while <{top}> of line {line} is open")
            while self.stack and self.stack.pop()[0] != tag:
                pass
        else:
            self.problem(f"</{tag}> closes nothing")

    def handle_data(self, data: str) -> None:
        self.access.data(data, len(self.stack))
        if self.stack and self.stack[-1][0] == "title" and not any(n == "svg" for n, _ in self.stack):
            self.title += data

    def finish(self) -> None:
        self.close()
        self.access.finish()
        for tag, line in self.stack:
            if tag not in OPTIONAL_END:
                self.page.problems.append(Problem(self.page.name, line, f"<{tag}> is never closed"))
        needs = {
            "doctype": self.doctype,
            "<title>": bool(self.title.strip()),
            "exactly one <main>": self.seen.get("main") == 1,
            "exactly one <h1>": self.seen.get("h1") == 1,
            "a content security policy": self.policy,
        }
        for what, there in needs.items():
            if not there:
                self.page.problems.append(Problem(self.page.name, 1, f"the page lacks {what}"))


def _read(path: Path, name: str) -> _Page:
    page = _Page(path, name)
    reader = _Reader(page)
    reader.feed(path.read_text(encoding="utf-8", errors="replace"))
    reader.finish()
    return page


def _is_foreign(value: str) -> bool:
    parts = urlsplit(value)
    return bool(parts.netloc) or parts.scheme not in {"", "data"}


def _resolve(root: Path, base: Path, value: str) -> Path | None:
    """Find the file that a local reference names; None when it leaves the site."""
    target = (base / unquote(urlsplit(value).path)).resolve()
    return target if target.is_relative_to(root) else None


def _references(root: Path, page: _Page, pages: dict[Path, _Page], used: set[Path]) -> Iterator[Problem]:
    for tag, attribute, value, line in page.references:
        loads = not (tag in {"a", "area"} and attribute == "href")
        try:
            parts = urlsplit(value)
        except ValueError:
            yield Problem(page.name, line, f"{attribute} {value!r} is no address")
            continue
        if _is_foreign(value):
            if loads:
                yield Problem(page.name, line, f"<{tag} {attribute}> asks another host: {value}")
            elif parts.scheme not in {"http", "https", "mailto"}:
                yield Problem(page.name, line, f"link with the scheme {parts.scheme!r}: {value}")
            continue
        if parts.scheme == "data":
            continue
        if value.startswith("/"):
            yield Problem(
                page.name, line, f"{attribute} {value!r} is absolute: it breaks under a sub-path and from disk"
            )
            continue
        target = page.path if not parts.path else _resolve(root, page.path.parent, value)
        if target is None:
            yield Problem(page.name, line, f"{attribute} {value!r} leaves the site")
            continue
        if not target.is_file():
            yield Problem(page.name, line, f"{attribute} {value!r} leads nowhere")
            continue
        used.add(target)
        if parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].ids:
            yield Problem(page.name, line, f"{attribute} {value!r}: no element has the id {parts.fragment!r}")
    for attribute, target_id, line in page.id_uses:
        if target_id not in page.ids:
            yield Problem(page.name, line, f"{attribute} names the id {target_id!r}, which no element has")


def _files_in(value: Any) -> Iterator[tuple[str, str]]:
    """Walk a document for mappings that name a file and its hash."""
    if isinstance(value, dict):
        if isinstance(value.get("path"), str) and isinstance(value.get("sha256"), str):
            yield value["path"], value["sha256"]
        for inner in value.values():
            yield from _files_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _files_in(inner)


def _manifests(root: Path, used: set[Path]) -> Iterator[Problem]:
    for path in sorted((root / "data").glob("*.yml")):
        name = path.relative_to(root).as_posix()
        try:
            document = read_document(path)
        except SiteError as wrong:
            yield Problem(name, wrong.line or 0, wrong.message)
            continue
        for file_name, expected in _files_in(document):
            file = (root / file_name).resolve()
            if not file.is_relative_to(root):
                yield Problem(name, 0, f"{file_name!r} leaves the site")
            elif not file.is_file():
                yield Problem(name, 0, f"{file_name!r} is missing")
            else:
                used.add(file)
                if hashlib.sha256(file.read_bytes()).hexdigest() != expected:
                    yield Problem(name, 0, f"{file_name!r} does not have the bytes that the manifest names")


def _media(root: Path, used: set[Path]) -> Iterator[Problem]:
    for path in sorted(root.rglob("*")):
        suffix = path.suffix.lower()
        if suffix not in MAGIC or not path.is_file():
            continue
        name = path.relative_to(root).as_posix()
        with path.open("rb") as file:
            head = file.read(64)
        if head.startswith(b"version https://git-lfs"):
            yield Problem(name, 0, "a Git LFS pointer, not the file itself")
        elif not head.startswith(MAGIC[suffix]):
            yield Problem(name, 0, f"the bytes are not those of a {suffix} file")
        if path.is_relative_to(root / "assets" / "audio") and path.resolve() not in used:
            yield Problem(name, 0, "no page and no manifest names this file")


def _styles(root: Path) -> Iterator[Problem]:
    for path in sorted(root.rglob("*.css")):
        name = path.relative_to(root).as_posix()
        text = path.read_text(encoding="utf-8", errors="replace")
        for found in _CSS_URL.finditer(text):
            value = (found[1] or found[2]).strip()
            line = text[: found.start()].count("\n") + 1
            if _is_foreign(value):
                yield Problem(name, line, f"asks another host: {value}")
            elif not value.startswith(("data:", "#")):
                target = _resolve(root, path.parent, value)
                if target is None or not target.is_file():
                    yield Problem(name, line, f"url({value}) leads nowhere")


def _read_all(folder: Path) -> dict[str, Any]:
    """Every document of a folder by its name; broken ones are left to others."""
    found = {}
    for path in sorted((*folder.glob("*.json"), *folder.glob("*.yml"))):
        with suppress(SiteError):
            found[path.stem] = read_document(path)
    return found


def _numbers(root: Path, pages: dict[Path, _Page]) -> Iterator[Problem]:
    """Numbers in tables of results that no published document holds."""
    data = root / "data"
    collections = {name: document for name, document in _read_all(data).items() if isinstance(document, dict)}
    try:
        ledger = Ledger(
            _read_all(data / "results").values(),
            _read_all(data / "studies").values(),
            collections,
            {str(run["run_id"]): run for run in _read_all(data / "runs").values()},
            _read_all(data / "clips").values(),
        )
        for page in pages.values():
            if page.kind in CHECKED_KINDS:
                for found in untraced(page.path.read_text(encoding="utf-8", errors="replace"), page.name, ledger):
                    yield Problem(page.name, found.line, found.message)
    except (KeyError, TypeError, AttributeError, ValueError) as wrong:
        yield Problem("data", 0, f"the documents cannot be read as results, runs and studies ({wrong!r})")


def _audio(root: Path) -> Iterator[Problem]:
    """Faults of the audio that the site does not allow itself, with a reason."""
    path = root / "data" / "site" / "lint.json"
    collections = {name: document for name, document in _read_all(root / "data").items() if isinstance(document, dict)}
    try:
        settings = read_settings(read_document(path) if path.is_file() else None, path)
        report = lint_audio(root, collections, settings)
    except (SiteError, KeyError, TypeError, AttributeError, ValueError) as wrong:
        yield Problem("data", 0, f"the audio cannot be looked at ({wrong})")
        return
    for finding in report.errors:
        # Said already, with the manifest.
        if finding.rule not in {"missing", "bytes", "lfs"}:
            yield Problem(finding.path, 0, f"{finding.message} [{finding.rule}]")


def check_site(folder: Path) -> list[Problem]:
    """Check a built site.

    Args:
        folder: The site.

    Returns:
        Everything that is wrong, sorted by file and line; empty for a good site.

    Raises:
        SiteError: If the folder is no site.
    """
    root = folder.resolve()
    if not (root / "index.html").is_file():
        raise SiteError(f"{folder} holds no index.html; build the site first")
    files = sorted(root.rglob("*.html"))
    pages = {path: _read(path, path.relative_to(root).as_posix()) for path in files}
    used: set[Path] = set()
    problems: list[Problem] = []
    for page in pages.values():
        problems += page.problems
        problems += _references(root, page, pages, used)
    problems += _manifests(root, used)
    problems += _media(root, used)
    problems += _styles(root)
    problems += _numbers(root, pages)
    problems += _audio(root)
    problems += [Problem(name, 0, message) for name, message in check_sums(root)]
    return sorted(set(problems))
