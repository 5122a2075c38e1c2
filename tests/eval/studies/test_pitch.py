import numpy as np
import pytest
from numpy.typing import NDArray

from eval.studies.pitch import (
    hz_to_midi,
    midi_to_hz,
    periodicity_pitch,
    pitch_estimates,
    spectral_pitch,
    within_cents,
)

RATE = 16_000
ESTIMATORS = [pytest.param(periodicity_pitch, id="periodicity"), pytest.param(spectral_pitch, id="spectral")]


def partials(midi: float, levels: dict[float, float], duration_s: float = 1.5, rate: int = RATE) -> NDArray[np.float64]:
    """A sum of sines at multiples of a pitch, with an exponential decay and phases of their own."""
    time = np.arange(round(duration_s * rate)) / rate
    total = np.zeros(time.size)
    for number, level in levels.items():
        if number * midi_to_hz(midi) < rate / 2:
            total += level * np.sin(2 * np.pi * number * midi_to_hz(midi) * time + 1.7 * number**2)
    return total * np.exp(-time) / max(levels.values())


SAW = {float(n): 1.0 / n for n in range(1, 21)}


@pytest.mark.parametrize("estimate", ESTIMATORS)
@pytest.mark.parametrize("midi", [24, 33.3, 40, 52, 60.2, 69, 76, 84, 97, 105])
def test_rich_tones(estimate: object, midi: float) -> None:
    assert estimate(partials(midi, SAW), RATE) == pytest.approx(midi, abs=0.08)  # type: ignore[operator]


@pytest.mark.parametrize("estimate", ESTIMATORS)
@pytest.mark.parametrize("midi", [30, 45, 60, 81, 96])
def test_pure_tones(estimate: object, midi: float) -> None:
    assert estimate(partials(midi, {1.0: 1.0}), RATE) == pytest.approx(midi, abs=0.08)  # type: ignore[operator]


@pytest.mark.parametrize("estimate", ESTIMATORS)
@pytest.mark.parametrize("midi", [36, 48, 60])
def test_missing_fundamental(estimate: object, midi: float) -> None:
    tone = partials(midi, {float(n): 1.0 / n for n in range(2, 9)})
    assert estimate(tone, RATE) == pytest.approx(midi, abs=0.08)  # type: ignore[operator]


@pytest.mark.parametrize("estimate", ESTIMATORS)
@pytest.mark.parametrize("midi", [40, 55, 67])
def test_octave_traps(estimate: object, midi: float) -> None:
    strong_second = {1.0: 0.2, 2.0: 1.0, 3.0: 0.3, 4.0: 0.3, 5.0: 0.2}
    odd_only = {1.0: 1.0, 3.0: 0.6, 5.0: 0.4, 7.0: 0.3}
    for levels in (strong_second, odd_only):
        assert estimate(partials(midi, levels), RATE) == pytest.approx(midi, abs=0.08)  # type: ignore[operator]


@pytest.mark.parametrize("estimate", ESTIMATORS)
def test_noise_beside_a_tone_is_no_trouble(estimate: object) -> None:
    noise = 0.02 * np.random.default_rng(0).standard_normal(24_000)
    assert estimate(partials(57, SAW) + noise, RATE) == pytest.approx(57, abs=0.1)  # type: ignore[operator]


@pytest.mark.parametrize("estimate", ESTIMATORS)
def test_what_has_no_pitch(estimate: object) -> None:
    noise = np.random.default_rng(0).standard_normal(24_000)
    for sound in (np.zeros(24_000), noise):
        assert estimate(sound, RATE) is None  # type: ignore[operator]


@pytest.mark.parametrize("estimate", ESTIMATORS)
def test_level_does_not_matter(estimate: object) -> None:
    tone = partials(62, SAW)
    assert estimate(1e-3 * tone, RATE) == pytest.approx(estimate(tone, RATE), abs=1e-6)  # type: ignore[operator]


@pytest.mark.parametrize("estimate", ESTIMATORS)
def test_short_clips_and_other_rates(estimate: object) -> None:
    assert estimate(partials(62, SAW, 0.2), RATE) == pytest.approx(62, abs=0.2)  # type: ignore[operator]
    assert estimate(partials(62, SAW, rate=22_050), 22_050) == pytest.approx(62, abs=0.08)  # type: ignore[operator]
    with pytest.raises(ValueError, match="shape"):
        estimate(np.zeros((2, 100)), RATE)  # type: ignore[operator]


def test_both_have_to_agree() -> None:
    assert pitch_estimates(partials(60, SAW), RATE) == pytest.approx((60, 60), abs=0.08)
    assert within_cents((60.2, 59.6), 60)
    assert not within_cents((60.2, 59.4), 60)
    assert not within_cents((60.2, None), 60)


def test_midi_and_hertz() -> None:
    assert midi_to_hz(69) == 440.0
    assert hz_to_midi(midi_to_hz(33.3)) == pytest.approx(33.3)
