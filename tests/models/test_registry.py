import subprocess
import sys
from pathlib import Path

import pytest

from models import registry
from models.errors import CheckpointError, InputError


def test_known_models() -> None:
    assert {"vqvae2", "griffin_lim", "mel_if"} <= set(registry.MODELS)
    assert all(registry.entry(name).name == name for name in registry.MODELS)
    assert all(line.kind in ("system", "generator", "judge") for line in registry.MODELS.values())


def test_unknown_name_lists_the_known() -> None:
    with pytest.raises(InputError, match=r"'wavenet' is unknown; known: vqvae2, .*griffin_lim, mel_if"):
        registry.entry("wavenet")


@pytest.mark.parametrize("name", ["griffin_lim", "mel_if"])
def test_models_without_weights_load(name: str, tmp_path: Path) -> None:
    system = registry.load(name)
    assert (system.name, system.title) == (name, registry.entry(name).title)
    with pytest.raises(InputError, match="no weights"):
        registry.load(name, checkpoint=tmp_path)


def test_fingerprint_follows_the_files(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"model\.safetensors: cannot be read"):
        registry.fingerprint("vqvae2", tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"1")
    (tmp_path / "card.json").write_text("{}")
    first = registry.fingerprint("vqvae2", tmp_path)
    assert registry.fingerprint("vqvae2", tmp_path) == first
    (tmp_path / "card.json").write_text("{} ")
    second = registry.fingerprint("vqvae2", tmp_path)
    assert len({first, second, registry.fingerprint("griffin_lim", None)}) == 3


@pytest.mark.parametrize(
    "statement",
    [
        "from models import registry; registry.fingerprint('mel_if', None)",
        "import models.__main__ as m; m.main(['list'])",
        "import models.__main__ as m; m.main(['card', 'griffin_lim'])",
        "import models.card",
    ],
)
def test_nothing_heavy_is_imported(statement: str) -> None:
    code = f"import sys; {statement}; print([m for m in ('torch', 'numpy', 'librosa') if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=Path(__file__).resolve().parents[2],
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "[]"
