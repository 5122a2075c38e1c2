"""How a work is to be cited, from ``CITATION.cff`` in the companion's folder, else from ``site.yml``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paper_site.documents import parse_yaml, read_text
from paper_site.schema import validate

if TYPE_CHECKING:
    from paper_site.manifest import Site

FILE_NAME = "CITATION.cff"


@dataclass(frozen=True)
class Person:
    """An author: a person, or a group under one name.

    Attributes:
        given: Given names; empty for a group.
        family: Family name, or the name of a group.
        affiliation: Where they work.
        orcid: Address of their ORCID record.
        others: Further texts by which they could be known: e-mail, alias, website.
    """

    given: str
    family: str
    affiliation: str | None = None
    orcid: str | None = None
    others: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Given names and family name."""
        return f"{self.given} {self.family}".strip()

    @property
    def indexed(self) -> str:
        """``Family, Given``, as indexes want it."""
        return f"{self.family}, {self.given}" if self.given else self.family


@dataclass(frozen=True)
class Citation:
    """A work as it is to be cited."""

    title: str
    authors: tuple[Person, ...]
    abstract: str | None = None
    date: str | None = None
    doi: str | None = None
    url: str | None = None
    repository: str | None = None
    licence: str | None = None
    keywords: tuple[str, ...] = ()
    version: str | None = None
    journal: str | None = None
    conference: str | None = None
    pdf: str | None = None

    @property
    def year(self) -> str | None:
        """The year of publication."""
        found = re.search(r"\b(?:19|20)\d\d\b", self.date or "")
        return found[0] if found else None


def read_citation(source: Path, site: Site) -> tuple[Citation, Path | None]:
    """Read how a companion's work is to be cited.

    Args:
        source: The companion's folder.
        site: What stands in ``site.yml``; fills in what the file leaves open.

    Returns:
        The citation, and the file that it came from, None where there is none.

    Raises:
        DataError: If ``CITATION.cff`` is broken or does not hold its schema.
    """
    pdf = next((link.url for link in site.links if re.search(r"\b(?:pdf|paper|preprint)\b", link.label, re.I)), None)
    pdf = pdf if pdf and pdf.startswith("http") else None
    path = source / FILE_NAME
    if not path.is_file():
        authors = tuple(_split(author.name, author.affiliation) for author in site.authors)
        return Citation(site.title, authors, site.description, site.date, conference=site.venue, pdf=pdf), None
    raw = parse_yaml(read_text(path), path)
    validate(raw, "citation", path)
    work = {**raw, **(raw.get("preferred-citation") or {})}
    conference = work.get("conference")
    licence = work.get("license")
    year = str(work["year"]) if work.get("year") else None
    return (
        Citation(
            title=str(work["title"]),
            authors=tuple(_person(person) for person in work["authors"]),
            abstract=_clean(work.get("abstract")) or site.description,
            date=_clean(work.get("date-published") or work.get("date-released") or year or site.date),
            doi=_clean(work.get("doi")),
            url=_clean(work.get("url")),
            repository=_clean(work.get("repository-code")),
            licence=", ".join(licence) if isinstance(licence, list) else _clean(licence),
            keywords=tuple(str(word) for word in work.get("keywords") or ()),
            version=_clean(work.get("version")),
            journal=_clean(work.get("journal")),
            conference=_clean(conference["name"]) if isinstance(conference, Mapping) else site.venue,
            pdf=pdf,
        ),
        path,
    )


def _clean(value: Any) -> str | None:
    return None if value is None or value == "" else " ".join(str(value).split())


def _split(name: str, affiliation: str | None) -> Person:
    """A name of ``site.yml``: the last word is the family name, unless the first is an article or there is one word."""
    words = name.split()
    if len(words) < 2 or words[0] in {"The", "the"}:
        return Person("", name, affiliation)
    return Person(" ".join(words[:-1]), words[-1], affiliation)


def _person(raw: Mapping[str, Any]) -> Person:
    parts = (raw.get("name-particle"), raw.get("family-names"), raw.get("name-suffix"))
    family = " ".join(str(part) for part in parts if part) or str(raw.get("name") or raw.get("alias") or "")
    given = str(raw.get("given-names") or "")
    others = tuple(str(raw[key]) for key in ("email", "alias", "website") if raw.get(key))
    return Person(
        given if family else "", family or given, _clean(raw.get("affiliation")), _clean(raw.get("orcid")), others
    )
