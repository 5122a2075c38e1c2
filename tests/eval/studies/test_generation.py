from pathlib import Path

import numpy as np
import pytest
import torch

from eval.studies import codemap_notes, generation
from eval.studies.codemap_notes import Note, per_cell
from eval.studies.context import make_context
from eval.studies.generation import OURS, REAL, SAMPLINGS, claim, judge, pitch_table, training_words, unigram_bits
from models.codemap_transformer import FAMILIES
from models.codemaps import TopPrior
from tests.models.codemap_fakes import BOTTOM, TOP, write_prior, write_vqvae
from tests.signals import harmonic, noise


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("codemaps")
    vqvae = write_vqvae(root / "vqvae2")
    return {
        "vqvae2": vqvae,
        "codemap_top": write_prior(root / "top", TOP, vqvae),
        "codemap_bottom": write_prior(root / "bottom", BOTTOM, vqvae),
    }


def note(pitch: int, family: str = "flute", sounding: float | None = None) -> Note:
    frequency_hz = 440.0 * 2 ** (((pitch if sounding is None else sounding) - 69) / 12)
    return Note(f"{family}-{pitch}", family, pitch, family, harmonic(frequency_hz, 4.0))


def test_verdicts() -> None:
    notes = [note(60), note(60, sounding=60.7), note(60, sounding=48), note(60, sounding=59.6)]
    judged = judge([n.waveform for n in notes], notes)
    assert judged == [(True, "right"), (False, "another pitch"), (False, "octaves off"), (True, "right")]
    silence = np.zeros(64_000, np.float32)
    assert judge([silence, noise(4.0)], notes[:2]) == [(False, "no pitch that both estimators find")] * 2


def test_table_counts_by_family() -> None:
    notes = [note(60), note(62), note(64, "bass")]
    table = pitch_table({REAL: [(True, "right"), (False, "octaves off"), (True, "right")]}, notes, 0)
    cells = table.rows[0].cells
    assert cells["all"].value == pytest.approx(200 / 3)
    assert cells["flute"].value == 50.0
    assert cells["bass"].value == 100.0
    assert cells["vocal"].value is None
    assert cells["vocal"].reason == "no held-out note"
    assert table.rows[0].note == "1 octaves off"
    assert [c.key for c in table.columns] == ["all", *FAMILIES]


def test_claim_states_the_ceiling_and_the_misses() -> None:
    right, wrong = (True, "right"), (False, "octaves off")
    verdicts = {REAL: [right] * 10, generation.CODED: [right] * 9 + [wrong], OURS: [right] * 7 + [wrong] * 3}
    met = claim(verdicts)
    assert met.met
    assert met.figure == "70.0 % of 10 requests; of the real notes 100.0 %, of these coded and decoded 90.0 %"
    missed = claim({**verdicts, OURS: [right] * 6 + [wrong] * 4})
    assert not missed.met
    assert missed.reason == "4 octaves off"
    missed = claim({**verdicts, OURS: [right] * 6 + [wrong] * 4}, "it learned for an hour")
    assert missed.reason == "4 octaves off; it learned for an hour"


def test_words_on_training_follow_the_card(checkpoints: dict[str, Path]) -> None:
    prior = TopPrior(checkpoint=checkpoints["codemap_top"])
    assert training_words(prior) == ""
    prior.card |= {"step": 1500, "training": {"batch_size": 16}, "clips": {"training": 6000, "validation": 10}}
    assert "1,500 steps, 4.0 times its 6,000 notes" in training_words(prior)


def test_cells_come_from_other_notes() -> None:
    codes = torch.arange(5)[:, None, None].expand(5, 32, 4) + 10 * torch.arange(128).reshape(32, 4)
    drawn = per_cell(codes, torch.Generator().manual_seed(0))
    assert torch.equal(drawn // 10 * 10, codes // 10 * 10)
    assert not (drawn == codes).any()
    assert len({int(v) % 10 for v in drawn[0].flatten()}) == 4
    with pytest.raises(ValueError, match="two maps"):
        per_cell(codes[:1], torch.Generator())


def test_unigram_of_uniform_codes_is_their_number_in_bits() -> None:
    codes = torch.randint(16, (200, 32, 4), generator=torch.Generator().manual_seed(0))
    assert np.mean(unigram_bits(codes, 16)) == pytest.approx(4.0, abs=0.01)
    assert np.mean(unigram_bits(torch.zeros(200, 32, 4, dtype=torch.int64), 16)) < 0.01


def test_measured_and_listened(checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    found = codemap_notes.notes(make_context(seed=0), 4)
    assert len({n.name for n in found}) == 4
    monkeypatch.setattr(generation, "notes", lambda context: found)
    monkeypatch.setattr(generation, "SAMPLINGS", {OURS: SAMPLINGS[OURS]})
    said: list[str] = []
    context = make_context(seed=0, checkpoints=checkpoints, note=said.append)
    measured = generation.measure(context)
    pitches, likelihood = measured.tables
    assert [row.label for row in pitches.rows] == [REAL, generation.CODED, OURS, generation.REDRAWN, generation.UNIGRAM]
    assert pitches.rows[0].cells["all"].value == 75.0
    for row in likelihood.rows:
        for cell in row.cells.values():
            # Untrained networks over 32 codes are near five bits.
            assert cell.value is not None
            assert 2.0 < cell.value < 8.0
    assert len(measured.claims) == 1
    assert said
    monkeypatch.setattr(generation, "LISTENED", ((60, found[0].family),))
    rows = generation.listen(context)
    assert [len(row.tracks) for row in rows] == [2, 2]
    assert all(track.waveform.shape == (64_000,) for row in rows for track in row.tracks)
    assert len({row.id for row in rows}) == 2
