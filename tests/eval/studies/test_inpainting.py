from pathlib import Path

import numpy as np
import pytest
import torch

from eval.studies import codemap_notes, inpainting
from eval.studies.base import Cell
from eval.studies.codemap_notes import Note
from eval.studies.context import make_context
from eval.studies.inpainting import (
    CODED,
    OURS,
    REAL,
    UNIGRAM,
    Maps,
    border,
    claims,
    kept_share,
    levels_db,
    preserved_db,
    ratio,
    seam_db,
)
from models.codemap_masks import TASKS, task_masks
from models.frontends.mel_if import MelIF
from tests.models.codemap_fakes import BOTTOM, TOP, write_prior, write_vqvae
from tests.signals import harmonic, noise

TIME, FREQUENCY, BOTTOM_ONLY = TASKS


def test_borders_lie_where_the_maps_have_them() -> None:
    frame, place = border(TIME)
    # Half of 128 columns of 32 ms, in frames of 16 ms.
    assert (frame, place) == (128, None)
    frame, place = border(FREQUENCY)
    assert frame is None
    assert place is not None
    # A tone two bins under the border lies in the lowest quarter of the picture's rows, one two bins above it does not.
    time = torch.arange(64_000) / 16_000
    rows = [
        int(MelIF()(torch.sin(2 * torch.pi * (place + offset) * 16_000 / 1024 * time)[None])[0, 0, :, 60].argmax())
        for offset in (-2, 2)
    ]
    assert rows[0] < 256 <= rows[1]
    assert border(BOTTOM_ONLY) == (None, None)


def test_a_jump_is_seen_at_its_border_only() -> None:
    steady = noise(4.0)
    jump = steady.copy()
    jump[128 * 256 :] *= 0.1
    late = steady.copy()
    late[150 * 256 :] *= 0.1
    seams = [seam_db(levels_db(wave), TIME) for wave in (steady, jump, late)]
    assert seams[0] is not None
    assert seams[1] is not None
    assert seams[1] > seams[0] + 8.0
    assert seams[2] == pytest.approx(seams[0], abs=0.5)
    assert seam_db(levels_db(steady), BOTTOM_ONLY) is None


def test_a_step_of_the_spectrum_is_seen_at_its_border_only() -> None:
    place = border(FREQUENCY)[1]
    assert place is not None
    spectrum = np.fft.rfft(noise(4.0))
    edge = round(place * 16_000 / 1024 * 4)
    seams = []
    for start in (spectrum.size, edge, 4 * edge):
        changed = spectrum.copy()
        changed[start:] *= 0.1
        seams.append(seam_db(levels_db(np.fft.irfft(changed).astype(np.float32)), FREQUENCY))
    assert all(seam is not None for seam in seams)
    assert seams[1] > seams[0] + 8.0  # type: ignore[operator]
    assert seams[2] == pytest.approx(seams[0], abs=0.5)


def test_change_of_the_kept_region_looks_away_from_the_border() -> None:
    before = levels_db(harmonic(220.0, 4.0))
    frame = border(TIME)[0]
    assert frame is not None
    after = before.copy()
    after[:, : frame + 5] += 6.0
    assert preserved_db(after, before, TIME) == 0.0
    after[:, -10:] += 6.0
    assert preserved_db(after, before, TIME) == pytest.approx(60.0 / (before.shape[1] - frame - 22), rel=0.05)
    assert preserved_db(before, before, FREQUENCY) == 0.0
    assert preserved_db(before, before, BOTTOM_ONLY) is None


def test_kept_tokens_are_counted() -> None:
    old = Maps(torch.zeros(2, 32, 4, dtype=torch.int64), torch.zeros(2, 64, 8, dtype=torch.int64))
    masks = task_masks(TIME, (32, 4), 2)
    new = Maps(old.top.clone(), old.bottom.clone())
    new.top[:, masks[0]] = 1
    assert kept_share(new, old, masks) == [1.0, 1.0]
    new.bottom[1, 0, 7] = 1
    assert kept_share(new, old, masks) == [1.0, pytest.approx(1 - 1 / (64 + 256))]


def test_ratio_is_that_of_the_means() -> None:
    notes = [Note(str(i), "bass", 40, i, np.zeros(64_000, np.float32)) for i in range(20)]
    real = [1.0 + 0.1 * (i % 5) for i in range(20)]
    cell = ratio([1.5 * value for value in real], real, notes, 0)
    assert cell.value == pytest.approx(1.5)
    assert cell.low is not None
    assert cell.high is not None
    assert 1.4 < cell.low < 1.5 < cell.high < 1.6
    assert ratio([0.0] * 20, [0.0] * 20, notes, 0).reason


def rows(value: float, low: float) -> dict[str, dict[str, Cell]]:
    return {OURS: {"kept": Cell(100.0), "ratio": Cell(value, low, value + 0.2)}, CODED: {"ratio": Cell(1.1)}}


def test_claims_follow_the_numbers() -> None:
    found = claims({TIME: rows(0.9, 0.8), FREQUENCY: rows(1.2, 1.1)})
    assert [c.met for c in found] == [True, True, False]
    assert (
        found[1].figure == "0.90 times the step of the real notes (95 % interval 0.80 to 1.10); coding alone makes"
        " it 1.10 times"
    )
    assert found[2].reason == "coding without any drawing accounts for 50 % of the excess"
    (_, reaching) = claims({TIME: rows(1.1, 0.95)})
    assert reaching.met
    assert reaching.reason == "the interval reaches down to 1"


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("codemaps")
    vqvae = write_vqvae(root / "vqvae2")
    return {
        "vqvae2": vqvae,
        "codemap_top": write_prior(root / "top", TOP, vqvae),
        "codemap_bottom": write_prior(root / "bottom", BOTTOM, vqvae),
    }


def test_measured_and_listened(checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    found = codemap_notes.notes(make_context(seed=0), 2)
    monkeypatch.setattr(inpainting, "notes", lambda context: found)
    context = make_context(seed=0, checkpoints=checkpoints)
    measured = inpainting.measure(context)
    assert len(measured.tables) == 3
    for table, task in zip(measured.tables, TASKS, strict=True):
        assert [row.label for row in table.rows] == [REAL, CODED, OURS, UNIGRAM]
        ours = table.rows[2].cells
        assert ours["kept"].value == 100.0
        assert (ours["top_bits"].value is None) == (task == BOTTOM_ONLY)
        assert ours["bottom_bits"].value is not None
        assert (ours["preserved"].value is None) == (task == BOTTOM_ONLY)
    assert len(measured.claims) == 3
    assert measured.claims[0].met
    monkeypatch.setattr(inpainting, "LISTENED", (found[0].family,))
    row, painted = inpainting.listen(context)
    assert len(row.tracks) == 5
    assert all(track.waveform.shape == (64_000,) for track in (*row.tracks, *painted.tracks))
    demo = painted.labels["demo"]
    assert demo["kind"] == "mask" and demo["settings"][0] is None
    assert len(demo["settings"]) == len(painted.tracks) == 11
    coded = painted.tracks[0].codes["top"]
    for track, setting in zip(painted.tracks[1:], demo["settings"][1:], strict=True):
        cells = np.array(setting["cells"], dtype=bool)
        drawn = cells.repeat(coded.shape[0] // 4, 0).repeat(coded.shape[1] // 4, 1)
        assert np.array_equal(track.codes["top"][~drawn], coded[~drawn])
        assert setting["region"] in track.title and str(setting["seed"]) in track.title
    assert len({(s["region"], s["seed"]) for s in demo["settings"][1:]}) == 10
