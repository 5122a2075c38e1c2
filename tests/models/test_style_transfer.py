from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from models.checkpoint import save
from models.errors import CheckpointError, InputError
from models.siamese_style import SiameseStyle
from models.style_transfer import (
    METHODS,
    DiscriminatorFeatures,
    FeatureConfig,
    FeatureNetwork,
    Shape,
    StyleObjective,
    TransferConfig,
    content_error,
    export_discriminator,
    gram,
    moments,
    relative_error,
    transfer,
)
from tests.models.style_fakes import SMALL_FEATURES, features_checkpoint, siamese_checkpoint, sound

CONTENT, STYLE = sound("Flute", 220.0, 16_384), sound("Saw", 330.0, 16_384)


@pytest.fixture(scope="module")
def network() -> FeatureNetwork:
    torch.manual_seed(0)
    return FeatureNetwork(SMALL_FEATURES).requires_grad_(False)


@pytest.fixture(scope="module")
def siamese(tmp_path_factory: pytest.TempPathFactory) -> SiameseStyle:
    return SiameseStyle(checkpoint=siamese_checkpoint(tmp_path_factory.mktemp("siamese")))


def test_published_size_is_that_of_the_discriminator() -> None:
    whole = FeatureNetwork(FeatureConfig(channels=1024, depth=6))
    parameters = sum(p.numel() for p in whole.parameters())
    assert parameters == 5_634_880
    gains = sum(layer.out_channels for layer in whole.layers) + 1
    score = 1024 * 3 + 1
    assert parameters + gains + score == 5_641_362


def test_maps_are_strided(network: FeatureNetwork) -> None:
    maps = network(CONTENT[None])
    assert [m.shape[1:] for m in maps] == [(4, 16_384), (16, 4096), (16, 1024), (16, 256), (16, 64)]


def test_statistics_forget_time_and_positions_do_not() -> None:
    features = torch.randn(1, 5, 64, generator=torch.Generator().manual_seed(0))
    rolled = torch.roll(features, 17, -1)
    for statistic in (gram, moments):
        torch.testing.assert_close(statistic(features), statistic(rolled))
        assert float(relative_error(statistic(features), statistic(2.0 * features))) > 0.1
    assert float(relative_error(features, rolled)) > 0.5
    assert gram(features).shape == (1, 5, 5)
    torch.testing.assert_close(gram(features), gram(features).transpose(1, 2))
    assert moments(features).shape == (1, 10)
    assert moments(torch.full((1, 1, 9), 3.0)).tolist()[0] == pytest.approx([3.0, 0.0], abs=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_style_loss_of_a_shifted_clip(method: str, network: FeatureNetwork, siamese: SiameseStyle) -> None:
    objective = StyleObjective(CONTENT, STYLE, network, TransferConfig(method=method), siamese)
    with torch.no_grad():
        start = objective.losses(CONTENT)
        there = objective.losses(STYLE)
        # The style clip repeats every half second: this much later it is the same sound at other times.
        shifted = objective.losses(torch.roll(STYLE, 2048))
    assert float(start[0]) == 0.0
    assert float(start[1]) == pytest.approx(1.0, abs=1e-5)
    assert float(there[1]) == pytest.approx(0.0, abs=1e-6)
    if method == "positional":
        assert float(shifted[1]) > 0.3
    else:
        assert float(shifted[1]) < 0.1


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("optimiser", ["adam", "lbfgs"])
def test_optimisation_lowers_its_loss(
    method: str, optimiser: str, network: FeatureNetwork, siamese: SiameseStyle
) -> None:
    rate = 1.0 if optimiser == "lbfgs" else 0.2
    config = TransferConfig(method=method, optimiser=optimiser, steps=8, learning_rate=rate)
    made = transfer(CONTENT, STYLE, network, config, siamese=siamese)
    # The start is the content, but for rounding on the way through the filter and back.
    assert made.losses[0] == pytest.approx(1.0, abs=1e-3)
    assert made.content_loss + made.style_loss < (0.9 if optimiser == "lbfgs" else 0.99)
    assert made.waveform.shape == CONTENT.shape
    assert torch.isfinite(made.waveform).all()
    assert float(made.waveform.abs().max()) <= 1.0
    again = transfer(CONTENT, STYLE, network, config, siamese=siamese)
    assert torch.equal(made.waveform, again.waveform)


def test_content_error_is_relative_to_what_moves() -> None:
    maps = 5.0 + torch.randn(1, 3, 400, generator=torch.Generator().manual_seed(0))
    assert float(content_error(maps, maps)) == 0.0
    assert float(content_error(maps.mean(-1, keepdim=True).expand_as(maps), maps)) == pytest.approx(1.0, abs=1e-5)


def test_shape_has_an_inverse_and_follows_the_spectra() -> None:
    for flat in (True, False):
        shape = Shape(CONTENT, STYLE, flat=flat)
        torch.testing.assert_close(shape(shape.inverse(CONTENT)), CONTENT, atol=1e-5, rtol=0)
    noise = torch.randn(shape.size, generator=torch.Generator().manual_seed(0))
    # Flute and Saw have nothing between 5 and 11 kHz; neither have updates.
    spectrum = torch.fft.rfft(shape(noise)).abs().square()
    edge = round(7_000 / 22_050 * CONTENT.numel())
    assert float(spectrum[edge:].sum()) < 0.02 * float(spectrum.sum())
    plain = torch.fft.rfft(Shape(CONTENT, STYLE, flat=True)(noise)).abs().square()
    assert float(plain[edge:].sum()) > 0.3 * float(plain.sum())
    assert torch.isfinite(Shape(torch.zeros(5000), torch.zeros(9000))(noise[:8192])).all()


def test_shaped_updates_leave_the_treble_alone(network: FeatureNetwork) -> None:
    edge = round(7_000 / 22_050 * CONTENT.numel())
    treble = []
    for shaped in (True, False):
        made = transfer(CONTENT, STYLE, network, TransferConfig(steps=8, shaped=shaped)).waveform
        treble.append(float(torch.fft.rfft(made)[edge:].abs().square().sum()))
    assert treble[0] < 0.2 * treble[1]


def test_weights_trade_content_for_style(network: FeatureNetwork) -> None:
    runs = [transfer(CONTENT, STYLE, network, TransferConfig(style_weight=w, steps=12)) for w in (0.01, 10.0)]
    assert runs[0].content_loss < runs[1].content_loss
    assert runs[0].style_loss > runs[1].style_loss


def test_nothing_to_do_changes_nothing(network: FeatureNetwork) -> None:
    torch.testing.assert_close(transfer(CONTENT, STYLE, network, TransferConfig(steps=0)).waveform, CONTENT)
    still = transfer(CONTENT, STYLE, network, TransferConfig(style_weight=0.0, steps=3))
    torch.testing.assert_close(still.waveform, CONTENT, atol=1e-3, rtol=0)


def test_positional_style_is_cut_or_filled_to_the_content(network: FeatureNetwork) -> None:
    for style in (STYLE[:9000], torch.cat([STYLE, STYLE])):
        made = transfer(CONTENT, style, network, TransferConfig(method="positional", steps=2))
        assert made.waveform.shape == CONTENT.shape


def test_impossible_input_is_refused(network: FeatureNetwork) -> None:
    with pytest.raises(InputError, match="siamese_style"):
        transfer(CONTENT, STYLE, network, TransferConfig(method="siamese"))
    with pytest.raises(InputError, match="do not exist"):
        transfer(CONTENT, STYLE, network, TransferConfig(content_layers=(7,)))
    with pytest.raises(InputError, match="style must have shape"):
        transfer(CONTENT, STYLE[:100], network)
    with pytest.raises(InputError, match="finite"):
        transfer(CONTENT.clone().fill_(float("nan")), STYLE, network)
    for bad in ({"method": "mix"}, {"optimiser": "sgd"}, {"steps": -1}, {"content_layers": ()}):
        with pytest.raises(ValueError, match=r"must"):
            TransferConfig(**bad)  # type: ignore[arg-type]


class Judge(nn.Module):
    """A discriminator as a MelGAN run keeps it: weight norm on every layer, and a score at the end."""

    def __init__(self) -> None:
        super().__init__()
        plain = [*FeatureNetwork(FeatureConfig(4, 16, 6)).layers, nn.Conv1d(16, 1, 3)]
        scale = nn.Module()
        scale.layers = nn.ModuleList(weight_norm(layer) for layer in plain)
        self.scales = nn.ModuleList([scale])


def write_run(folder: Path) -> Judge:
    torch.manual_seed(4)
    judge = Judge()
    with torch.no_grad():
        for parameter in judge.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    folder.mkdir()
    save(folder / "checkpoint", {"x": torch.zeros(1)}, {"name": "melgan", "trained_on": [{"root_name": "music"}]})
    torch.save({"step": 7, "modules": {"discriminator": judge.state_dict()}}, folder / "state.pt")
    return judge


def test_exported_layers_are_the_discriminators(tmp_path: Path) -> None:
    judge = write_run(tmp_path / "run")
    export_discriminator(tmp_path / "run", tmp_path / "out")
    model = DiscriminatorFeatures(checkpoint=tmp_path / "out")
    assert model.config == SMALL_FEATURES
    assert model.card["step"] == 7
    assert model.card["made_from"] == {"name": "melgan", "scale": 0, "depth": 5}
    assert model.card["trained_on"] == [{"root_name": "music"}]
    x = nn.functional.pad(CONTENT[None, None], (7, 7), mode="reflect")
    with torch.no_grad():
        for i, found in enumerate(model.network(CONTENT[None])):
            x = nn.functional.leaky_relu(judge.scales[0].layers[i](x), 0.2)
            torch.testing.assert_close(found, x, atol=1e-5, rtol=1e-4)


def test_states_without_a_discriminator_are_refused(tmp_path: Path) -> None:
    write_run(tmp_path / "run")
    with pytest.raises(CheckpointError, match="no discriminator 2"):
        export_discriminator(tmp_path / "run", tmp_path / "out", scale=2)
    torch.save({"step": 7, "modules": {}}, tmp_path / "run" / "state.pt")
    with pytest.raises(CheckpointError, match="no discriminator 0"):
        export_discriminator(tmp_path / "run", tmp_path / "out")
    with pytest.raises(CheckpointError, match="holds no discriminator"):
        export_discriminator(tmp_path, tmp_path / "out")


def test_untrained_network_is_seeded_and_another(tmp_path: Path) -> None:
    model = DiscriminatorFeatures(checkpoint=features_checkpoint(tmp_path / "a"))
    first, second = model.untrained(5).state_dict(), model.untrained(5).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["layers.0.weight"], model.network.state_dict()["layers.0.weight"])
    assert model.describe()["parameters"] == sum(value.numel() for value in first.values())
    with pytest.raises(CheckpointError, match="needs a checkpoint"):
        DiscriminatorFeatures(checkpoint=None)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_devices_agree(network: FeatureNetwork) -> None:
    ours = network(CONTENT[None])
    theirs = FeatureNetwork(SMALL_FEATURES)
    theirs.load_state_dict(network.state_dict())
    for mine, other in zip(ours, theirs.cuda()(CONTENT[None].cuda()), strict=True):
        torch.testing.assert_close(mine, other.detach().cpu(), atol=1e-3, rtol=1e-3)
