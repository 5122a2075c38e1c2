import shutil
from pathlib import Path

import pytest

from eval.__main__ import main
from eval.merge import merge_stores
from eval.results import ResultsStore
from models.errors import InputError, StoreError
from tests.eval.fakes import make_folder
from tests.eval.test_runner import rows

COMMON = ["--model", "same.yml", "--metric", "waveform_l1", "--rule", "none", "--device", "cpu"]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    make_folder(tmp_path / "in", 12, duration_s=0.2)
    (tmp_path / "code.py").write_text("def same(waveform):\n    return 0.5 * waveform\n")
    (tmp_path / "same.yml").write_text("name: same\nkind: python\ntarget: code.py:same\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(output: str, *options: str) -> int:
    return main(["run", "--corpus", "in", "--output", output, *COMMON, *options])


def test_shards_together_are_the_whole(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("whole") == 0
    counts = []
    for number in (1, 2, 3):
        assert run(f"part{number}", "--shard", f"{number}/3") == 0
        counts.append(len({row[0] for row in rows(place / f"part{number}")}))
    assert sum(counts) == 12 and min(counts) > 0
    capsys.readouterr()
    assert main(["merge", "part1", "part2", "part3", "part2", "--output", "merged"]) == 0
    assert f"12 outputs added, {counts[1]} were there, 12 clips in all" in capsys.readouterr().out
    assert rows(place / "merged") == rows(place / "whole")
    assert run("merged") == 0
    assert "(0 outputs made, 12 kept)" in capsys.readouterr().out


def test_contradictions_are_refused(place: Path) -> None:
    assert run("a", "--limit", "4") == 0
    assert run("b", "--limit", "4") == 0
    (place / "code.py").write_text("def same(waveform):\n    return 0.25 * waveform\n")
    assert run("b", "--limit", "4") == 0
    with ResultsStore(place / "out") as store, pytest.raises(StoreError, match=r"b: its output of 'same' for clip"):
        merge_stores(store, [place / "a", place / "b"])
    with ResultsStore(place / "out") as store, pytest.raises(InputError, match=r"nowhere: holds no results\.sqlite"):
        merge_stores(store, [place / "nowhere"])


@pytest.mark.slow
def test_ray_gives_what_one_process_gives_though_a_worker_dies(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("ray", reason="ray is not installed")
    # The first try of every shard that meets this clip ends as if it had been killed.
    mark = place / "died"
    (place / "code.py").write_text(
        "import os, pathlib\n"
        "def same(waveform):\n"
        f"    mark = pathlib.Path({str(mark)!r})\n"
        "    if not mark.exists():\n"
        "        mark.touch()\n"
        "        os.kill(os.getpid(), 9)\n"
        "    return 0.5 * waveform\n"
    )
    assert run("on_ray", "--engine", "ray", "--shards", "3") == 0
    assert mark.exists()
    assert run("whole") == 0
    assert rows(place / "on_ray") == rows(place / "whole")
    shutil.rmtree(place / "on_ray" / "shards")
    assert run("on_ray") == 0
    assert "(0 outputs made, 12 kept)" in capsys.readouterr().out.splitlines()[-1]


def test_shards_are_checked(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for wrong in ("0/3", "4/3", "x", "1"):
        with pytest.raises(SystemExit) as stopped:
            run("out", "--shard", wrong)
        assert stopped.value.code == 2
        assert "is not a part such as 1/8" in capsys.readouterr().err
    assert run("out", "--engine", "ray", "--shard", "1/2") == 2
    assert "leave --shard out" in capsys.readouterr().err
