"""The verbs for what stands recorded: their exit statuses, and one line for whatever is wrong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from eval.__main__ import main
from tests.eval.stores import write_store

ROOT = Path(__file__).parents[2]


@pytest.fixture
def stores(tmp_path: Path) -> tuple[Path, Path]:
    clips = np.random.default_rng(0).normal(10.0, 3.0, 20)
    loss = np.random.default_rng(1).normal(1.0, 0.1, 20)
    before = write_store(tmp_path / "a", {"m": {"si_sdr": clips.tolist()}, "n": {"si_sdr": (clips + 1).tolist()}})
    after = write_store(tmp_path / "b", {"m": {"si_sdr": (clips - loss).tolist()}, "n": {"si_sdr": clips.tolist()}})
    return before, after


def test_report_prints_or_writes(stores: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(stores[0])]) == 0
    out = capsys.readouterr().out
    assert "si_sdr (dB, higher is better)" in out and "difference to n" in out
    assert main(["report", str(stores[0]), "--format", "latex", "--output", str(tmp_path / "t.tex")]) == 0
    assert "(2 rows)" in capsys.readouterr().out and r"\toprule" in (tmp_path / "t.tex").read_text()


def test_compare_tells_by_its_status(stores: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    before, after = map(str, stores)
    assert main(["compare", before, before]) == 0
    assert main(["compare", after, before]) == 0
    assert main(["compare", before, after]) == 1
    assert "worse: si_sdr of m" in capsys.readouterr().out


def test_verify_tells_by_its_status(stores: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    # The rows name files that nobody wrote.
    assert main(["verify", str(stores[0])]) == 1
    out = capsys.readouterr().out
    assert out.count(": outputs.m.clip_") == 20 and out.splitlines()[-1].startswith("verified: ")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["report", "{tmp}/missing"], "no such file"),
        (["report", "{tmp}/a", "--format", "parquet"], "--output"),
        (["report", "{tmp}/a", "--metric", "nosuch"], "nosuch"),
        (["report", "{tmp}/a", "--format", "html"], "--format"),
        (["compare", "{tmp}/a", "{tmp}/missing"], "no such file"),
        (["compare", "{tmp}/a"], "required: B"),
        (["verify", "{tmp}/missing"], "no such folder"),
        (["verify", "{tmp}"], "neither _data/ nor"),
        (["reproduce", "{tmp}/missing"], "no such file"),
        (["reproduce", "{tmp}/a"], "is unknown"),
        (["reproduce", "{tmp}/a", "--tolerance", "-1"], "tolerance is -1"),
    ],
)
def test_wrong_input_is_one_line_and_status_two(
    stores: tuple[Path, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    words: str,
) -> None:
    (tmp_path / "toys").mkdir()
    told = [text.replace("{tmp}", str(tmp_path)) for text in arguments]
    if arguments[0] == "reproduce":
        told += ["--corpus", str(tmp_path / "toys")]
    try:
        status = main(told)
    except SystemExit as stop:
        status = int(stop.code or 0)
    out, err = capsys.readouterr()
    assert (status, out, len(err.splitlines())) == (2, "", 1), err
    assert err.startswith("error: ") and words in err


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys\nfrom eval.__main__ import main\n"
        "try:\n    main(['compare', '--help'])\nexcept SystemExit:\n    pass\n"
        "print(sorted({'torch', 'numpy', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "Exit status: 0 nothing is worse" in done.stdout and done.stdout.splitlines()[-1] == "[]"
