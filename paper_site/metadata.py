"""The site for machines: citation tags, BibTeX, JSON-LD, a Workflow Run RO-Crate, Croissant.

Written by the public specifications: schema.org, RO-Crate 1.1 with the Process Run Crate profile 0.5, Croissant 1.0,
Highwire Press tags, Open Graph. Everything comes from the citation, the manifests and the run records.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from paper_site.citation import Citation
from paper_site.labels import headline
from paper_site.manifest import Collection, Companion
from paper_site.pages import listening_path, run_path, study_path
from paper_site.provenance import reproduce_command

ENCODINGS = {"ogg": "audio/ogg", "flac": "audio/flac", "wav": "audio/wav"}
SAMPLES = "data/samples.csv"
CRATE = "ro-crate-metadata.json"
CROISSANT = "croissant.json"
BIBTEX = "citation.bib"


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()


def _known(**values: Any) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value not in (None, "", [], ())}


def audio_path(collection: str) -> str:
    """Name the JSON-LD document of a collection's sounds."""
    return f"data/{collection}.jsonld"


# --- in the head of a page


def tags(citation: Citation) -> list[tuple[str, str]]:
    """The ``citation_*`` tags of a work, in order; authors as ``Family, Given``."""
    found = [("citation_title", citation.title)]
    found += [("citation_author", author.indexed) for author in citation.authors]
    single = {
        "citation_publication_date": (citation.date or "").replace("-", "/"),
        "citation_journal_title": citation.journal,
        "citation_conference_title": None if citation.journal else citation.conference,
        "citation_doi": citation.doi,
        "citation_pdf_url": citation.pdf,
        "citation_public_url": citation.url,
        "citation_abstract": citation.abstract,
    }
    found += [(name, value) for name, value in single.items() if value]
    return found + [("citation_keywords", word) for word in citation.keywords]


def article(companion: Companion) -> str:
    """The work as a ScholarlyArticle in JSON-LD, fit to stand inside a page."""
    citation = companion.citation
    if citation is None:
        return "{}"
    value = {
        "@context": "https://schema.org",
        "@type": "ScholarlyArticle",
        "headline": citation.title,
        "name": citation.title,
        **_known(
            abstract=citation.abstract,
            author=[_author(citation, index) for index in range(len(citation.authors))],
            datePublished=citation.date,
            keywords=list(citation.keywords),
            license=citation.licence,
            url=citation.url,
            version=citation.version,
            identifier=f"https://doi.org/{citation.doi}" if citation.doi else None,
            inLanguage=companion.site.language,
        ),
        "isAccessibleForFree": True,
        "hasPart": [
            {"@type": "Dataset", "name": part.title, "url": audio_path(part.name)}
            for part in companion.heard
            if part.samples
        ],
        "subjectOf": [{"@type": "Dataset", "name": "RO-Crate", "url": CRATE}],
    }
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    # Nothing in a label may look like markup to whoever reads the page.
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _author(citation: Citation, index: int) -> dict[str, Any]:
    person = citation.authors[index]
    kind = "Person" if person.given else "Organization"
    affiliation = {"@type": "Organization", "name": person.affiliation} if person.affiliation else None
    names = {"givenName": person.given, "familyName": person.family} if person.given else {}
    return {"@type": kind, "name": person.name, **names, **_known(affiliation=affiliation, sameAs=person.orcid)}


# --- files


def sounds(companion: Companion, collection: Collection) -> bytes:
    """Every sound of a collection as an AudioObject in JSON-LD; addresses are relative to the document."""
    graph = []
    page = f"../{listening_path(collection.name)}"
    for sample in collection.samples:
        for track in sample.tracks:
            for form, file in track.files.items():
                graph.append(
                    {
                        "@type": "AudioObject",
                        "@id": f"../{file.path}",
                        "name": f"{headline(sample)}, {track.title}",
                        "contentUrl": f"../{file.path}",
                        "encodingFormat": ENCODINGS.get(form, f"audio/{form}"),
                        "duration": f"PT{sample.duration_s:.6g}S",
                        "sha256": file.sha256,
                        **_known(
                            contentSize=f"{file.size} B" if file.size else None,
                            subjectOf=f"../{run_path(track.run)}" if track.run else None,
                        ),
                        "identifier": [sample.id, *([f"pcm-sha256:{file.pcm_sha256}"] if file.pcm_sha256 else [])],
                        "isPartOf": {"@type": "Dataset", "name": collection.title, "url": page},
                    }
                )
    return _json({"@context": "https://schema.org", "@graph": graph})


def bibtex(citation: Citation) -> bytes:
    """The work as a BibTeX entry."""
    word = next((w for w in re.findall(r"[A-Za-z]{4,}", citation.title)), "work").lower()
    first = re.sub(r"[^A-Za-z]", "", citation.authors[0].family if citation.authors else "") or "anonymous"
    fields = _known(
        title=f"{{{citation.title}}}",
        author=" and ".join(a.indexed if a.given else f"{{{a.family}}}" for a in citation.authors),
        year=citation.year,
        journal=citation.journal,
        booktitle=None if citation.journal else citation.conference,
        doi=citation.doi,
        url=citation.url,
        version=citation.version,
    )
    kind = "article" if citation.journal else "inproceedings" if citation.conference else "misc"
    lines = "".join(f"  {name} = {{{latex(value) if name != 'url' else value}}},\n" for name, value in fields.items())
    return f"@{kind}{{{first.lower()}{citation.year or ''}{word},\n{lines}}}\n".encode()


_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "\u2212": "$-$",
    "±": r"$\pm$",
    "×": r"$\times$",
    "²": "$^2$",
    "∞": r"$\infty$",
    "\u202f": r"\,",
}


def latex(text: str) -> str:
    """Write a text so that LaTeX prints it; braces are kept."""
    return "".join(_LATEX.get(c, c) for c in text)


def samples_table(companion: Companion) -> bytes:
    """Every published sound, one a row, as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for part in companion.heard:
        for sample in part.samples:
            for track in sample.tracks:
                about = [part.name, sample.id, track.category, track.title, track.model or "", track.run or ""]
                sound = [sample.duration_s, sample.sample_rate_hz, track.loudness_lufs]
                for file in track.files.values():
                    writer.writerow([file.path, *about, *sound, file.size, file.sha256])
    return text.getvalue().encode()


_COLUMNS = {
    "path": ("sc:Text", "Path of the sound inside the site"),
    "collection": ("sc:Text", "Collection"),
    "sample": ("sc:Text", "Id of the clip"),
    "system": ("sc:Text", "Category of the system; original for the recording"),
    "title": ("sc:Text", "Name of the system"),
    "model": ("sc:Text", "Name of the model"),
    "run": ("sc:Text", "Run that made it"),
    "duration_s": ("sc:Float", "Length in seconds"),
    "sample_rate_hz": ("sc:Integer", "Sample rate in hertz"),
    "loudness_lufs": ("sc:Float", "Loudness by ITU-R BS.1770 in LUFS"),
    "bytes": ("sc:Integer", "Size in bytes"),
    "sha256": ("sc:Text", "SHA-256 of the file"),
}
_CROISSANT_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "equivalentProperty": "cr:equivalentProperty",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "samplingRate": "cr:samplingRate",
    "dataBiases": "cr:dataBiases",
    "dataCollection": "cr:dataCollection",
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "personalSensitiveInformation": "cr:personalSensitiveInformation",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}


def croissant(companion: Companion, table_sha256: str) -> bytes:
    """The sample set in the Croissant format: the table of sounds as a file and a set of records.

    Args:
        companion: The data.
        table_sha256: Of `samples_table`.
    """
    citation = companion.citation
    fields = [
        {
            "@type": "cr:Field",
            "@id": f"sounds/{name}",
            "name": name,
            "description": text,
            "dataType": kind,
            "source": {"fileObject": {"@id": "samples.csv"}, "extract": {"column": name}},
        }
        for name, (kind, text) in _COLUMNS.items()
    ]
    value = {
        "@context": _CROISSANT_CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": f"{companion.site.short_title or companion.site.title}: listening samples",
        "description": companion.site.description or companion.site.title,
        **_known(
            license=(citation.licence if citation else None) or companion.site.licence,
            url=citation.url if citation else None,
            version=citation.version if citation else None,
            datePublished=citation.date if citation else None,
            citeAs=bibtex(citation).decode() if citation else None,
            creator=[_author(citation, index) for index in range(len(citation.authors))] if citation else None,
        ),
        "distribution": [
            {
                "@type": "cr:FileObject",
                "@id": "samples.csv",
                "name": "samples.csv",
                "description": "Every published sound with its path, system, run, level and hash",
                "contentUrl": SAMPLES,
                "encodingFormat": "text/csv",
                "sha256": table_sha256,
            }
        ],
        "recordSet": [
            {
                "@type": "cr:RecordSet",
                "@id": "sounds",
                "name": "sounds",
                "description": "One row a sound",
                "key": {"@id": "sounds/path"},
                "field": fields,
            }
        ],
    }
    return _json(value)


_RUN_PROFILE = "https://w3id.org/ro/wfrun/process/0.5"


def crate(companion: Companion, published: Mapping[str, int]) -> bytes:
    """The site as an RO-Crate of the Workflow Run profiles: every run as an action with its tool, input and result.

    Args:
        companion: The data.
        published: Path of every data document of the site -> its size in bytes.
    """
    citation = companion.citation
    authors = [] if citation is None else [_crate_author(citation, index) for index in range(len(citation.authors))]
    actions = list(_actions(companion, published))
    root = {
        "@id": "./",
        "@type": "Dataset",
        "name": companion.site.title,
        "description": companion.site.description or companion.site.title,
        "datePublished": (citation.date if citation else None) or companion.site.date or _newest(companion),
        "license": {"@id": "#licence"},
        "conformsTo": [{"@id": _RUN_PROFILE}],
        "hasPart": [{"@id": path} for path in sorted(published)],
        "mentions": [{"@id": action["@id"]} for action in actions if action["@type"] == "CreateAction"],
        **_known(author=[{"@id": author["@id"]} for author in authors]),
    }
    licence = (citation.licence if citation else None) or companion.site.licence or "not stated"
    graph: list[dict[str, Any]] = [
        {
            "@id": CRATE,
            "@type": "CreativeWork",
            "conformsTo": {"@id": "https://w3id.org/ro/crate/1.1"},
            "about": {"@id": "./"},
        },
        root,
        {"@id": _RUN_PROFILE, "@type": "CreativeWork", "name": "Process Run Crate", "version": "0.5"},
        {"@id": "#licence", "@type": "CreativeWork", "name": licence, "description": companion.site.licence or licence},
        *authors,
        *(
            {
                "@id": path,
                "@type": "File",
                "name": PurePosixPath(path).name,
                "encodingFormat": "application/json" if path.endswith("json") else "application/yaml",
                "contentSize": str(size),
            }
            for path, size in sorted(published.items())
        ),
        *actions,
    ]
    return _json({"@context": "https://w3id.org/ro/crate/1.1/context", "@graph": graph})


def _newest(companion: Companion) -> str:
    return max((str(run.raw.get("created") or "") for run in companion.runs.values()), default="")[:10] or "1970-01-01"


def _crate_author(citation: Citation, index: int) -> dict[str, Any]:
    author = _author(citation, index)
    person = citation.authors[index]
    return {**author, "@id": person.orcid or f"#author-{index + 1}", **_known(affiliation=person.affiliation)}


def _actions(companion: Companion, published: Mapping[str, int]) -> Iterator[dict[str, Any]]:
    seen: set[str] = set()

    def once(entity: dict[str, Any]) -> Iterator[dict[str, Any]]:
        if entity["@id"] not in seen:
            seen.add(entity["@id"])
            yield entity

    for run in companion.runs.values():
        raw = run.raw
        code = raw["code"] if isinstance(raw.get("code"), Mapping) else {}
        tool = f"#code-{str(code.get('commit') or 'unknown')[:12]}"
        yield from once(
            {
                "@id": tool,
                "@type": "SoftwareApplication",
                "name": "Earwitness",
                **_known(softwareVersion=code.get("commit"), sha256=code.get("sha256")),
            }
        )
        given = []
        corpora = [raw["corpus"]] if isinstance(raw.get("corpus"), Mapping) else []
        for corpus in corpora:
            name = f"#corpus-{str(corpus.get('content_sha256') or corpus.get('name'))[:16]}"
            given.append({"@id": name})
            about = _known(name=str(corpus.get("name")), sha256=corpus.get("content_sha256"), size=corpus.get("clips"))
            yield from once({"@id": name, "@type": "Dataset", **about, "description": "Held-out recordings"})
        for model in raw.get("models") or []:
            checkpoint = model.get("checkpoint") if isinstance(model, Mapping) else None
            if isinstance(checkpoint, Mapping) and checkpoint.get("sha256"):
                name = f"#weights-{checkpoint['sha256'][:16]}"
                given.append({"@id": name})
                about = {
                    "name": f"Weights of {model.get('title') or model.get('name')}",
                    "sha256": checkpoint["sha256"],
                }
                yield from once({"@id": name, "@type": "CreativeWork", **about})
        results = [f"data/runs/{run.path.name}"]
        for collection in companion.collections:
            if collection.results and collection.results.run == run.id:
                results += [f"data/results/{collection.name}.json", f"data/clips/{collection.name}.json"]
                results += [f"data/{collection.name}.yml", f"data/{collection.name}_worst.yml"]
        pages = [run_path(run.id)]
        for study in companion.studies:
            if study.findings and study.findings.run == run.id:
                results.append(f"data/studies/{study.name}.json")
                pages.append(study_path(study.name))
        yield {
            "@id": f"#run-{run.id}",
            "@type": "CreateAction",
            "name": f"Run {run.id}",
            "description": str(raw.get("command") or ""),
            "instrument": {"@id": tool},
            "object": list({entry["@id"]: entry for entry in given}.values()),
            "result": [{"@id": path} for path in dict.fromkeys(results) if path in published],
            "actionStatus": "http://schema.org/CompletedActionStatus",
            "potentialAction": reproduce_command(raw),
            "url": pages[-1],
            **_known(startTime=raw.get("created")),
        }


FILTERS = {"bibtex_text": lambda citation: bibtex(citation).decode().strip(), "citation_tags": tags}
