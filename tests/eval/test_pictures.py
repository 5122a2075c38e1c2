from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from eval import pictures
from tests.signals import chirp, noise, silence, tone


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 96_000])
@pytest.mark.parametrize("frequency_hz", [110.0, 1000.0])
def test_a_tone_stands_at_its_frequency_and_level(rate: int, frequency_hz: float) -> None:
    drawn = pictures.spectrogram(tone(frequency_hz, 1.0, rate, amplitude=0.5), rate)
    level = drawn.level_db[:, drawn.level_db.shape[1] // 2]
    assert drawn.frequency_hz[int(level.argmax())] == pytest.approx(frequency_hz, rel=0.06)
    assert float(level.max()) == pytest.approx(20 * np.log10(0.5), abs=1.5)
    assert drawn.frequency_hz[-1] < rate / 2 and drawn.duration_s == 1.0


def test_a_chirp_rises() -> None:
    drawn = pictures.spectrogram(chirp(100, 6000, 2.0), 16_000)
    ridge = drawn.frequency_hz[drawn.level_db.argmax(axis=0)]
    middle = ridge[10:-10]
    assert (np.diff(middle) > -0.03 * middle[:-1]).all() and middle[-1] > 20 * middle[0]


@pytest.mark.parametrize("samples", [1, 10, 300, 5000])
def test_short_sounds_have_pictures(samples: int) -> None:
    drawn = pictures.spectrogram(noise(1.0)[:samples], 16_000)
    assert np.isfinite(drawn.level_db).all()
    assert set(pictures.draw_spectrogram(drawn, top_db=0.0)) == {"light", "dark"}


def test_the_two_themes_show_the_same_data_and_no_more_than_that() -> None:
    files = pictures.draw_spectrogram(pictures.spectrogram(chirp(), 16_000), top_db=0.0, title="original")
    light, dark = opened(files["light"]), opened(files["dark"])
    assert light.size == dark.size == (pictures.WIDTH, pictures.HEIGHT) and light.mode == "P"
    assert np.array_equal(np.asarray(light), np.asarray(dark))
    assert light.getpalette() != dark.getpalette()
    assert light.info == dark.info == {}
    again = io.BytesIO()
    dark.save(again, "PNG", compress_level=6)
    assert again.getvalue() == files["dark"]
    assert files == pictures.draw_spectrogram(pictures.spectrogram(chirp(), 16_000), top_db=0.0, title="original")
    assert len(files["light"]) < 150_000


def test_one_scale_makes_rows_comparable() -> None:
    loud, quiet = (pictures.spectrogram(tone(1000, 1.0, amplitude=a), 16_000) for a in (0.5, 0.05))
    top = loud.peak_db
    planes = [np.asarray(opened(pictures.draw_spectrogram(p, top_db=top)["dark"])).astype(int) for p in (loud, quiet)]
    span = pictures.plot_span()
    x = round((span["left"] + span["right"]) / 2 * pictures.WIDTH)
    gap = planes[0][20:300, x].max() - planes[1][20:300, x].max()
    assert gap == pytest.approx(20 / pictures.RANGE_DB * 223, abs=3)


@pytest.mark.parametrize(("theme", "sign"), [("dark", 1), ("light", -1)])
def test_colours_run_evenly_from_paper_to_ink(theme: str, sign: int) -> None:
    table = np.frombuffer(pictures._palettes("sequential")[theme], dtype=np.uint8).reshape(-1, 3)
    assert table.shape == (256, 3)
    linear = (table[:224] / 255.0) ** 2.2
    lightness = np.cbrt(linear @ np.array([0.2126, 0.7152, 0.0722]))
    assert (sign * np.diff(lightness) > -0.004).all()
    steps = sign * np.diff(lightness[::16])
    assert steps.min() > 0.3 * steps.max()
    # Without red-green vision (Viénot, Brettel and Mollon, 1999) the order of the levels still shows.
    red_green = linear @ np.array([[0.11238, 0.11238, 0.00401], [0.88762, 0.88762, -0.00401], [0, 0, 1.0]])
    seen = np.cbrt(np.clip(red_green, 0, None) @ np.array([0.2126, 0.7152, 0.0722]))
    assert (sign * np.diff(seen[::16]) > 0).all()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_difference_leaves_the_paper_both_ways_and_the_ways_are_told_apart(theme: str) -> None:
    table = np.frombuffer(pictures._palettes("diverging")[theme], dtype=np.uint8).reshape(-1, 3)[:224]
    linear = (table / 255.0) ** 2.2
    sign = 1 if theme == "dark" else -1
    lightness = np.cbrt(linear @ np.array([0.2126, 0.7152, 0.0722]))
    assert (sign * np.diff(lightness[112:]) > -0.004).all() and (sign * np.diff(lightness[111::-1]) > -0.004).all()
    # Without red-green vision blue and yellow remain: the ends differ in them by far more than neighbours do.
    red_green = linear @ np.array([[0.11238, 0.11238, 0.00401], [0.88762, 0.88762, -0.00401], [0, 0, 1.0]])
    yellow = red_green[:, 0] - red_green[:, 2]
    assert yellow[200] > 0.1 and yellow[24] < -0.1


def test_a_difference_is_zero_between_a_sound_and_itself_and_signed_otherwise() -> None:
    one = pictures.spectrogram(tone(1000, 1.0, amplitude=0.5), 16_000)
    other = pictures.spectrogram(tone(1000, 1.0, amplitude=0.05), 16_000)
    assert not pictures.level_difference(one, one, top_db=0.0).any()
    gap = pictures.level_difference(other, one, top_db=0.0)
    assert float(gap.min()) == pytest.approx(-20.0, abs=0.1) and float(gap.max()) <= 0.1
    text = pictures.describe_difference(other, one, "a bass", top_db=0.0)
    assert text.endswith("most too quiet near 1.0 kHz (-20.0 dB).") and "too loud" not in text
    span = pictures.plot_span()
    x = round((span["left"] + span["right"]) / 2 * pictures.WIDTH)
    plane = np.asarray(opened(pictures.draw_difference(other, one, top_db=0.0)["light"])).astype(int)
    assert plane[16:336, x].min() == pytest.approx(111.5 - 20 / 80 * 223, abs=3)
    with pytest.raises(ValueError, match="differ"):
        pictures.level_difference(one, pictures.spectrogram(tone(1000, 0.5), 16_000), top_db=0.0)


@pytest.mark.parametrize("samples", [1, 10, 300, 64_000])
def test_a_waveform_reaches_from_its_lowest_to_its_highest_sample(samples: int) -> None:
    wave = np.resize(np.concatenate([np.full(400, 0.5), np.full(400, -0.25)]), samples).astype(np.float32)
    outline = pictures.envelope(wave, 16_000)
    assert outline.high.max() == wave.max() and outline.low.min() == wave.min()
    assert float((outline.rms.astype(float) ** 2).mean()) == pytest.approx(float((wave**2).mean()), rel=0.02)
    plane = np.asarray(opened(pictures.draw_waveform(outline, top=1.0)["light"]))[16:336, 92:498]
    rows = np.flatnonzero((plane > 0).any(axis=1))
    assert 159.5 - 319 / 2 * wave.max() - 2 <= rows[0] <= 159.5 - 319 / 2 * wave.max() + 2
    assert "peak -6.0 dB FS" in pictures.describe_waveform(outline, "x")


def test_an_amplitude_axis_ends_at_a_round_number_that_holds_the_peak() -> None:
    for peak in np.geomspace(1e-4, 0.999, 50):
        top = pictures.amplitude_top(float(peak))
        assert max(0.01, peak) <= top <= max(0.01, 2.51 * peak)
        assert float(f"{top:.0e}"[0]) in {1.0, 2.0, 5.0}
    assert "silence" in pictures.describe_waveform(pictures.envelope(silence(), 16_000), "x")


def test_a_code_map_shows_its_cells_low_bins_at_the_bottom() -> None:
    codes = np.zeros((32, 4), dtype=np.int64)
    codes[0, 0] = 511
    files = pictures.draw_codemap(codes, codebook_size=512, duration_s=4.0)
    plane = np.asarray(opened(files["light"]))
    span = pictures.plot_span()
    left, right = round(span["left"] * pictures.WIDTH), round(span["right"] * pictures.WIDTH)
    inside = plane[16:336, left:right]
    filled = np.argwhere(inside == 223)
    assert len(filled) == pytest.approx(inside.size / 128, rel=0.1)
    assert filled[:, 0].min() > 308 and filled[:, 1].max() < inside.shape[1] / 4 + 1
    assert set(np.unique(inside)) == {0, 223}
    assert "32 frequency bins by 4 time steps, 2 different codes of 512" in pictures.describe_codemap(
        codes, level="top", what="x", codebook_size=512
    )


def test_words_come_from_the_numbers() -> None:
    wave = np.concatenate([silence(0.5), tone(1000, 1.0), silence(0.5)])
    text = pictures.describe_spectrogram(pictures.spectrogram(wave, 16_000), "a bass")
    assert text.startswith("Spectrogram of a bass, 2.00 s: loudest near ")
    loudest = float(text.split("loudest near ")[1].split(" ")[0])
    assert loudest in {1.0, 1000.0, 990.0} or 950 < loudest < 1050
    start = float(text.split("sounds from ")[1].split(" ")[0])
    assert 0.4 <= start <= 0.5
    assert "silence" in pictures.describe_spectrogram(pictures.spectrogram(silence(), 16_000), "x")
