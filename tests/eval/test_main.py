from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from eval.__main__ import main
from eval.corpora import LAYOUTS
from eval.metrics import METRICS
from models.registry import MODELS
from tests.eval.fakes import make_folder, write
from tests.signals import tone

ROOT = Path(__file__).parents[2]
RUN = ["--split", "all", "--rule", "none", "--metric", "log_mel_l1", "--device", "cpu"]


def said(capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    caught = capsys.readouterr()
    return caught.out, caught.err


def failed(arguments: list[str], status: int, capsys: pytest.CaptureFixture[str]) -> str:
    """The one line of a command that failed with a status."""
    try:
        found = main(arguments)
    except SystemExit as stop:
        found = int(stop.code or 0)
    out, err = said(capsys)
    lines = [line for line in err.splitlines() if not line.startswith(("evaluate [", "score ["))]
    assert (found, out, len(lines)) == (status, "", 1), (found, out, err)
    assert lines[0].startswith("error: ")
    return lines[0]


def test_list_names_everything(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    out, _ = said(capsys)
    for name in (*MODELS, *LAYOUTS, *METRICS):
        assert f"  {name} " in out
    assert main(["list", "metrics"]) == 0
    out, _ = said(capsys)
    assert len(out.splitlines()) == len(METRICS) and "models" not in out


def test_run_goes_on_and_prints_means(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_folder(tmp_path / "in", 3)
    command = ["run", "--model", "griffin_lim", "--corpus", str(folder), "--output", str(tmp_path / "out"), *RUN]
    assert main([*command, "--limit", "2"]) == 0
    out, err = said(capsys)
    assert "2 clips of in" in out and "2 outputs made, 0 kept" in out and "log_mel_l1 (Np, lower is better)" in out
    assert "2/2 clips" in err and "clips/s" in err
    (folder / "clip_0001.wav").write_bytes(b"junk")
    assert main(command) == 0
    out, err = said(capsys)
    assert "(2 outputs made, 1 kept)" in out and "1 without a value" in out
    assert "warning: 1 of 3 outputs failed" in err and "clip_0001.wav" in err
    with sqlite3.connect(tmp_path / "out" / "results.sqlite") as db:
        assert db.execute("SELECT count(*) FROM runs WHERE document IS NOT NULL").fetchone() == (2,)
        assert db.execute("SELECT count(*) FROM scores").fetchone() == (2,)
    db.close()


def test_several_seeds_have_stores_of_their_own_and_one_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_folder(tmp_path / "in", 4)
    command = ["run", "--model", "griffin_lim", "--corpus", str(folder), "--output", str(tmp_path / "out"), *RUN]
    assert main([*command, "--seeds", "0,1"]) == 0
    out, _ = said(capsys)
    assert out.count("(4 outputs made, 0 kept)") == 2 and "python -m eval report" in out
    assert main([*command, "--seeds", "0,1,2"]) == 0
    assert said(capsys)[0].count("(0 outputs made, 4 kept)") == 2
    assert main(["report", str(tmp_path / "out")]) == 0
    out, _ = said(capsys)
    assert "sd of seeds" in out and "means over 3 seeds" in out
    assert main(["report", *(str(tmp_path / "out" / f"seed_{seed}") for seed in (0, 1))]) == 0
    assert "means over 2 seeds" in said(capsys)[0]
    assert "leave --seed out" in failed([*command, "--seeds", "0,1", "--seed", "3"], 2, capsys)
    assert "different seeds" in failed([*command, "--seeds", "1,1"], 2, capsys)
    assert "above 0" in failed(["report", str(tmp_path / "out"), "--equivalence", "log_mel_l1"], 2, capsys)


def test_run_with_nothing_scored_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.wav").write_bytes(b"junk")
    command = ["run", "--model", "griffin_lim", "--corpus", str(tmp_path / "in"), "--output", str(tmp_path / "o"), *RUN]
    assert "none of 1 clips could be scored" in failed(command, 1, capsys)


def test_wrong_input_is_one_line_and_makes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_folder(tmp_path / "in", 1)
    (tmp_path / "empty").mkdir()
    good = {"--model": "griffin_lim", "--corpus": str(folder), "--output": str(tmp_path / "out"), "--split": "all",
            "--rule": "none"}  # fmt: skip
    cases = [
        ({"--model": "nosuch"}, "vqvae2"),
        ({"--model": "griffin_lim@x"}, "takes no checkpoint"),
        ({"--corpus": str(tmp_path / "nowhere")}, "nowhere"),
        ({"--corpus": str(tmp_path / "empty")}, "empty"),
        ({"--layout": "nsynth"}, "nsynth"),
        ({"--layout": "nosuch"}, "nosuch"),
        ({"--split": "valid"}, "valid"),
        ({"--rule": "nosuch"}, "nosuch"),
        ({"--metric": "nosuch"}, "log_mel_l1"),
        ({"--limit": "0"}, "--limit"),
        ({"--clip-s": "-1"}, "clip_s"),
        ({"--seed": "x"}, "--seed"),
    ]
    for change, part in cases:
        command = ["run", *(word for pair in {**good, **change}.items() for word in pair)]
        assert part in failed(command, 2, capsys)
        assert not (tmp_path / "out").exists()
    assert "VERB" in failed([], 2, capsys)
    assert "--device" not in failed(["run"], 2, capsys)
    command = ["run", *(word for pair in {**good, "--device": "warp"}.items() for word in pair)]
    assert "'warp'" in failed(command, 2, capsys)


def test_bad_checkpoints_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_folder(tmp_path / "in", 1)
    shipped = ROOT / "models" / "checkpoints" / "vqvae2"
    if not (shipped / "model.safetensors").is_file():
        pytest.skip("no checkpoint is shipped")
    weights = bytearray((shipped / "model.safetensors").read_bytes())
    weights[-100] ^= 0xFF
    cases = {
        "missing": None,
        "altered": bytes(weights),
        "pickle": b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00\x8c\x07builtins.",
        "cut": bytes(weights[:5000]),
    }
    for name, data in cases.items():
        checkpoint = tmp_path / name
        checkpoint.mkdir()
        (checkpoint / "card.json").write_bytes((shipped / "card.json").read_bytes())
        if data is not None:
            (checkpoint / "model.safetensors").write_bytes(data)
        command = [
            "run",
            "--model",
            f"vqvae2@{checkpoint}",
            "--corpus",
            str(folder),
            "--output",
            str(tmp_path / "o"),
            *RUN,
        ]
        assert name in failed(command, 1, capsys)


@pytest.mark.parametrize("kind", ["file", "proc", "database"])
def test_an_output_that_cannot_be_used(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_folder(tmp_path / "in", 1)
    output = tmp_path / "out"
    if kind == "file":
        output.write_text("in the way")
    elif kind == "proc":
        output = Path("/proc/nosuch")
    else:
        output.mkdir()
        (output / "results.sqlite").write_text("junk" * 1000)
    command = ["run", "--model", "griffin_lim", "--corpus", str(folder), "--output", str(output), *RUN]
    assert str(output) in failed(command, 1, capsys)


def test_score_prints_intervals_and_warnings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(3):
        write(tmp_path / "r" / f"{number}.wav", tone(300, 0.5))
        write(tmp_path / "e" / f"{number}.wav", (0.9 - 0.1 * number) * tone(300, 0.5))
    write(tmp_path / "e" / "more.wav", tone())
    (tmp_path / "e" / "2.wav").write_bytes(b"junk")
    command = ["score", "--reference", str(tmp_path / "r"), "--estimate", str(tmp_path / "e")]
    command += ["--output", str(tmp_path / "s.csv"), "--metric", "waveform_l1"]
    assert main(command) == 0
    out, err = said(capsys)
    assert "waveform_l1" in out and " to " in out and "(3 pairs)" in out
    assert "1 files have no reference, such as 'more'" in err and "1 pairs failed; first: '2'" in err
    assert (tmp_path / "s.csv").read_text().splitlines()[0] == "clip,metric,value,unit,status,reason"
    assert "two" not in failed([*command[:-1], "nosuch"], 2, capsys)


def test_score_loads_no_model(tmp_path: Path) -> None:
    for folder in ("r", "e"):
        write(tmp_path / folder / "a.wav", tone(300, 0.5))
    program = (
        "import sys; from eval.__main__ import main\n"
        f"assert main(['score', '--reference', {str(tmp_path / 'r')!r}, '--estimate', {str(tmp_path / 'e')!r},"
        f" '--output', {str(tmp_path / 's.csv')!r}]) == 0\n"
        "print([m for m in sys.modules if m.startswith('models.') and m != 'models.errors'])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] in ("[]", "['models.registry']")
