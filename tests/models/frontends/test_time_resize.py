import math

import pytest
import torch

from models.frontends.time_resize import shrink, stretch


def wave(frames: int, period: float) -> torch.Tensor:
    return torch.cos(2 * math.pi * (torch.arange(frames) + 0.5) / period)[None, None]


@pytest.mark.parametrize("kind", ["linear", "area"])
@pytest.mark.parametrize("columns", [1, 8, 10, 63])
def test_shrinking_keeps_constants_and_ramps_in_place(kind: str, columns: int) -> None:
    constant = torch.full((1, 2, 64), 3.0)
    torch.testing.assert_close(shrink(constant, columns, kind), torch.full((1, 2, columns), 3.0))
    ramp = torch.arange(64.0)[None, None] + 0.5
    centres = (torch.arange(columns) + 0.5) * 64 / columns
    # Cells that end inside a frame see the ramp as steps.
    torch.testing.assert_close(shrink(ramp, columns, kind)[0, 0], centres, rtol=0, atol=0.02)


def test_area_is_the_mean_over_each_cell() -> None:
    mel = torch.randn(2, 3, 64)
    torch.testing.assert_close(shrink(mel, 8), mel.reshape(2, 3, 8, 8).mean(-1), rtol=0, atol=1e-6)
    mean = shrink(mel, 7).mean(-1)
    torch.testing.assert_close(mean, mel.mean(-1), rtol=0, atol=1e-6)


def test_linear_shrinking_aliases_and_area_does_not() -> None:
    fast = wave(512, 512 / 60)  # 60 cycles; 16 columns can hold 8
    power = {kind: float(shrink(fast, 16, kind).square().mean()) for kind in ("linear", "area")}
    assert power["linear"] > 0.3
    assert power["area"] < 0.01


@pytest.mark.parametrize("kind", ["linear", "area"])
def test_short_mels_are_left_alone(kind: str) -> None:
    mel = torch.randn(1, 2, 5)
    assert shrink(mel, 5, kind) is mel
    assert shrink(mel, 9, kind) is mel


@pytest.mark.parametrize("kind", ["linear", "cubic"])
def test_stretching_keeps_ramps_inside_and_goes_on_flat_outside(kind: str) -> None:
    ramp = torch.arange(8.0)[None, None]
    long = stretch(ramp, 64, kind)[0, 0]
    place = (torch.arange(64.0) + 0.5) / 8 - 0.5
    inner = (place > 1) & (place < 6)
    torch.testing.assert_close(long[inner], place[inner], rtol=0, atol=1e-5)
    assert float(long[0]) == 0.0
    assert float(long[-1]) == 7.0


@pytest.mark.parametrize("kind", ["linear", "cubic"])
def test_stretching_passes_through_its_knots(kind: str) -> None:
    mel = torch.randn(2, 3, 6)
    torch.testing.assert_close(stretch(mel, 6 * 5, kind)[..., 2::5], mel, rtol=0, atol=1e-6)


def test_cubic_follows_a_slow_wave_better() -> None:
    slow = wave(512, 160.0)
    condition = slow[..., 16::32] * 0.5 + slow[..., 15::32] * 0.5
    error = {
        kind: float((stretch(condition, 512, kind) - slow)[..., 64:-64].abs().mean()) for kind in ("linear", "cubic")
    }
    assert error["cubic"] < 0.5 * error["linear"]


def test_one_column_becomes_a_constant() -> None:
    assert bool((stretch(torch.full((1, 1, 1), 2.0), 7, "cubic") == 2.0).all())


def test_impossible_arguments_are_refused() -> None:
    mel = torch.zeros(1, 2, 8)
    with pytest.raises(ValueError, match="kind must be one of linear, area"):
        shrink(mel, 4, "cubic")
    with pytest.raises(ValueError, match="kind must be one of linear, cubic"):
        stretch(mel, 16, "area")
    with pytest.raises(ValueError, match="at least 1 column"):
        shrink(mel, 0)
    with pytest.raises(ValueError, match="mel must have shape"):
        stretch(mel[0], 16)
