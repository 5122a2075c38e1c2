"""The data documents that the site is made of, written whole and held against their schema first.

The YAML says the same to every reader: texts that YAML 1.1 or 1.2 could take for a number, a date, a time or a truth
value are quoted, keys keep their order, and no tag or anchor occurs.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from eval.audio_io import make_folder, write_text
from models.errors import ManifestError

SCHEMA_VERSION = 1
SCHEMA_FOLDER = Path(__file__).resolve().parent.parent / "_data" / "schema"

_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_./ +()-]*[A-Za-z0-9_./)]|[A-Za-z]")
_WORDS = frozenset(("y", "n", "yes", "no", "true", "false", "on", "off", "null", "none", "nan", "inf"))


class _Dumper(yaml.SafeDumper):
    """Quotes every text that is not plainly a word."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    plain = _PLAIN.fullmatch(value) is not None and value.lower() not in _WORDS and ": " not in value
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=None if plain else '"')


_Dumper.add_representer(str, _text)


def to_yaml(document: Mapping[str, Any]) -> str:
    """A document as YAML text, keys in their order."""
    return yaml.dump(
        document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=False, width=10_000
    )


def plain(value: Any) -> Any:
    """A value as JSON and YAML know it: numbers from arrays become numbers, what is not finite becomes None.

    Anything of another kind becomes its text.
    """
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (str, bool, int)) or value is None:
        return str(value) if isinstance(value, str) else value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if hasattr(value, "item"):
        return plain(value.item())
    return str(value)


@cache
def _validator(kind: str) -> Any:
    import jsonschema

    schema = json.loads((SCHEMA_FOLDER / f"{kind}.json").read_text(encoding="utf-8"))
    return jsonschema.Draft202012Validator(schema)


def check(document: Any, kind: str, path: Path) -> None:
    """Hold a document against its schema.

    Raises:
        ManifestError: Naming file, field and value of the first thing that is wrong.
    """
    errors = sorted(_validator(kind).iter_errors(document), key=lambda e: [str(part) for part in e.absolute_path])
    if errors:
        field = ".".join(str(part) for part in errors[0].absolute_path) or "the document"
        raise ManifestError(f"{path}: {field}: {errors[0].message[:300]}")


def write_yaml(path: Path, document: Mapping[str, Any], kind: str) -> None:
    """Check and write a YAML document.

    Raises:
        ManifestError: If it does not hold its schema.
        OutputError: If it cannot be written.
    """
    document = plain(document)
    check(document, kind, path)
    _write(path, to_yaml(document))


def write_json(path: Path, document: Mapping[str, Any], kind: str) -> None:
    """Check and write a JSON document.

    Raises:
        ManifestError: If it does not hold its schema.
        OutputError: If it cannot be written.
    """
    document = plain(document)
    check(document, kind, path)
    _write(path, json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def _write(path: Path, text: str) -> None:
    make_folder(path.parent)
    write_text(path, text)


def read_site(path: Path) -> dict[str, Any]:
    """Read and check ``_data/site.yml``.

    Raises:
        ManifestError: If it is missing, not YAML, or does not hold its schema.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ManifestError(f"{path}: there is no such file; a companion needs one") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ManifestError(f"{path}: cannot be read ({error})") from None
    try:
        document = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f":{mark.line + 1}" if mark else ""
        raise ManifestError(f"{path}{where}: not YAML ({getattr(error, 'problem', None) or error})") from None
    if isinstance(document, dict) and document.get("date") is not None:
        document["date"] = str(document["date"])
    check(document, "site", path)
    return dict(document)


# Names that a sample's fields have of their own; a corpus label of the same name gives way.
RESERVED = frozenset(
    (
        "sample_rate_hz",
        "duration_s",
        "bits",
        "clip_id",
        "study",
        "group",
        "systems",
        "files",
        "loudness_lufs",
        "gain_db",
        "peak_dbfs",
        "scores",
        "failures",
        "pictures",
        "selection",
    )
)


def sample_labels(labels: Mapping[str, Any], longest: int = 400) -> dict[str, Any]:
    """Labels fit for a manifest: plain values only, long lists replaced by their length.

    A list of notes of ten seconds of music would otherwise outweigh the rest of the page's data.
    """
    fit: dict[str, Any] = {}
    for key, value in labels.items():
        name = str(key)
        if name in RESERVED:
            name = f"label_{name}"
        if isinstance(value, (list, tuple)) and len(value) > 16:
            fit[f"{name}_count"] = len(value)
        elif isinstance(value, str) and len(value) > longest:
            fit[name] = value[: longest - 1] + "…"
        else:
            fit[name] = value
    return fit


def spoken_label(clip_id: str, labels: Mapping[str, Any]) -> str:
    """What a clip is, in a few words for a text alternative."""
    family, pitch = labels.get("instrument_family_str"), labels.get("pitch")
    if isinstance(family, str) and isinstance(pitch, int):
        return f"{family.replace('_', ' ')} at MIDI pitch {pitch}"
    for key in ("composition", "title", "work"):
        if isinstance(labels.get(key), str) and labels[key].strip():
            return " ".join(str(labels[key]).split())[:120]
    return clip_id[:120]


def score_entry(value: float | None, status: str, reason: str | None) -> dict[str, Any]:
    """A score as it stands in a manifest."""
    entry: dict[str, Any] = {"value": value, "status": status}
    if reason is not None:
        entry["reason"] = reason
    return entry


def categories(models: Sequence[str]) -> dict[str, str]:
    """Category of every model: the first is ``reconstruction``, the others go by their own name."""
    names: dict[str, str] = {}
    for index, model in enumerate(models):
        base = "reconstruction" if index == 0 else re.sub(r"[^A-Za-z0-9_]+", "_", model).strip("_") or "model"
        if not base[0].isalpha():
            base = f"model_{base}"
        name, number = base, 2
        while name in (*names.values(), "original"):
            name, number = f"{base}_{number}", number + 1
        names[model] = name
    return names
