from collections import Counter

from eval.corpora.presets import FAMILIES, HIGHEST_PITCH, LOWEST_PITCH, PRESETS, SOURCES, presets
from eval.corpora.render_music import _HELD_OUT, _TRAINING
from tests.eval.corpora.soundfont import SOUNDFONT, needs_soundfont, preset_samples


def test_families_are_nsynths() -> None:
    assert FAMILIES == {
        "bass": 0, "brass": 1, "flute": 2, "guitar": 3, "keyboard": 4, "mallet": 5, "organ": 6, "reed": 7,
        "string": 8, "synth_lead": 9, "vocal": 10,
    }  # fmt: skip


def test_names_and_numbers_are_unique_and_meet_no_other_collection() -> None:
    assert len({p.instrument_str for p in PRESETS}) == len({p.number for p in PRESETS}) == len(PRESETS)
    for preset in PRESETS:
        assert 500 <= preset.number < 900
        assert 3000 <= preset.instrument < 3400
        assert preset.family in FAMILIES
        assert preset.source in SOURCES
        assert LOWEST_PITCH <= preset.low < preset.high <= HIGHEST_PITCH
    notes = {p.note(pitch, v) for p in PRESETS for pitch in (21, 22, 108) for v in (1, 25, 127)}
    assert len(notes) == 9 * len(PRESETS)
    assert min(notes) >= 1_000_000


def test_every_family_is_on_both_sides_and_mostly_for_training() -> None:
    training = Counter(p.family for p in presets(held_out=False))
    held_out = Counter(p.family for p in presets(held_out=True))
    for family in FAMILIES:
        assert held_out[family] >= 2
        assert training[family] >= 3
    assert sum(held_out.values()) / len(PRESETS) < 0.3


@needs_soundfont
def test_no_recorded_sample_is_on_both_sides() -> None:
    assert SOUNDFONT is not None
    there = preset_samples(SOUNDFONT)
    for preset in PRESETS:
        assert there[(preset.bank, preset.program)][0].strip() == preset.name

    def samples(held_out: bool) -> set[tuple[int, int]]:
        return {s for p in presets(held_out=held_out) for s in there[(p.bank, p.program)][1]}

    assert samples(True)
    assert not samples(True) & samples(False)
    music = {s for ensemble, _ in _TRAINING for program in ensemble.programs for s in there[(0, program)][1]}
    assert not samples(True) & music


def test_ensembles_of_held_out_music() -> None:
    assert len(_HELD_OUT) >= 18
    assert len({row[2].name for row in _HELD_OUT}) >= 5
