import re
import shutil
import sys
import warnings
from pathlib import Path

import pytest
import torch
import yaml

from eval.evaluation import Evaluation, Finished, describe_systems, evaluate, system_entries
from eval.external import is_external, read_external
from eval.results import ResultsStore
from models.errors import InputError
from tests.eval.fakes import make_folder
from tests.onnx_bytes import halving_model

DOCS = Path(__file__).resolve().parents[2] / "eval" / "docs" / "own_models.md"
RATE = 16_000


def write(folder: Path, **fields: object) -> Path:
    path = folder / f"{fields.get('name', 'mine')}.yml"
    path.write_text(yaml.safe_dump({"name": "mine", **fields}), encoding="utf-8")
    return path


def run(folder: Path, *models: Path) -> tuple[ResultsStore, Finished]:
    corpus = folder / "recordings"
    if not corpus.exists():
        make_folder(corpus, 3)
    wanted = Evaluation(corpus=corpus, models=tuple(map(str, models)), rule="none", metrics=("waveform_l1",))
    store = ResultsStore(folder / "results")
    try:
        return store, evaluate(wanted, store, device="cpu", workers=2)
    except BaseException:
        store.close()
        raise


def save_scripted(module: torch.nn.Module, path: Path) -> None:
    with warnings.catch_warnings():
        # People have such files, whatever newer ways there are to make them.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.script(module).save(str(path))


def statuses(store: ResultsStore, name: str) -> list[tuple[str, str | None]]:
    return [(row.status, row.error) for row in store.outputs(name)]


def code_blocks(text: str, kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", text, re.DOTALL)


def test_the_guide_does_what_it_says(tmp_path: Path) -> None:
    text = DOCS.read_text(encoding="utf-8")
    enhance, halve = code_blocks(text, "python")
    (tmp_path / "enhance.py").write_text(enhance)
    (tmp_path / "halve.py").write_text(halve)
    named = {found["name"]: found for found in map(yaml.safe_load, code_blocks(text, "yaml")) if "name" in found}
    assert set(named) == {"enhance", "halve", "theirs", "scripted"}
    named["halve"]["target"] = named["halve"]["target"].replace("python", sys.executable, 1)
    make_folder(tmp_path / "recordings", 3)
    shutil.copytree(tmp_path / "recordings", tmp_path / "outputs")
    save_scripted(torch.nn.Identity(), tmp_path / "model.pt")
    named["scripted"].pop("sample_rate_hz")
    paths = []
    for name, fields in named.items():
        paths.append(tmp_path / f"{name}.yml")
        paths[-1].write_text(yaml.safe_dump(fields))
    store, finished = run(tmp_path, *paths)
    with store:
        for name in named:
            assert [status for status, _ in statuses(store, name)] == ["ok"] * 3, statuses(store, name)
        values = {name: [v for v, *_ in store.values(name, "waveform_l1").values()] for name in named}
        assert values["theirs"] == [0.0] * 3 and values["scripted"] == [0.0] * 3
        assert all(0 < (e or 0) < (h or 0) for e, h in zip(values["enhance"], values["halve"], strict=True))
        described = {about["name"]: about for about in describe_systems(finished)}
        assert described["enhance"]["summary"] == "Turns everything down a little."
        assert described["enhance"]["title"] == "My enhancer"


def test_a_change_of_a_named_file_makes_its_results_stale(tmp_path: Path) -> None:
    (tmp_path / "code.py").write_text("def same(waveform):\n    return waveform\n")
    path = write(tmp_path, kind="python", target="code.py:same", files=["weights.bin"])
    with pytest.raises(InputError, match=r"weights\.bin: cannot be read"):
        read_external(path)
    (tmp_path / "weights.bin").write_bytes(b"1")
    store, finished = run(tmp_path, path)
    store.close()
    assert finished.report.computed == 3
    store, finished = run(tmp_path, path)
    store.close()
    assert finished.report.computed == 0
    (tmp_path / "weights.bin").write_bytes(b"2")
    store, finished = run(tmp_path, path)
    store.close()
    assert finished.report.computed == 3


def test_a_class_is_made_once_and_sees_batches(tmp_path: Path) -> None:
    (tmp_path / "code.py").write_text(
        "class Model:\n"
        "    def __init__(self, device):\n"
        "        self.device = device\n"
        "    def reconstruct(self, waveform, *, sample_rate_hz, seeds):\n"
        "        assert waveform.ndim == 2 and len(seeds) == len(waveform)\n"
        "        return waveform * 0.5\n"
    )
    store, _ = run(tmp_path, write(tmp_path, kind="python", target="code.py:Model"))
    with store:
        assert [status for status, _ in statuses(store, "mine")] == ["ok"] * 3


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("def f(waveform):\n    return waveform[:-1]\n", "samples for"),
        ("def f(waveform):\n    return waveform * float('nan')\n", "not finite"),
        ("def f(waveform):\n    raise KeyError('lost')\n", "lost"),
        ("def f(waveform):\n    return (waveform * 100).astype(int)\n", "need floats"),
        ("def f(waveform, seed):\n    return waveform if seed % 2 else waveform[:3]\n", ""),
    ],
)
def test_what_fails_is_a_failure_of_its_clip(tmp_path: Path, code: str, said: str) -> None:
    (tmp_path / "code.py").write_text(code)
    (tmp_path / "good.py").write_text("def g(waveform):\n    return waveform\n")
    bad = write(tmp_path, kind="python", target="code.py:f")
    good = write(tmp_path, name="good", kind="python", target="good.py:g")
    store, _ = run(tmp_path, bad, good)
    with store:
        assert [status for status, _ in statuses(store, "good")] == ["ok"] * 3
        failed = [error or "" for status, error in statuses(store, "mine") if status == "failed"]
        assert failed and all(said in error for error in failed), failed


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("{python} -c 'import sys; sys.exit(\"no GPU\")' {{input}} {{output}}", "status 1: no GPU"),
        ("{python} -c pass {{input}} {{output}}", "wrote no"),
        ("no_such_program {{input}} {{output}}", "cannot be run"),
        ("{python} -c 'import time; time.sleep(60)' {{input}} {{output}}", "longer than"),
    ],
)
def test_a_command_that_goes_wrong_says_so(tmp_path: Path, target: str, said: str) -> None:
    path = write(tmp_path, kind="command", target=target.format(python=sys.executable), timeout_s=1.5)
    system = read_external(path).load()
    with pytest.raises(InputError, match=re.escape(said)):
        system.reconstruct(torch.zeros(1, 100) + 0.1, sample_rate_hz=RATE, seeds=[1])


def test_a_folder_that_lacks_a_clip_fails_for_that_clip_alone(tmp_path: Path) -> None:
    make_folder(tmp_path / "recordings", 3)
    shutil.copytree(tmp_path / "recordings", tmp_path / "outputs")
    lost = sorted((tmp_path / "outputs").rglob("*.wav"))[1]
    lost.unlink()
    store, _ = run(tmp_path, write(tmp_path, kind="folder", target="outputs"))
    with store:
        found = statuses(store, "mine")
        assert sorted(status for status, _ in found) == ["failed", "ok", "ok"]
        assert any(error and f"no file for clip {lost.stem!r}" in error for _, error in found)


def test_torchscript_with_channels_is_called_with_them(tmp_path: Path) -> None:
    class Halve(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            assert x.dim() == 3
            return x * 0.5

    save_scripted(Halve(), tmp_path / "m.pt")
    system = read_external(write(tmp_path, kind="torchscript", target="m.pt", channels=True)).load()
    wave = torch.randn(2, 50)
    torch.testing.assert_close(system.reconstruct(wave, sample_rate_hz=RATE, seeds=[0, 1]), wave * 0.5)
    (tmp_path / "m.pt").write_bytes(b"nothing")
    with pytest.raises(InputError, match="no TorchScript file"):
        read_external(tmp_path / "mine.yml").load()


def test_onnx_is_run(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    (tmp_path / "m.onnx").write_bytes(halving_model())
    system = read_external(write(tmp_path, kind="onnx", target="m.onnx")).load()
    wave = torch.randn(2, 50)
    torch.testing.assert_close(system.reconstruct(wave, sample_rate_hz=RATE, seeds=[0, 1]), wave * 0.5)
    (tmp_path / "m.onnx").write_bytes(b"nothing")
    with pytest.raises(InputError, match="no ONNX file"):
        read_external(tmp_path / "mine.yml").load()


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"kind": "python", "target": "code.py"}, r"target is 'code.py', need file.py:name"),
        ({"kind": "magic", "target": "x"}, "kind is 'magic'; known: python, command"),
        ({"kind": "folder", "target": "x", "name": "a b"}, "name is 'a b'"),
        ({"kind": "folder", "target": "x", "rate": 3}, "field 'rate' is unknown"),
        ({"kind": "folder", "target": "x", "sample_rate_hz": "high"}, "sample_rate_hz is 'high', need int"),
        ({"kind": "folder", "target": "x", "sample_rate_hz": 0}, "at least 1"),
        ({"kind": "folder", "target": "x", "timeout_s": 3}, "means nothing for kind 'folder'"),
        ({"kind": "folder"}, "target is missing"),
        ({"kind": "folder", "target": "nowhere"}, "cannot be read"),
    ],
)
def test_wrong_files_are_refused(tmp_path: Path, fields: dict[str, object], said: str) -> None:
    path = tmp_path / "m.yml"
    path.write_text(yaml.safe_dump({"name": "mine", **fields}))
    with pytest.raises(InputError, match=said) as found:
        read_external(path)
    assert "\n" not in str(found.value)


def test_names_may_not_collide(tmp_path: Path) -> None:
    (tmp_path / "code.py").write_text("def f(waveform):\n    return waveform\n")
    taken = write(tmp_path, name="griffin_lim", kind="python", target="code.py:f")
    with pytest.raises(InputError, match="taken by a model of the table"):
        system_entries([str(taken)])
    mine = str(write(tmp_path, kind="python", target="code.py:f"))
    with pytest.raises(InputError, match="named twice"):
        system_entries([mine, mine])
    assert is_external(mine) and not is_external("vqvae2@some/folder")


def test_code_that_cannot_be_imported_is_said(tmp_path: Path) -> None:
    (tmp_path / "code.py").write_text("import no_such_module\n")
    with pytest.raises(InputError, match="No module named 'no_such_module'"):
        read_external(write(tmp_path, kind="python", target="code.py:f")).load()
    (tmp_path / "code.py").write_text("f = 3\n")
    with pytest.raises(InputError, match="neither a function nor a class"):
        read_external(tmp_path / "mine.yml").load()
