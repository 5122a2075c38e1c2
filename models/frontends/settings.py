"""What every front end's settings share: a name, a JSON form and a hash."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any


class SettingsMixin:
    """JSON form and hash of a frozen dataclass of settings.

    Two front ends with equal hashes make equal features; a checkpoint stores the hash of its own. A field made with
    `later` is left out while it stands at its default, so that settings keep the hash they had before it.
    """

    def as_dict(self) -> dict[str, object]:
        """Settings as JSON-able values, with the kind of front end."""
        return {"kind": type(self).__name__, **plain(self)}

    def sha256(self) -> str:
        """Hash of the settings."""
        text = json.dumps(self.as_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


def later(default: Any) -> Any:
    """Field of a settings dataclass that older hashes must not notice."""
    return dataclasses.field(default=default, metadata={"later": True})


def plain(settings: Any) -> dict[str, object]:
    """Fields of a settings dataclass as JSON-able values, without later ones that stand at their default."""
    out: dict[str, object] = {}
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if field.metadata.get("later") and value == field.default:
            continue
        out[field.name] = plain(value) if dataclasses.is_dataclass(value) else value
    return out
