"""A site for blind review: names, commits and links to repositories taken out, and proof that nothing of them is left.

What is taken out: the authors of ``site.yml`` with affiliations and addresses, further names under ``anonymous.names``,
the ids of commits in run records, links and addresses of code hosts. They are replaced in every text and in file names,
in plain letters, as HTML entities, percent-encoded and as escapes of JSON and YAML; media files that carry one lose all
their texts, and their new hash takes the place of the old one. The proof decodes by other means: it reads the finished
files, unescapes and unpacks them, and looks for the names again.
"""

from __future__ import annotations

import hashlib
import html
import html.entities
import io
import json
import re
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

from paper_site.citation import FILE_NAME, Person
from paper_site.errors import OutputError
from paper_site.manifest import Author, Companion
from paper_site.metadata import CRATE, CROISSANT
from paper_site.strip import strip, texts_of

TEXTS = frozenset(
    (".html", ".htm", ".css", ".js", ".json", ".jsonld", ".yml", ".yaml", ".csv", ".tsv", ".txt", ".md", ".svg", ".xml")
) | {".bib", ".tex", ".cff", ".webmanifest", ""}
AUTHORS = "Anonymous authors"
WORD = "anonymous"
HOSTS = (
    "github.com",
    "github.io",
    "gitlab.com",
    "gitlab.io",
    "bitbucket.org",
    "codeberg.org",
    "codeberg.page",
    "sr.ht",
    "huggingface.co",
    "gitee.com",
)
"""Hosts of repositories, whose addresses name their owners."""

_HOST_LINK = re.compile(
    r"(?:https?:)?//(?:[\w.-]+\.)?(?:" + "|".join(re.escape(host) for host in HOSTS) + r")(?![\w.])[^\s\"'<>)\]}]*",
    re.IGNORECASE,
)
_GAP = r"(?:\s|&nbsp;|&#160;|&#32;|%20|\+|[-_.]|\\u00a0|)"
_LONG = 8
_BEFORE, _AFTER = r"(?<![^\W_])", r"(?![^\W_])"


@dataclass(frozen=True)
class DenyList:
    """What must not survive.

    Attributes:
        names: Names of several words, found in any case and with any gap between their words.
        words: Single words and short names, found as whole words; short ones in this case alone.
        commits: Ids of commits, found from their first seven digits on.
    """

    names: tuple[str, ...]
    words: tuple[str, ...]
    commits: tuple[str, ...]


def deny_list(companion: Companion) -> DenyList:
    """List what has to go from a companion's site."""
    raw = companion.site.raw.get("anonymous") or {}
    keep = {str(name).casefold() for name in raw.get("keep") or ()}
    found: list[str] = [str(name) for name in raw.get("names") or ()]
    for author in companion.site.authors:
        found += [text for text in (author.name, author.affiliation) if text]
        parts = author.name.split()
        if len(parts) > 1 and parts[-1][:1].isupper() and len(parts[-1]) > 1:
            found.append(parts[-1])
        if author.url:
            address = urlsplit(author.url)
            found.append((address.netloc + address.path).rstrip("/") or author.url)
    citation = companion.citation
    for person in citation.authors if citation else ():
        found += [person.name, person.indexed, *person.others]
        found += [text for text in (person.affiliation, person.orcid) if text]
        found += [part for part in (*person.given.split(), person.family) if person.given and len(part) > 1]
    if citation:
        found += [text for text in (citation.doi, citation.url, citation.repository) if text]
    commits = [
        str(run.raw["code"]["commit"])
        for run in companion.runs.values()
        if isinstance(run.raw.get("code"), Mapping) and run.raw["code"].get("commit")
    ]
    kept = [" ".join(name.split()) for name in dict.fromkeys(found) if name.casefold() not in keep]
    return DenyList(
        tuple(name for name in kept if _is_long(name)),
        tuple(name for name in kept if not _is_long(name)),
        tuple(dict.fromkeys(commit for commit in commits if len(commit) >= 7)),
    )


def _is_long(name: str) -> bool:
    return len(_plain(name)) >= _LONG and len(re.findall(r"[^\W_]+", name)) > 1


def _ignores_case(word: str) -> bool:
    return len(word) >= 5


def blind(companion: Companion) -> Companion:
    """Give a companion other authors and no links."""
    hidden = {"authors": [{"name": AUTHORS}], "links": [], "anonymous": {}}
    raw = {**companion.site.raw, **hidden}
    site = replace(companion.site, authors=(Author(AUTHORS),), links=(), raw=raw)
    citation = companion.citation and replace(
        companion.citation, authors=(Person("", AUTHORS),), doi=None, url=None, repository=None, pdf=None
    )
    documents = {name: path for name, path in companion.documents.items() if name != FILE_NAME}
    data = {**companion.data, "site": raw}
    return replace(companion, site=site, data=data, documents=documents, citation=citation)


# --- taking out


def _letter(char: str, any_case: bool = True) -> str:
    """A pattern for one character in all the forms in which texts write it."""
    if char.isspace() or char in "-_.":
        return _GAP
    forms: set[str] = set()
    for c in {char.lower(), char.upper()} if any_case else {char}:
        if len(c) != 1:
            continue
        for form in ("NFC", "NFD"):
            forms.add(re.escape(unicodedata.normalize(form, c)))
        forms.add(re.escape(unicodedata.normalize("NFD", c)[0]))
        code = ord(c)
        forms |= {rf"&#0*{code};?", rf"&#[xX]0*(?:{code:x}|{code:X});?"}
        forms |= {rf"\\u(?:{code:04x}|{code:04X})", *([rf"\\x(?:{code:02x}|{code:02X})"] if code < 256 else [])}
        forms.add("".join(rf"%(?:{octet:02X}|{octet:02x})" for octet in c.encode()))
        if code in html.entities.codepoint2name:
            forms.add(f"&{html.entities.codepoint2name[code]};")
    return f"(?:{'|'.join(sorted(forms, key=lambda form: (-len(form), form)))})"


def pattern_of(names: DenyList) -> re.Pattern[str]:
    """One pattern for everything that has to go; the longest first."""
    found = []
    for name in sorted(names.names, key=len, reverse=True):
        words = ["".join(map(_letter, word)) for word in name.split()]
        found.append(f"(?:{f'{_GAP}{{0,3}}'.join(words)})")
        if len(words) == 2:
            # "Family, Given" of bibliographies.
            found.append(f"(?:{words[1]},{_GAP}{{0,3}}{words[0]})")
    for word in sorted(names.words, key=len, reverse=True):
        found.append(f"{_BEFORE}{''.join(_letter(c, _ignores_case(word)) for c in word)}{_AFTER}")
    found += [rf"(?<![0-9a-f]){commit[:7]}[0-9a-f]{{0,{len(commit)}}}" for commit in names.commits]
    return re.compile("|".join(found) or r"(?!)")


def anonymise(
    names: DenyList, made: Mapping[str, bytes], copies: Mapping[str, Path]
) -> tuple[dict[str, bytes], dict[str, Path], int]:
    """Take everything of a deny list out of a site.

    Args:
        names: What has to go.
        made: Path inside the site -> bytes.
        copies: Path inside the site -> file.

    Returns:
        The same two, where copies that had to be changed have become bytes, and the number of files changed.

    Raises:
        OutputError: If two files would get one name, or a media file is broken.
    """
    pattern = pattern_of(names)
    hashes: dict[str, str] = {}
    sizes: list[tuple[str, int, int]] = []  # new hash, old size, new size
    texts: dict[str, str] = {}
    others: dict[str, bytes] = {}
    kept: dict[str, Path] = {}
    changed: set[str] = set()
    for path, data in made.items():
        if Path(path).suffix.lower() in TEXTS:
            texts[path] = data.decode("utf-8", "surrogateescape")
        else:
            others[path] = data
    for path, file in copies.items():
        data = file.read_bytes()
        if Path(path).suffix.lower() in TEXTS:
            texts[path] = data.decode("utf-8", "surrogateescape")
        elif any(pattern.search(text) for text in _decoded(data)):
            others[path] = data
        else:
            kept[path] = file
    for path, data in list(others.items()):
        if not any(pattern.search(text) for text in _decoded(data)):
            continue
        try:
            others[path] = strip(data)
        except ValueError as wrong:
            raise OutputError(f"{path}: its texts cannot be taken out: {wrong}") from None
        after = hashlib.sha256(others[path]).hexdigest()
        hashes[hashlib.sha256(data).hexdigest()] = after
        sizes.append((after, len(data), len(others[path])))
        changed.add(path)
    for path, text in texts.items():
        if not leaks(names, path, text.encode("utf-8", "surrogateescape")) and not any(h in text for h in hashes):
            if path in copies:
                kept[path] = copies[path]
            continue
        away = "#main" if path.endswith((".html", ".htm")) else "removed-for-review"
        clean = pattern.sub(WORD, _HOST_LINK.sub(away, text))
        if hashes:
            clean = re.sub(r"\b[0-9a-f]{64}\b", lambda found: hashes.get(found[0], found[0]), clean)
            for after, old, new in sizes:
                # The size stands beside the hash, after it in manifests and before it in the table of sounds.
                clean = re.sub(rf"({after}\W{{1,12}}(?:bytes|contentSize)\W{{1,4}}){old}\b", rf"\g<1>{new}", clean)
                clean = clean.replace(f",{old},{after}", f",{new},{after}")
        if clean != text:
            changed.add(path)
            texts[path] = clean
        # A document that nothing was taken out of stays a copy.
        elif path in copies:
            kept[path] = copies[path]
    final: dict[str, bytes] = {}
    for path, data in {**others, **{p: t.encode("utf-8", "surrogateescape") for p, t in texts.items()}}.items():
        if path not in kept:
            _place(final, kept, pattern.sub(WORD, path), data)
    _settle(final)
    moved = {path: pattern.sub(WORD, path) for path in kept}
    if len(set(moved.values())) < len(moved):
        raise OutputError("two files would get one name without the names that have to go; rename one of them")
    return final, {moved[path]: file for path, file in kept.items()}, len(changed)


def _settle(final: dict[str, bytes]) -> None:
    """Give the documents about other documents their new sizes and hashes."""
    for name in (CRATE, CROISSANT):
        if name not in final:
            continue
        document = json.loads(final[name])
        for entity in document.get("@graph", ()):
            if entity.get("@type") == "File" and entity["@id"] in final:
                entity["contentSize"] = str(len(final[entity["@id"]]))
        for entity in document.get("distribution", ()):
            if entity.get("contentUrl") in final:
                entity["sha256"] = hashlib.sha256(final[entity["contentUrl"]]).hexdigest()
        final[name] = (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode()


def _place(final: dict[str, bytes], kept: Mapping[str, Path], path: str, data: bytes) -> None:
    if path in final or path in kept:
        raise OutputError(f"two files would be {path} without the names that have to go; rename one of them")
    final[path] = data


def _decoded(data: bytes) -> Iterator[str]:
    for text in texts_of(data):
        yield text.decode("utf-8", "replace")
        for coding in ("utf-16-le", "utf-16-be"):
            yield text.decode(coding, "replace")
            yield text[1:].decode(coding, "replace")


# --- the proof


def _plain(text: str) -> str:
    """Letters and digits of a text without case, accents and everything between words."""
    if not text.isascii():
        folded = unicodedata.normalize("NFKD", text)
        text = "".join(c for c in folded if not unicodedata.combining(c))
    return re.sub(r"[\W_]+", "", text).casefold()


def _unescaped(text: str) -> Iterator[tuple[str, str]]:
    yield "its text", text
    yield "its text without entities", html.unescape(text)
    yield "its text without percent signs", unquote(unquote(html.unescape(text)))
    if "\\" in text:
        yield (
            "its text without escapes",
            re.sub(
                r"\\(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2}))", lambda found: chr(int(found[1] or found[2], 16)), text
            ),
        )


def _views(path: str, data: bytes) -> Iterator[tuple[str, str]]:
    """Everything that a file can be read as: what it is, and the text."""
    yield "its name", path
    yield "its name", unquote(path)
    if Path(path).suffix.lower() in TEXTS:
        yield from _unescaped(data.decode("utf-8", "replace"))
        return
    for text in _decoded(data):
        yield "the texts inside it", text
    for found in re.finditer(rb"stream\r?\n", data) if data.startswith(b"%PDF") else ():
        try:
            yield "a stream inside it", zlib.decompressobj().decompress(data[found.end() :]).decode("latin-1")
        except zlib.error:
            continue
    if data.startswith(b"PK") and zipfile.is_zipfile(io.BytesIO(data)):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for name in archive.namelist():
                for what, text in _views(name, archive.read(name)):
                    yield f"{name} inside it, {what}", text


def _codings(name: str) -> Iterator[bytes]:
    for text in (name.lower(), unicodedata.normalize("NFD", name.lower())):
        for coding in ("utf-8", "latin-1", "utf-16-le", "utf-16-be"):
            try:
                yield text.encode(coding)
            except UnicodeEncodeError:
                continue


def leaks(names: DenyList, path: str, data: bytes) -> list[str]:
    """Say where anything of a deny list is left in a file; empty when nothing is.

    Args:
        names: What must not be there.
        path: The file's path inside the site.
        data: Its bytes.
    """
    whole = [(name, _plain(name)) for name in names.names]
    words = [(w, re.compile(_BEFORE + re.escape(w) + _AFTER, re.I if _ignores_case(w) else 0)) for w in names.words]
    found: list[str] = []
    seen: set[str] = set()
    for what, text in _views(path, data):
        if text in seen:
            continue
        seen.add(text)
        flat = _plain(text)
        found += [f"{name!r} in {what}" for name, plain in whole if plain in flat]
        found += [f"{word!r} in {what}" for word, pattern in words if pattern.search(text)]
        found += [f"the commit {c[:12]} in {what}" for c in names.commits if c[:7] in text and _commit(c, text)]
        found += [f"{link[0]} in {what}" for link in _HOST_LINK.finditer(text)]
    if Path(path).suffix.lower() not in TEXTS:
        # Chance finds a short name in the samples of a sound.
        small = data.lower()
        wanted = [name for name in (*names.names, *names.words) if len(name) >= _LONG]
        found += [f"{name!r} in its bytes" for name in wanted if any(form in small for form in _codings(name))]
    return list(dict.fromkeys(found))


def _commit(commit: str, text: str) -> bool:
    return re.search(rf"(?<![0-9a-f]){commit[:7]}(?:{commit[7:12]}|(?![0-9a-f]))", text) is not None


def prove(names: DenyList, made: Mapping[str, Callable[[], bytes]]) -> int:
    """Read a finished site and refuse it where anything of a deny list is left; returns the number of files read.

    Raises:
        OutputError: Naming files and places.
    """
    wrong = []
    for path in sorted(made):
        wrong += [f"{path}: {leak}" for leak in leaks(names, path, made[path]())]
    if wrong:
        more = f"; and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise OutputError(
            f"the anonymous site still names its authors: {'; '.join(wrong[:5])}{more}"
            " (take it out of the text or the file, or list it under anonymous.keep in site.yml if it names nobody)"
        )
    return len(made)
