import json

import pytest
import torch

from models.errors import InputError
from models.frontends.mel_if import MelIFInverseConfig
from models.mel_if_roundtrip import MelIFRoundTrip
from tests.signals import harmonic, noise

SYSTEM = MelIFRoundTrip(inverse=MelIFInverseConfig(2, 2))


@pytest.mark.parametrize("samples", [1, 64_000, 70_001])
def test_length_is_kept(samples: int) -> None:
    x = torch.as_tensor(noise(5.0))[None, :samples]
    y = SYSTEM.reconstruct(x, sample_rate_hz=16_000, seeds=[0])
    assert y.shape == x.shape
    assert bool(torch.isfinite(y).all())


def test_company_changes_nothing() -> None:
    x = torch.stack([torch.as_tensor(harmonic(196.0, 4.0)), torch.as_tensor(noise(4.0))])
    together = SYSTEM.reconstruct(x, sample_rate_hz=16_000, seeds=[0, 0])
    assert torch.equal(together[1:], SYSTEM.reconstruct(x[1:], sample_rate_hz=16_000, seeds=[5]))


def test_pieces_of_four_seconds_are_independent() -> None:
    x = torch.as_tensor(harmonic(262.0, 8.0))[None]
    whole = SYSTEM.reconstruct(x, sample_rate_hz=16_000, seeds=[0])
    second = SYSTEM.reconstruct(x[:, 64_000:], sample_rate_hz=16_000, seeds=[0])
    assert torch.equal(whole[:, 64_000:], second)


def test_description_and_rate() -> None:
    assert json.loads(json.dumps(SYSTEM.describe()))["config"]["inverse"]["polish_iterations"] == 2
    assert SYSTEM.codes(torch.zeros(1, 10), sample_rate_hz=16_000) == {}
    with pytest.raises(InputError, match="16000"):
        SYSTEM.reconstruct(torch.zeros(1, 10), sample_rate_hz=8_000, seeds=[0])
