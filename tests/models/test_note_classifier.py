import dataclasses
import json
from pathlib import Path

import pytest
import torch

from models import registry
from models.checkpoint import load, save
from models.codemap_transformer import FAMILIES
from models.errors import CheckpointError, CorpusError, InputError
from models.frontends.mel import log_mel
from models.note_classifier import (
    FRONTEND,
    RECIPE,
    NoteClassifier,
    NoteClassifierConfig,
    NoteClassifierTask,
    NoteNetwork,
    NoteTraining,
    transposing_filters,
)
from models.training.data import ClipStore
from models.training.task import TaskContext
from tests.signals import harmonic, tone

RATE_HZ = 16_000
SMALL = NoteClassifierConfig(channels=4, mixed=32, embedding=16)


def write_checkpoint(folder: Path, **card: object) -> Path:
    torch.manual_seed(0)
    network = NoteNetwork(SMALL)
    facts: dict[str, object] = {
        "name": "note_classifier",
        "config": dataclasses.asdict(SMALL),
        "frontend": {"settings": FRONTEND.as_dict(), "sha256": FRONTEND.sha256()},
    }
    save(folder, network.state_dict(), {**facts, **card})
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> NoteClassifier:
    return NoteClassifier(checkpoint=write_checkpoint(tmp_path_factory.mktemp("note_classifier")))


def store() -> ClipStore:
    """Four notes of two families."""
    rows, labels = [], []
    for pitch, family in ((45, "flute"), (57, "organ"), (61, "flute"), (70, "organ")):
        frequency = 440.0 * 2.0 ** ((pitch - 69) / 12)
        make = tone if family == "flute" else harmonic
        rows.append(torch.as_tensor(make(frequency, 1.0)).float())
        labels.append({"pitch": pitch, "instrument_family_str": family})
    pcm = (torch.stack(rows).clamp(-1.0, 1.0) * 32767.0).to(torch.int16)
    names = tuple(f"note-{i}" for i in range(4))
    return ClipStore(pcm, names, torch.zeros(4, dtype=torch.long), ({},), RATE_HZ, tuple(labels))


def task(clips: ClipStore, seed: int = 0, **settings: float) -> NoteClassifierTask:
    still = {"transposed": 0.0, "noise_db": -80.0, "tilt_np": 0.0, "latest_start_s": 0.0, "samples": 16_000}
    chosen = NoteTraining(**{"batch_size": 8, **still, **settings})  # type: ignore[arg-type]
    device = torch.device("cpu")
    return NoteClassifierTask(TaskContext(SMALL, FRONTEND, chosen, clips, clips, seed, device, bfloat16=False))


def test_size() -> None:
    n = sum(p.numel() for p in NoteNetwork(NoteClassifierConfig()).parameters())
    assert n == 293_259
    assert RECIPE.config.n_mels == FRONTEND.n_mels
    assert registry.entry("note_classifier").kind == "judge"


@pytest.mark.parametrize("frames", [1, 16, 63])
def test_shapes(frames: int) -> None:
    embedding, pitch, family = NoteNetwork(SMALL).train(False)(torch.randn(2, 320, frames))
    assert (embedding.shape, pitch.shape, family.shape) == ((2, 16), (2, 128), (2, len(FAMILIES)))


@pytest.mark.slow
def test_a_tiny_set_is_learned_by_heart() -> None:
    made = task(store(), batch_size=4)
    optimiser = torch.optim.AdamW(made.network.parameters(), 1e-2)
    for step in range(60):
        ((_, loss),) = made.losses(step)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    made.network.train(False)
    with torch.no_grad():
        found = made.validate()
    assert found["pitch_accuracy"] == found["family_accuracy"] == found["pitch_class_accuracy"] == 1.0
    assert made.report()["pitch"] < 0.5


def test_batches_repeat_and_labels_follow_the_transposition() -> None:
    clips = store()
    mel, answers = task(clips, transposed=1.0).batch(3)
    again, _ = task(clips, transposed=1.0).batch(3)
    assert torch.equal(mel, again)
    assert not torch.equal(mel, task(clips, seed=1, transposed=1.0).batch(3)[0])
    gaps = {int(a) - int(b) for a in answers[:, 0] for b in torch.tensor([45, 57, 61, 70]) if abs(int(a) - int(b)) < 3}
    assert len(gaps) > 1
    still, plain = task(clips).batch(3)
    assert set(plain[:, 0].tolist()) <= {45, 57, 61, 70}
    assert still.shape == (8, 320, 16)


def test_transposing_filters_move_the_partials() -> None:
    low = torch.as_tensor(tone(440.0, 1.0)).double()[None]
    high = torch.as_tensor(tone(440.0 * 2.0 ** (2 / 12), 1.0)).double()[None]
    from models.frontends.stft import stft

    moved = transposing_filters(FRONTEND, 2.0) @ stft(low, FRONTEND.stft).abs()[0]
    wanted = transposing_filters(FRONTEND, 0.0) @ stft(high, FRONTEND.stft).abs()[0]
    assert int(moved[:, 8].argmax()) == int(wanted[:, 8].argmax())


def test_company_and_level_change_nothing(model: NoteClassifier) -> None:
    clips = store().waveforms(torch.arange(4))
    together = model.judge(clips, sample_rate_hz=RATE_HZ)
    for i in range(4):
        alone = model.judge(clips[i : i + 1], sample_rate_hz=RATE_HZ)
        for ours, theirs in zip(dataclasses.astuple(alone), dataclasses.astuple(together), strict=True):
            assert torch.equal(ours[0], theirs[i])
    assert together.embedding.dtype == torch.float64
    torch.testing.assert_close(together.pitch.sum(1), torch.ones(4, dtype=torch.float64))
    torch.testing.assert_close(together.family.sum(1), torch.ones(4, dtype=torch.float64))
    quieter = model.judge(0.25 * clips, sample_rate_hz=RATE_HZ)
    torch.testing.assert_close(quieter.pitch, together.pitch, atol=1e-4, rtol=1e-3)
    assert model.judge(clips[:0], sample_rate_hz=RATE_HZ).pitch.shape == (0, 128)
    assert torch.isfinite(model.judge(clips[:, :1], sample_rate_hz=RATE_HZ).embedding).all()


def test_saved_network_is_the_one_that_judges(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "a")
    model = NoteClassifier(checkpoint=folder)
    network = NoteNetwork(SMALL)
    network.load_state_dict(load(folder, name="note_classifier").tensors)
    clips = store().waveforms(torch.arange(2))
    with torch.no_grad():
        embedding, pitch, _ = network.train(False)(log_mel(clips, FRONTEND))
    judged = model.judge(clips, sample_rate_hz=RATE_HZ)
    torch.testing.assert_close(judged.embedding, embedding.double(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(judged.pitch, pitch.double().softmax(1), atol=1e-5, rtol=1e-5)
    assert FRONTEND.sha256() in json.dumps(model.describe())


def test_wrong_input_is_refused(model: NoteClassifier, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="sample rate"):
        model.judge(torch.zeros(1, 9000), sample_rate_hz=22_050)
    with pytest.raises(InputError, match="finite"):
        model.judge(torch.full((1, 9000), float("nan")), sample_rate_hz=RATE_HZ)
    with pytest.raises(CheckpointError, match=r"frontend\.sha256"):
        NoteClassifier(checkpoint=write_checkpoint(tmp_path / "b", frontend={"sha256": "0" * 64}))
    with pytest.raises(CheckpointError, match="needs a checkpoint"):
        NoteClassifier(checkpoint=None)
    with pytest.raises(InputError, match="transposed"):
        NoteTraining(transposed=2.0)
    clips = store()
    nameless = dataclasses.replace(clips, labels=({"pitch": 60, "instrument_family_str": "theremin"},) * 4)
    with pytest.raises(CorpusError, match="'theremin'"):
        task(nameless)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_devices_agree(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "a")
    clips = store().waveforms(torch.arange(4))
    ours = NoteClassifier(checkpoint=folder).judge(clips, sample_rate_hz=RATE_HZ)
    theirs = NoteClassifier(checkpoint=folder, device="cuda").judge(clips, sample_rate_hz=RATE_HZ)
    torch.testing.assert_close(ours.pitch, theirs.pitch, atol=1e-3, rtol=1e-3)


@pytest.mark.skipif(not (registry.SHIPPED / "note_classifier").is_dir(), reason="no classifier is shipped yet")
def test_the_shipped_one_says_how_often_it_is_right() -> None:
    model = registry.load("note_classifier")
    found = model.card["losses"]["validation"]
    assert found["pitch_accuracy"] > 0.8
    assert found["family_accuracy"] > 0.6
    text = json.dumps(model.card)
    assert "/work" not in text
    assert "/tmp" not in text
    assert model.card["credits"]
    notes = torch.stack([torch.as_tensor(harmonic(440.0 * 2.0 ** ((p - 69) / 12), 3.0)).float() for p in (48, 60, 72)])
    assert model.judge(notes, sample_rate_hz=RATE_HZ).pitch.argmax(1).tolist() == [48, 60, 72]
