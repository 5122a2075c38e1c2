"""What every front end's settings share: a name, a JSON form and a hash."""

from __future__ import annotations

import dataclasses
import hashlib
import json


class SettingsMixin:
    """JSON form and hash of a frozen dataclass of settings.

    Two front ends with equal hashes make equal features; a checkpoint stores the hash of its own.
    """

    def as_dict(self) -> dict[str, object]:
        """Settings as JSON-able values, with the kind of front end."""
        assert dataclasses.is_dataclass(self) and not isinstance(self, type)
        return {"kind": type(self).__name__, **dataclasses.asdict(self)}

    def sha256(self) -> str:
        """Hash of the settings."""
        text = json.dumps(self.as_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()
