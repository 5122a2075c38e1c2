import dataclasses
import json
from pathlib import Path

import pytest
import torch

from models.checkpoint import save
from models.errors import CheckpointError, InputError
from models.frontends.mel_if import MelIF, MelIFConfig, MelIFInverseConfig
from models.vqvae2 import VQVAE2, PictureScale, VQVAE2Config, VQVAE2System, training_loss
from tests.signals import noise, tone

SMALL = VQVAE2Config(channels=16, codebook_size=32, codebook_dim=8, codebook_delay=0)
FAST = MelIFInverseConfig(2, 2)


def write_checkpoint(folder: Path, override: dict[str, object] | None = None, **card: object) -> Path:
    """A checkpoint of the small network, its card changed by the arguments."""
    config = SMALL
    torch.manual_seed(0)
    network = VQVAE2(config)
    network(torch.randn(2, 2, 1024, 128), torch.Generator().manual_seed(0))
    frontend = MelIFConfig()
    save(
        folder,
        network.state_dict(),
        {
            "name": "vqvae2",
            "config": override if override is not None else dataclasses.asdict(config),
            "frontend": {"settings": frontend.as_dict(), "sha256": frontend.sha256()},
            **card,
        },
    )
    return folder


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> VQVAE2System:
    return VQVAE2System(checkpoint=write_checkpoint(tmp_path_factory.mktemp("vqvae2")), inverse=FAST)


def clips(samples: int = 64_000) -> torch.Tensor:
    rows = [tone(f, samples / 16_000)[:samples] for f in (220.0, 523.0)] + [noise(samples / 16_000)[:samples]]
    return torch.stack([torch.as_tensor(row) for row in rows])


def test_published_size() -> None:
    network = VQVAE2(VQVAE2Config())
    assert sum(p.numel() for p in network.parameters()) == 1_778_242
    assert network.codebook_top.codes.numel() + network.codebook_bottom.codes.numel() == 65_536


def test_maps_and_picture_have_their_shapes() -> None:
    network = VQVAE2(SMALL).train(False)
    picture, top, bottom = network(torch.randn(1, 2, 1024, 128))
    assert picture.shape == (1, 2, 1024, 128)
    assert top.codes.shape == (1, 32, 4)
    assert bottom.codes.shape == (1, 64, 8)


def test_codes_alone_make_the_picture() -> None:
    network = VQVAE2(SMALL)
    x = torch.randn(1, 2, 1024, 128)
    network(x, torch.Generator().manual_seed(0))
    network.train(False)
    picture, top, bottom = network(x)
    again = network.decode(network.codebook_top.lookup(top.codes), network.codebook_bottom.lookup(bottom.codes))
    torch.testing.assert_close(again, picture, atol=1e-5, rtol=1e-5)


def test_scale_is_undone_where_phase_matters() -> None:
    frontend = MelIFConfig()
    picture = MelIF(frontend)(clips()[:1])
    scale = PictureScale(SMALL, frontend)
    seen = scale(picture)
    assert float(seen.abs().max()) <= 1.0
    weight = scale.phase_importance(picture)
    output = torch.stack([seen[:, 0], scale.relative_phase(picture)], 1)
    back = scale.inverse(output)
    # What lies within the margin of silence becomes silence.
    torch.testing.assert_close(back[:, 0], picture[:, 0], atol=SMALL.silence_margin, rtol=0)
    loud = picture[:, 0] > scale.floor + SMALL.silence_margin + 1e-3
    torch.testing.assert_close(back[:, 0][loud], picture[:, 0][loud], atol=1e-4, rtol=0)
    gap = torch.remainder(back[:, 1] - picture[:, 1] + 1.0, 2.0) - 1.0
    assert float((gap.abs() * (weight > 0)).max()) < 1e-4
    assert not weight[..., 0].any()
    assert not weight[..., 126:].any()
    # Around a partial the advance relative to the band's centre crosses zero at the peak.
    peak = int(picture[0, 0, :, 60].argmax())
    assert abs(float(seen[0, 1, peak, 60])) < 0.1


def test_loss_knows_what_to_ignore() -> None:
    frontend = MelIFConfig()
    network = VQVAE2(SMALL).train(False)
    scale = PictureScale(SMALL, frontend)
    picture = MelIF(frontend)(clips()[:1])
    with torch.no_grad():
        loss = training_loss(network, scale, picture)
        silent = training_loss(network, scale, MelIF(frontend)(torch.zeros(1, 64_000)))
    report = loss.report()
    weights = {"level": SMALL.level_weight, "phase": SMALL.phase_weight, "commitment": SMALL.commitment}
    expected = sum(weight * report[name] for name, weight in weights.items())
    assert report["total"] == pytest.approx(expected, rel=1e-5)
    assert 0.0 < report["phase"] <= 2.0
    assert report["log_mel"] < report["level"] < (1.0 + SMALL.loud_weight) * report["log_mel"]
    assert silent.report()["phase"] == 0.0


def test_silence_asks_only_not_to_be_loud() -> None:
    frontend = MelIFConfig()
    scale = PictureScale(SMALL, frontend)
    picture = MelIF(frontend)(torch.zeros(1, 64_000))
    network = VQVAE2(SMALL).train(False)
    with torch.no_grad():
        network.decoder[-1].weight.zero_()  # type: ignore[operator]
        network.decoder[-1].bias.fill_(-5.0)  # type: ignore[operator]
        assert training_loss(network, scale, picture).report()["level"] == 0.0
        network.decoder[-1].bias.fill_(0.0)  # type: ignore[operator]
        assert training_loss(network, scale, picture).report()["level"] > 0.5


def test_a_few_steps_lower_the_loss() -> None:
    torch.manual_seed(1)
    frontend = MelIFConfig()
    config = dataclasses.replace(SMALL, codebook_delay=20)
    network = VQVAE2(config)
    scale = PictureScale(config, frontend)
    picture = MelIF(frontend)(clips()[:2])
    optimiser = torch.optim.Adam(network.parameters(), 1e-2)
    generator = torch.Generator().manual_seed(0)
    losses = []
    for _ in range(25):
        loss = training_loss(network, scale, picture, generator)
        optimiser.zero_grad()
        loss.total.backward()
        optimiser.step()
        losses.append(float(loss.log_mel.detach()))
    assert losses[-1] < 0.5 * losses[0]
    assert bool(network.codebook_top.ready)


@pytest.mark.parametrize("samples", [1, 777, 64_000, 64_001])
def test_length_is_kept(system: VQVAE2System, samples: int) -> None:
    x = clips(64_001)[:1, :samples]
    y = system.reconstruct(x, sample_rate_hz=16_000, seeds=[0])
    assert y.shape == x.shape
    assert y.dtype == x.dtype
    assert bool(torch.isfinite(y).all())


def test_company_changes_nothing(system: VQVAE2System) -> None:
    x = clips()
    together = system.reconstruct(x, sample_rate_hz=16_000, seeds=[0, 1, 2])
    codes = system.codes(x, sample_rate_hz=16_000)
    for i in range(3):
        alone = system.reconstruct(x[i : i + 1], sample_rate_hz=16_000, seeds=[9])
        assert torch.equal(alone[0], together[i])
        own = system.codes(x[i : i + 1], sample_rate_hz=16_000)
        assert all(torch.equal(own[level][0], codes[level][i]) for level in codes)


def test_codes_of_long_clips_follow_each_other(system: VQVAE2System) -> None:
    x = clips()[:2]
    longer = torch.cat([x, x.flip(0)], 1)[:, :100_000]
    codes = system.codes(longer, sample_rate_hz=16_000)
    assert codes["top"].shape == (2, 32, 8)
    assert codes["bottom"].shape == (2, 64, 16)
    assert codes["top"].dtype == torch.int64
    first = system.codes(x, sample_rate_hz=16_000)
    assert torch.equal(codes["bottom"][:, :, :8], first["bottom"])
    assert torch.equal(codes["top"][:, :, :4], first["top"])


def test_description_is_json(system: VQVAE2System) -> None:
    text = json.dumps(system.describe())
    assert MelIFConfig().sha256() in text
    assert system.parameters == sum(p.numel() for p in system.network.parameters()) + 2 * 32 * 8


def test_bad_input_is_refused(system: VQVAE2System) -> None:
    x = clips()
    with pytest.raises(InputError, match="16000"):
        system.reconstruct(x, sample_rate_hz=22_050, seeds=[0, 1, 2])
    with pytest.raises(InputError, match="seeds"):
        system.reconstruct(x, sample_rate_hz=16_000, seeds=[0])
    with pytest.raises(InputError, match="finite"):
        system.reconstruct(x * float("nan"), sample_rate_hz=16_000, seeds=[0, 1, 2])
    with pytest.raises(InputError, match="shape"):
        system.reconstruct(x[0], sample_rate_hz=16_000, seeds=[0])


def test_checkpoints_that_do_not_fit(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="needs a checkpoint"):
        VQVAE2System(checkpoint=None)
    other = MelIFConfig(break_hz=700.0)
    folder = write_checkpoint(tmp_path / "a", frontend={"settings": other.as_dict(), "sha256": MelIFConfig().sha256()})
    with pytest.raises(CheckpointError, match=r"frontend\.sha256"):
        VQVAE2System(checkpoint=folder)
    wider = dataclasses.asdict(dataclasses.replace(SMALL, channels=32))
    with pytest.raises(CheckpointError, match="config needs"):
        VQVAE2System(checkpoint=write_checkpoint(tmp_path / "b", override=wider))
    with pytest.raises(CheckpointError, match="config"):
        VQVAE2System(checkpoint=write_checkpoint(tmp_path / "c", override={"channels": 16}))
