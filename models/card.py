"""Cards of checkpoints: plain JSON, readable without torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from models.errors import CheckpointError

WEIGHTS = "model.safetensors"
CARD = "card.json"
CARD_VERSION = 1


def read_card(folder: Path) -> dict[str, Any]:
    """Card of a checkpoint folder.

    Raises:
        CheckpointError: If it is missing, not JSON or of another version.
    """
    path = folder / CARD
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise CheckpointError(f"{path}: missing; a checkpoint folder holds {WEIGHTS} and {CARD}") from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read as JSON: {error}") from None
    if not isinstance(card, dict) or card.get("schema_version") != CARD_VERSION:
        raise CheckpointError(f"{path}: schema_version is not {CARD_VERSION}")
    return card
