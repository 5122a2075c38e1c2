import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from models.errors import CorpusError
from models.training.data import (
    Augmentation,
    ClipStore,
    draw_batch,
    draw_rows,
    draw_segments,
    parse_stream,
    read_clips,
    stream_command,
)

SAMPLES = 1000


def stream_bytes(clips: list[tuple[str, str, np.ndarray]], *, end: bool = True, rate: int = 16_000) -> bytes:
    parts = []
    for clip_id, corpus, samples in clips:
        head = {"clip_id": clip_id, "corpus": corpus, "frames": len(samples), "sample_rate_hz": rate}
        parts.append(json.dumps(head).encode() + b"\n" + samples.astype("<f4").tobytes())
    if end:
        parts.append(json.dumps({"end": True, "corpora": [{"root_name": "a"}]}).encode() + b"\n")
    return b"".join(parts)


def ramp(scale: float) -> np.ndarray:
    return np.linspace(-scale, scale, SAMPLES)


CLIPS = [("n-0", "a", ramp(0.5)), ("n-1", "b", ramp(1.0)), ("ü 2", "b", ramp(0.1))]


def store(n_a: int = 4, n_b: int = 12) -> ClipStore:
    """Clips whose samples are their number: 0 and up in the first corpus, 100 and up in the second."""
    values = [*range(n_a), *range(100, 100 + n_b)]
    pcm = torch.tensor(values, dtype=torch.int16)[:, None].expand(-1, 64).clone()
    index = torch.tensor([0] * n_a + [1] * n_b)
    return ClipStore(pcm, tuple(f"clip-{v}" for v in values), index, (), 16_000)


def test_stream_round_trip() -> None:
    seen: list[int] = []
    found = parse_stream(io.BytesIO(stream_bytes(CLIPS)), samples=SAMPLES, progress=seen.append)
    assert found.clip_ids == ("n-0", "n-1", "ü 2")
    assert found.corpus_index.tolist() == [0, 1, 1]
    assert found.corpora == ({"root_name": "a"},)
    assert seen == [1, 2, 3]
    back = found.waveforms(torch.tensor([1])).numpy()[0]
    np.testing.assert_allclose(back, ramp(1.0), atol=1 / 32767)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "broke off"),
        (stream_bytes(CLIPS, end=False), "broke off after 3 clips"),
        (stream_bytes(CLIPS)[:2000], "broke off inside"),
        (b"hello\n", "not JSON"),
        (stream_bytes([]), "no clip"),
        (stream_bytes([("x", "a", np.zeros(7))]), "7 samples"),
        (stream_bytes([("x", "a", np.full(SAMPLES, np.nan))]), "not numbers"),
        (stream_bytes(CLIPS, end=False) + stream_bytes(CLIPS, rate=8000), "another sample rate"),
    ],
)
def test_broken_streams(data: bytes, words: str) -> None:
    with pytest.raises(CorpusError, match=words):
        parse_stream(io.BytesIO(data), samples=SAMPLES)


def child(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_child_process_is_read(tmp_path: Path) -> None:
    file = tmp_path / "stream"
    file.write_bytes(stream_bytes(CLIPS))
    # More messages than a pipe holds must not stop the child.
    code = f"import sys; sys.stderr.write('note\\n' * 50_000);sys.stdout.buffer.write(open({str(file)!r}, 'rb').read())"
    found = read_clips([], sample_rate_hz=16_000, clip_s=SAMPLES / 16_000, command=child(code))
    assert len(found) == 3


def test_child_errors_come_through() -> None:
    code = "import sys; print('error: corpus x: no such folder', file=sys.stderr); sys.exit(2)"
    with pytest.raises(CorpusError, match=r"^corpus x: no such folder \(corpus reader ended with status 2\)"):
        read_clips([], sample_rate_hz=16_000, clip_s=1.0, command=child(code))


def test_command_asks_for_training_clips_only() -> None:
    command = stream_command([Path("a"), Path("b")], rule="instrument", sample_rate_hz=16_000, clip_s=4.0)
    assert command[1:4] == ["-m", "eval.corpora", "stream"]
    assert command.count("--corpus") == 2
    assert command[command.index("--split") + 1] == "train"
    assert command[command.index("--rule") + 1] == "instrument"


def test_batches_follow_seed_and_step_only() -> None:
    clips = store()
    first = draw_batch(clips, batch_size=8, seed=3, step=17)
    draw_batch(clips, batch_size=8, seed=3, step=18)
    assert torch.equal(first, draw_batch(clips, batch_size=8, seed=3, step=17))
    assert not torch.equal(first, draw_batch(clips, batch_size=8, seed=4, step=17))


def test_corpora_are_drawn_equally_often() -> None:
    drawn = draw_batch(store(2, 400), batch_size=2000, seed=0, step=0)[:, 0] * 32767
    share = float((drawn < 50).float().mean())
    assert share == pytest.approx(0.5, abs=0.05)


def test_split_does_not_depend_on_company() -> None:
    clips = store(50, 500)
    training, validation = clips.split(0.1)
    assert len(training) + len(validation) == 550
    assert 25 < len(validation) < 90
    assert not set(training.clip_ids) & set(validation.clip_ids)
    assert set(store(50, 100).split(0.1)[1].clip_ids) <= set(validation.clip_ids)


def test_augmentation_keeps_bounds_and_length() -> None:
    x = 0.9 * torch.sin(torch.arange(64_000) * 0.2)[None].repeat(32, 1)
    generator = torch.Generator().manual_seed(0)
    y = Augmentation()(x, 16_000, generator)
    assert y.shape == x.shape
    assert float(y.abs().max()) <= 1.0 + 1e-6
    levels = y.abs().amax(1)
    assert float(levels.max() - levels.min()) > 0.2
    peaks = torch.fft.rfft(y).abs().argmax(1).float()
    ratio = peaks / torch.fft.rfft(x).abs().argmax(1)
    assert float(ratio.min()) > 2 ** (-1.1 / 12)
    assert float(ratio.max()) < 2 ** (1.1 / 12)
    assert len(ratio.unique()) > 5


def test_augmentation_of_nothing_changes_nothing() -> None:
    x = torch.rand(3, 500) * 0.5
    y = Augmentation(gain_db=0.0, shift_s=0.0, semitones=0.0)(x, 16_000, torch.Generator().manual_seed(0))
    torch.testing.assert_close(y, x)


def test_labels_and_groups_come_with_the_clips() -> None:
    head = {"clip_id": "a", "corpus": "c", "frames": 2, "sample_rate_hz": 8000, "group": "g", "labels": {"pitch": 61}}
    data = json.dumps(head).encode() + b"\n" + np.zeros(2, "<f4").tobytes() + b'{"end": true}\n'
    found = parse_stream(io.BytesIO(data), samples=2)
    assert found.labels == ({"pitch": 61},)
    assert found.groups == ("g",)
    rest, validation = found.split(0.0)
    assert (rest.labels, rest.groups, validation.labels) == (found.labels, found.groups, ())


def test_rows_are_those_of_the_batch() -> None:
    clips = store()
    rows = draw_rows(clips, batch_size=8, seed=3, step=17)
    assert torch.equal(clips.waveforms(rows), draw_batch(clips, batch_size=8, seed=3, step=17))


def test_segments_come_from_inside_the_clips() -> None:
    ramp_store = ClipStore(torch.arange(1000, dtype=torch.int16)[None], ("a",), torch.tensor([0]), (), 8000)
    drawn = draw_segments(ramp_store, batch_size=64, samples=100, seed=1, step=2) * 32767
    starts = drawn[:, 0].round()
    torch.testing.assert_close(drawn, starts[:, None] + torch.arange(100.0), rtol=0, atol=1e-3)
    assert float(starts.min()) >= 0
    assert float(starts.max()) <= 900
    assert len(starts.unique()) > 20
    assert torch.equal(drawn, draw_segments(ramp_store, batch_size=64, samples=100, seed=1, step=2) * 32767)
    with pytest.raises(ValueError, match="shorter than segments"):
        draw_segments(ramp_store, batch_size=1, samples=1001, seed=1, step=2)


def test_silent_segments_are_drawn_again() -> None:
    pcm = torch.zeros(1, 1000, dtype=torch.int16)
    pcm[0, ::200] = 100
    quiet = ClipStore(pcm, ("a",), torch.tensor([0]), (), 8000)
    drawn = draw_segments(quiet, batch_size=64, samples=120, seed=1, step=2)
    assert float((drawn.abs().amax(1) > 0).float().mean()) > 0.95
