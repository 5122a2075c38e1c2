import dataclasses
import json
from pathlib import Path

import pytest
import torch

from models import registry
from models.codemap_masks import TASKS, task_masks
from models.codemap_transformer import FAMILIES, PITCHES, CodemapTransformer
from models.codemaps import (
    BottomPrior,
    CodemapRedraw,
    Codemaps,
    Sampling,
    TopPrior,
    class_tensors,
    draw_sequences,
    draw_tokens,
    draw_uniforms,
)
from models.errors import CheckpointError, InputError
from tests.models.codemap_fakes import BOTTOM, TOP, notes, untrained, write_prior, write_vqvae


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("codemaps")
    vqvae = write_vqvae(root / "vqvae2")
    return {
        "vqvae": vqvae,
        "top": write_prior(root / "top", TOP, vqvae),
        "bottom": write_prior(root / "bottom", BOTTOM, vqvae),
    }


@pytest.fixture(scope="module")
def codemaps(folders: dict[str, Path]) -> Codemaps:
    return Codemaps(checkpoint=folders["top"], bottom=folders["bottom"], vqvae=folders["vqvae"])


def maps(batch: int = 2, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    return torch.randint(32, (batch, 32, 4), generator=g), torch.randint(32, (batch, 64, 8), generator=g)


def shares(sampling: Sampling, logits: list[float], draws: int = 20_000) -> list[float]:
    """How often each token is drawn."""
    uniforms = torch.rand(draws, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    tokens = draw_tokens(torch.tensor(logits).expand(draws, -1), uniforms, sampling)
    return (torch.bincount(tokens, minlength=len(logits)) / draws).tolist()


LOGITS = torch.tensor([0.1, 0.5, 0.05, 0.35]).log().tolist()


def test_all_tokens_are_drawn_by_their_probability() -> None:
    assert shares(Sampling(top_p=1.0), LOGITS) == pytest.approx([0.1, 0.5, 0.05, 0.35], abs=0.015)


def test_temperature_sharpens() -> None:
    powers = [p**2 for p in (0.1, 0.5, 0.05, 0.35)]
    expected = [p / sum(powers) for p in powers]
    assert shares(Sampling(temperature=0.5, top_p=1.0), LOGITS) == pytest.approx(expected, abs=0.015)


def test_nucleus_is_the_smallest_set_that_reaches_its_share() -> None:
    assert shares(Sampling(top_p=0.8), LOGITS) == pytest.approx([0, 0.5 / 0.85, 0, 0.35 / 0.85], abs=0.015)
    assert shares(Sampling(top_p=0.9), LOGITS) == pytest.approx([0.1 / 0.95, 0.5 / 0.95, 0, 0.35 / 0.95], abs=0.015)
    assert shares(Sampling(top_p=1e-6), LOGITS) == [0, 1, 0, 0]


def test_top_k_counts() -> None:
    assert shares(Sampling(top_p=1.0, top_k=1), LOGITS) == [0, 1, 0, 0]
    assert shares(Sampling(top_p=1.0, top_k=3), LOGITS)[2] == 0


def test_a_draw_never_leaves_the_nucleus() -> None:
    logits = torch.tensor([LOGITS, LOGITS])
    tokens = draw_tokens(logits, torch.tensor([0.0, 1.0 - 2**-53], dtype=torch.float64), Sampling(top_p=0.8))
    assert tokens.tolist() == [1, 3]


@pytest.mark.parametrize("change", [{"temperature": 0.0}, {"top_p": 0.0}, {"top_p": 1.5}, {"top_k": -1}])
def test_impossible_sampling_is_refused(change: dict[str, float]) -> None:
    with pytest.raises(InputError, match="temperature > 0"):
        Sampling(**change)  # type: ignore[arg-type]


@pytest.mark.parametrize("guidance", [1.0, 2.0])
@pytest.mark.parametrize("config", [TOP, dataclasses.replace(BOTTOM, bins=8)], ids=["top", "bottom"])
def test_cache_draws_the_tokens_of_the_plain_loop(config: object, guidance: float) -> None:
    torch.manual_seed(3)
    network = CodemapTransformer(config).train(False)  # type: ignore[arg-type]
    c = network.config
    source = torch.randint(32, (3, c.bins * c.frames))
    target = torch.randint(32, (3, 40))
    hidden = torch.rand(3, 40) < 0.8
    pitch, family = class_tensors([60, None, 72], ["bass", "vocal", None])
    uniforms = draw_uniforms([1, 2, 3], 40)
    sampling = Sampling(top_p=0.9, guidance=guidance)
    rows = [
        draw_sequences(network, source, target, hidden, pitch, family, uniforms, sampling, cached=cached)
        for cached in (True, False)
    ]
    assert torch.equal(rows[0], rows[1])
    assert torch.equal(rows[0][~hidden], target[~hidden])
    assert not torch.equal(rows[0][hidden], target[hidden])


def test_kept_tokens_are_untouched_and_the_others_are_drawn(codemaps: Codemaps) -> None:
    top, bottom = maps(3)
    mask_top = torch.zeros(32, 4, dtype=torch.bool)
    mask_top[4:9, 1:3] = True
    mask_bottom = torch.zeros(3, 64, 8, dtype=torch.bool)
    mask_bottom[1, 60:] = True
    new_top, new_bottom = codemaps.inpaint(
        top,
        bottom,
        mask_top=mask_top,
        mask_bottom=mask_bottom,
        pitches=[60, 61, None],
        families=["bass", None, "vocal"],
        seeds=[1, 2, 3],
    )
    under = mask_top.repeat_interleave(2, 0).repeat_interleave(2, 1)
    assert torch.equal(new_top[:, ~mask_top], top[:, ~mask_top])
    for row in range(3):
        redrawn = under | mask_bottom[row]
        assert torch.equal(new_bottom[row][~redrawn], bottom[row][~redrawn])
        assert not torch.equal(new_bottom[row][redrawn], bottom[row][redrawn])
        assert not torch.equal(new_top[row][mask_top], top[row][mask_top])


def test_nothing_masked_changes_nothing(codemaps: Codemaps) -> None:
    top, bottom = maps()
    new = codemaps.inpaint(top, bottom, pitches=[60, 60], families=["bass", "bass"], seeds=[0, 1])
    assert torch.equal(new[0], top)
    assert torch.equal(new[1], bottom)


@pytest.mark.parametrize("task", TASKS)
def test_tasks_run(codemaps: Codemaps, task: str) -> None:
    top, bottom = maps(1)
    mask_top, mask_bottom = task_masks(task, codemaps.shape_top, codemaps.patch)
    new_top, new_bottom = codemaps.inpaint(
        top, bottom, mask_top=mask_top, mask_bottom=mask_bottom, pitches=[60], families=["bass"], seeds=[0]
    )
    assert torch.equal(new_top[:, ~mask_top], top[:, ~mask_top])
    assert torch.equal(new_bottom[:, ~mask_bottom], bottom[:, ~mask_bottom])


def test_a_row_does_not_depend_on_its_batch(codemaps: Codemaps) -> None:
    pitches, families = [48, 60, 72], ["bass", "flute", None]
    together = codemaps.generate_codes(pitches, families, seeds=[5, 6, 7])
    alone = codemaps.generate_codes(pitches[1:2], families[1:2], seeds=[6])
    for a, b in zip(together, alone, strict=True):
        assert torch.equal(a[1:2], b)
    other = codemaps.generate_codes(pitches[1:2], families[1:2], seeds=[8])
    assert not torch.equal(other[0], alone[0])


def test_notes_have_their_length_and_repeat(codemaps: Codemaps) -> None:
    first = codemaps.generate_unconditional(seeds=[1])
    assert first.shape == (1, 64_000)
    assert first.isfinite().all()
    assert torch.equal(first, codemaps.generate([None], [None], seeds=[1]))
    assert codemaps.generate([], [], seeds=[]).shape == (0, 64_000)


def test_codes_of_a_note_decode_to_its_reconstruction(codemaps: Codemaps) -> None:
    waveform = notes(1).waveforms(torch.tensor([0]))
    rebuilt = codemaps.decode(*codemaps.encode(waveform))
    expected = codemaps.vqvae.reconstruct(waveform, sample_rate_hz=16_000, seeds=[0])
    torch.testing.assert_close(rebuilt, expected, atol=1e-4, rtol=1e-3)


def test_impossible_requests_are_refused(codemaps: Codemaps) -> None:
    top, bottom = maps(1)
    with pytest.raises(InputError, match="pitch is 128"):
        codemaps.generate([128], ["bass"], seeds=[0])
    with pytest.raises(InputError, match="'kazoo' is unknown; known: bass"):
        codemaps.generate([60], ["kazoo"], seeds=[0])
    with pytest.raises(InputError, match="2 pitches for 1 families"):
        codemaps.generate([60, 61], ["bass"], seeds=[0])
    with pytest.raises(InputError, match="2 seeds for 1 pitches"):
        codemaps.generate([60], ["bass"], seeds=[0, 1])
    with pytest.raises(InputError, match="codes_top must have shape"):
        codemaps.inpaint(bottom, bottom, pitches=[60], families=["bass"], seeds=[0])
    with pytest.raises(InputError, match=r"codes_bottom must lie in 0\.\.31"):
        codemaps.inpaint(top, bottom + 32, pitches=[60], families=["bass"], seeds=[0])
    for mask in (top, top[0, 1:] > 0):
        with pytest.raises(InputError, match="mask_top must be Boolean"):
            codemaps.inpaint(top, bottom, mask_top=mask, pitches=[60], families=["bass"], seeds=[0])
    with pytest.raises(InputError, match="at most 64000 samples"):
        codemaps.encode(torch.zeros(1, 64_001))


def test_another_vqvae_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    other = write_vqvae(tmp_path / "other", seed=1)
    with pytest.raises(CheckpointError, match="codes_sha256") as caught:
        Codemaps(checkpoint=folders["top"], bottom=folders["bottom"], vqvae=other)
    assert str(folders["top"]) in str(caught.value)
    assert str(other) in str(caught.value)
    with pytest.raises(CheckpointError, match="codes_sha256"):
        CodemapRedraw(checkpoint=folders["bottom"], vqvae=other)


def test_priors_are_not_mixed_up(folders: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="need 'codemap_bottom'"):
        BottomPrior(checkpoint=folders["top"])
    with pytest.raises(CheckpointError, match="needs a checkpoint folder"):
        TopPrior(checkpoint=None)
    folder = write_prior(tmp_path, TOP, folders["vqvae"])
    card = json.loads((folder / "card.json").read_text())
    card["config"]["level"] = "bottom"
    (folder / "card.json").write_text(json.dumps(card))
    with pytest.raises(CheckpointError, match=r"level is 'bottom'|do not fit"):
        TopPrior(checkpoint=folder)


def test_half_precision_survives_the_round_trip(folders: dict[str, Path]) -> None:
    network = untrained(TOP)
    loaded = TopPrior(checkpoint=folders["top"])
    for name, value in network.state_dict().items():
        torch.testing.assert_close(loaded.network.state_dict()[name], value, atol=1e-3, rtol=1e-3)
    assert loaded.parameters == sum(p.numel() for p in network.parameters())
    json.dumps(loaded.describe())
    source, target = torch.full((1, 128), 32), torch.randint(32, (1, 127))
    classes = class_tensors([60], ["bass"])
    found = loaded.network(source, target, *classes)
    torch.testing.assert_close(found, network(source, target, *classes), atol=5e-3, rtol=5e-3)


def test_likelihood_of_tokens_is_that_of_the_network(codemaps: Codemaps) -> None:
    source, target = torch.full((2, 128), 32), torch.randint(32, (2, 128))
    pitch, family = torch.tensor([60, PITCHES]), torch.tensor([1, len(FAMILIES)])
    nll = codemaps.top.token_nll(source, target, pitch, family)
    assert nll.shape == (2, 128)
    logits, cache = codemaps.top.network.begin(source, pitch, family)
    torch.testing.assert_close(nll[:, 0], -logits.log_softmax(-1).gather(1, target[:, :1])[:, 0], atol=1e-5, rtol=1e-5)
    logits = codemaps.top.network.step(target[:, 0], cache)
    torch.testing.assert_close(nll[:, 1], -logits.log_softmax(-1).gather(1, target[:, 1:2])[:, 0], atol=1e-5, rtol=1e-5)


@pytest.fixture(scope="module")
def redraw(folders: dict[str, Path]) -> CodemapRedraw:
    return CodemapRedraw(checkpoint=folders["bottom"], vqvae=folders["vqvae"])


def test_redrawing_keeps_the_length_and_repeats(redraw: CodemapRedraw) -> None:
    waveform = notes(1).waveforms(torch.tensor([0]))[:, :20_001]
    rebuilt = redraw.reconstruct(waveform, sample_rate_hz=16_000, seeds=[3])
    assert rebuilt.shape == waveform.shape
    assert rebuilt.isfinite().all()
    batch = torch.cat([waveform.flip(1), waveform])
    both = redraw.reconstruct(batch, sample_rate_hz=16_000, seeds=[4, 3])
    assert torch.equal(both[1:], rebuilt)
    other = redraw.reconstruct(waveform, sample_rate_hz=16_000, seeds=[4])
    assert not torch.equal(other, rebuilt)
    assert redraw.reconstruct(waveform[:0], sample_rate_hz=16_000, seeds=[]).shape == (0, 20_001)


def test_redrawing_refuses_what_systems_refuse(redraw: CodemapRedraw) -> None:
    with pytest.raises(InputError, match="not finite"):
        redraw.reconstruct(torch.full((1, 10), torch.nan), sample_rate_hz=16_000, seeds=[0])
    with pytest.raises(InputError, match="sample rate"):
        redraw.reconstruct(torch.zeros(1, 10), sample_rate_hz=22_050, seeds=[0])
    json.dumps(redraw.describe())
    assert redraw.codes(torch.zeros(1, 10), sample_rate_hz=16_000)["top"].shape == (1, 32, 4)


def test_registry_knows_them() -> None:
    kinds = {
        name: registry.entry(name).kind for name in ("codemap_top", "codemap_bottom", "codemaps", "codemap_redraw")
    }
    assert kinds == {
        "codemap_top": "generator",
        "codemap_bottom": "generator",
        "codemaps": "generator",
        "codemap_redraw": "system",
    }
    assert registry.recipe("codemap_top").config.level == "top"
    assert registry.recipe("codemap_bottom").config.level == "bottom"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_logits_are_equal_on_cpu_and_gpu() -> None:
    network = untrained(TOP)
    source, target = torch.randint(32, (2, 128)), torch.randint(32, (2, 127))
    pitch, family = class_tensors([60, None], ["bass", None])
    here = network(source, target, pitch, family)
    there = network.cuda()(source.cuda(), target.cuda(), pitch.cuda(), family.cuda()).cpu()
    torch.testing.assert_close(there, here, atol=1e-4, rtol=1e-4)
