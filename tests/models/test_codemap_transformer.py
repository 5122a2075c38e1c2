import dataclasses
import itertools
from pathlib import Path
from typing import Any

import pytest
import torch

from models.codemap_transformer import (
    FAMILIES,
    PITCHES,
    PUBLISHED_BOTTOM,
    PUBLISHED_TOP,
    RECIPE_BOTTOM,
    RECIPE_TOP,
    SHIPPED_BOTTOM,
    SHIPPED_TOP,
    CodemapConfig,
    CodemapTransformer,
    PriorTask,
    PriorTraining,
    cells,
    class_numbers,
    encode_clips,
    model_inputs,
    partial_comb,
    to_map,
    to_sequence,
    transposed,
    withheld_classes,
)
from models.errors import CorpusError, InputError
from models.frontends.mel_if import MelIFConfig, band_centres_hz
from models.training.data import ClipStore
from models.training.task import TaskContext
from models.vqvae2 import VQVAE2System
from tests.models.codemap_fakes import BOTTOM, TOP, notes, write_vqvae
from tests.signals import tone

SMALL_TOP = dataclasses.replace(TOP, bins=4, frames=3)
SMALL_BOTTOM = dataclasses.replace(BOTTOM, bins=4, frames=3)
VARIANTS = [
    pytest.param(dataclasses.replace(config, **change), id=f"{config.level}-{'-'.join(map(str, change.values()))}")
    for config, change in itertools.product(
        (SMALL_TOP, SMALL_BOTTOM),
        (
            {"relative": "grid"},
            {"relative": "sequence", "norm_first": False},
            {"aligned": True, "encoder_mask": "full"},
            {"aligned": True, "relative": "sequence", "encoder_mask": "anticausal"},
            {"comb": True},
        ),
    )
]


def inputs(config: CodemapConfig, batch: int = 2, seed: int = 0) -> tuple[torch.Tensor, ...]:
    g = torch.Generator().manual_seed(seed)
    source = torch.randint(config.codebook_size + 1, (batch, config.bins * config.frames), generator=g)
    target = torch.randint(config.codebook_size, (batch, config.tokens), generator=g)
    return source, target, torch.randint(PITCHES, (batch,), generator=g), torch.randint(11, (batch,), generator=g)


def network(config: CodemapConfig, seed: int = 0) -> CodemapTransformer:
    torch.manual_seed(seed)
    return CodemapTransformer(config).train(False).requires_grad_(False)


@pytest.mark.parametrize(
    ("config", "exact", "stated"),
    [(PUBLISHED_TOP, 54_837_488, 52e6), (PUBLISHED_BOTTOM, 62_299_760, 65e6)],
    ids=["top", "bottom"],
)
def test_published_size(config: CodemapConfig, exact: int, stated: float) -> None:
    found = sum(p.numel() for p in CodemapTransformer(config).parameters())
    assert found == exact
    assert abs(found - stated) < 0.1 * stated


def test_maps_of_the_published_size() -> None:
    assert SHIPPED_TOP.shape == (32, 4)
    assert (SHIPPED_TOP.tokens, SHIPPED_TOP.starts) == (128, 1)
    assert SHIPPED_BOTTOM.shape == (64, 8)
    assert (SHIPPED_BOTTOM.tokens, SHIPPED_BOTTOM.starts) == (512, 4)
    fine = dataclasses.replace(SHIPPED_BOTTOM, patch=4)
    assert fine.shape == (128, 16)
    assert (fine.tokens, fine.starts) == (2048, 16)


def test_top_order_is_time_first_then_low_to_high() -> None:
    order = cells(32, 4, 1)
    for t, f in ((0, 0), (0, 31), (2, 5)):
        assert order[t * 32 + f].tolist() == [f, t]


def test_zigzag_follows_the_patches_and_is_a_bijection() -> None:
    order = cells(32, 4, 2)
    assert order[:5].tolist() == [[0, 0], [1, 0], [0, 1], [1, 1], [2, 0]]
    assert order[4 * 32].tolist() == [0, 2]
    assert len({tuple(cell) for cell in order.tolist()}) == 512
    # The cells of a patch lie under one top cell, whose place in the top order is that of the patch.
    assert torch.equal(order[::4] // 2, cells(32, 4, 1))
    assert torch.equal(order // 2, cells(32, 4, 1).repeat_interleave(4, 0))


@pytest.mark.parametrize("patch", [1, 2, 4])
def test_maps_and_sequences_turn_into_each_other(patch: int) -> None:
    shape = (4 * patch, 3 * patch)
    codes = torch.randperm(shape[0] * shape[1]).reshape(1, *shape)
    sequence = to_sequence(codes, patch)
    assert sequence.shape == (1, shape[0] * shape[1])
    assert torch.equal(to_map(sequence, shape, patch), codes)


@pytest.mark.parametrize("config", VARIANTS)
def test_logits_have_their_shape(config: CodemapConfig) -> None:
    source, target, pitch, family = inputs(config)
    logits = network(config)(source, target[:, :-1], pitch, family)
    assert logits.shape == (2, config.tokens, config.codebook_size)
    assert torch.equal(network(config)(source, target, pitch, family), logits)


@pytest.mark.parametrize("config", VARIANTS)
def test_later_tokens_do_not_reach_earlier_logits(config: CodemapConfig) -> None:
    source, target, pitch, family = inputs(config)
    net = network(config)
    before = net(source, target[:, :-1], pitch, family)
    changed = target.clone()
    place = config.tokens // 2
    changed[:, place] = (changed[:, place] + 1) % config.codebook_size
    after = net(source, changed[:, :-1], pitch, family)
    torch.testing.assert_close(after[:, : place + 1], before[:, : place + 1], atol=1e-6, rtol=1e-6)
    assert float((after[:, place + 1] - before[:, place + 1]).abs().max()) > 1e-3


@pytest.mark.parametrize("config", VARIANTS)
def test_cache_gives_the_logits_of_the_whole_run(config: CodemapConfig) -> None:
    source, target, pitch, family = inputs(config)
    net = network(config)
    whole = net(source, target[:, :-1], pitch, family)
    logits, cache = net.begin(source, pitch, family)
    for i in range(config.tokens):
        torch.testing.assert_close(logits, whole[:, i], atol=2e-5, rtol=1e-4)
        if i + 1 < config.tokens:
            logits = net.step(target[:, i], cache)


def test_anticausal_encoder_hides_what_came_before() -> None:
    config = dataclasses.replace(SMALL_TOP, encoder_mask="anticausal", aligned=True)
    source, target, pitch, family = inputs(config)
    net = network(config)
    before = net(source, target[:, :-1], pitch, family)
    changed = source.clone()
    changed[:, 5] = (changed[:, 5] + 1) % config.codebook_size
    after = net(changed, target[:, :-1], pitch, family)
    # Aligned decoders read source token i at step i only: steps after 5 learn nothing of source token 5.
    reach = (after - before).abs().amax((0, 2))
    assert float(reach[0]) > 1e-5
    # What the target token itself carries onwards is its own value, which has not changed.
    net_full = network(dataclasses.replace(config, encoder_mask="full"))
    gap = net_full(changed, target[:, :-1], pitch, family) - net_full(source, target[:, :-1], pitch, family)
    assert float(gap[:, 6:].abs().max()) > float((after - before)[:, 6:].abs().max())


def test_bottom_sees_the_whole_top_map() -> None:
    source, target, pitch, family = inputs(SMALL_BOTTOM)
    net = network(SMALL_BOTTOM)
    before = net(source, target[:, :-1], pitch, family)
    for place in (0, source.shape[1] - 1):
        changed = source.clone()
        changed[:, place] = (changed[:, place] + 1) % SMALL_BOTTOM.codebook_size
        gap = (net(changed, target[:, :-1], pitch, family) - before).abs().amax((0, 2))
        assert (gap > 0).all()


def test_classes_reach_every_logit() -> None:
    source, target, pitch, family = inputs(SMALL_TOP)
    net = network(SMALL_TOP)
    before = net(source, target[:, :-1], pitch, family)
    for changed in ((torch.full_like(pitch, PITCHES), family), (pitch, torch.full_like(family, len(FAMILIES)))):
        gap = (net(source, target[:, :-1], *changed) - before).abs().amax(2)
        assert (gap > 0).all()


def test_settings_that_make_no_sense_are_refused() -> None:
    for change in ({"level": "middle"}, {"relative": "none"}, {"encoder_mask": "x"}, {"heads": 5}, {"d_model": 48}):
        with pytest.raises(ValueError):
            dataclasses.replace(TOP, **change)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="loss must be"):
        PriorTraining(loss="some")
    with pytest.raises(InputError, match="variants"):
        PriorTraining(variants=0)


def test_source_of_the_top_model_is_its_own_map_masked() -> None:
    top = torch.arange(12).reshape(1, 4, 3)
    bottom = torch.zeros(1, 8, 6, dtype=torch.int64)
    mask = torch.zeros(1, 4, 3, dtype=torch.bool)
    mask[0, :, 1] = True
    tokens, source, counted = model_inputs(SMALL_TOP, top, bottom, mask)
    assert tokens[0].tolist() == [0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11]
    assert source[0].tolist() == [0, 3, 6, 9, *[SMALL_TOP.codebook_size] * 4, 2, 5, 8, 11]
    assert torch.equal(counted, source == SMALL_TOP.codebook_size)
    tokens, source, counted = model_inputs(SMALL_BOTTOM, top, bottom, mask)
    assert tokens.shape == (1, 48)
    assert source[0].tolist() == [0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11]
    assert counted.all()


def test_withheld_classes_hold_their_shares() -> None:
    pitch, family = torch.full((20_000,), 60), torch.full((20_000,), 3)
    p, f = withheld_classes(pitch, family, 0.1, torch.Generator().manual_seed(0))
    none_p, none_f = p == PITCHES, f == len(FAMILIES)
    assert float((none_p & none_f).float().mean()) == pytest.approx(0.1, abs=0.01)
    assert float((none_p & ~none_f).float().mean()) == pytest.approx(0.05, abs=0.01)
    assert float((~none_p & none_f).float().mean()) == pytest.approx(0.05, abs=0.01)
    p, f = withheld_classes(pitch, family, 0.0, torch.Generator().manual_seed(0))
    assert torch.equal(p, pitch)
    assert torch.equal(f, family)


@pytest.mark.parametrize("semitones", [-2, 0, 1])
def test_transposed_tones_have_their_pitch(semitones: int) -> None:
    wave = torch.as_tensor(tone(440.0, 1.0))
    moved = transposed(wave, semitones)
    assert moved.shape == wave.shape
    spectrum = torch.fft.rfft(moved[:12_000] * torch.hann_window(12_000)).abs()
    peak_hz = float(spectrum.argmax()) * 16_000 / 12_000
    assert peak_hz == pytest.approx(440.0 * 2 ** (semitones / 12), abs=1.4)


def test_class_numbers() -> None:
    assert class_numbers({"pitch": 60, "instrument_family_str": "vocal"}, "x") == (60, 10)
    with pytest.raises(CorpusError, match="'x': pitch is 200"):
        class_numbers({"pitch": 200, "instrument_family_str": "vocal"}, "x")
    with pytest.raises(CorpusError, match="'kazoo'; known: bass"):
        class_numbers({"pitch": 60, "instrument_family_str": "kazoo"}, "x")


@pytest.fixture(scope="module")
def vqvae(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_vqvae(tmp_path_factory.mktemp("vqvae"))


def context(config: CodemapConfig, store: ClipStore, vqvae: Path, **settings: Any) -> TaskContext:
    recipe = RECIPE_TOP if config.level == "top" else RECIPE_BOTTOM
    values = {"batch_size": 4, "variants": 1, "class_dropout": 0.0, **settings}
    chosen = dataclasses.replace(PriorTraining(), vqvae=str(vqvae), **values)
    return TaskContext(config, recipe.frontend, chosen, store, store, 0, torch.device("cpu"), False)


@pytest.mark.parametrize("config", [TOP, BOTTOM], ids=["top", "bottom"])
def test_a_tiny_batch_is_overfitted(config: CodemapConfig, vqvae: Path) -> None:
    task = PriorTask(context(config, notes(2), vqvae, masks="full"))
    (part,) = task.parts().values()
    optimiser = torch.optim.AdamW(part.parameters, 3e-3)
    with torch.no_grad():
        first = task.validate()["nll"]
    for step in range(25):
        for name, loss in task.losses(step):
            assert name in task.parts()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    with torch.no_grad():
        last = task.validate()["nll"]
    assert last < 0.5 * first
    assert set(task.report()) == {"nll", "hits"}
    assert task.card()["vqvae"]["codes_sha256"] == VQVAE2System(checkpoint=vqvae).codes_sha256


def test_validation_without_clips_is_empty(vqvae: Path) -> None:
    store = notes(2)
    nothing = store._rows(torch.zeros(2, dtype=torch.bool))
    task = PriorTask(dataclasses.replace(context(TOP, store, vqvae), validation=nothing))
    assert task.validate() == {}


def test_loss_over_all_counts_what_can_be_copied(vqvae: Path) -> None:
    store = notes(2)
    masked, everything = (PriorTask(context(TOP, store, vqvae, masks="zones", loss=name)) for name in ("masked", "all"))
    losses = [float(next(task.losses(0))[1].detach()) for task in (masked, everything)]
    assert losses[0] != losses[1]


def test_other_maps_are_refused(vqvae: Path) -> None:
    with pytest.raises(InputError, match="set bins=32 frames=4 patch=2 codebook_size=32"):
        PriorTask(context(dataclasses.replace(TOP, bins=16), notes(2), vqvae))
    with pytest.raises(InputError, match="mask strategy 'x'"):
        PriorTask(context(TOP, notes(2), vqvae, masks="x"))


def test_codes_of_clips_are_those_of_the_coder_and_are_kept(vqvae: Path, tmp_path: Path) -> None:
    store, coder = notes(3), VQVAE2System(checkpoint=vqvae)
    path = tmp_path / "codes"
    coded = encode_clips(store, coder, variants=2, semitones=2, seed=0, cache=path)
    expected = coder.codes(store.waveforms(torch.arange(3)), sample_rate_hz=16_000)
    assert torch.equal(coded.top[:, 0].long(), expected["top"])
    assert torch.equal(coded.bottom[:, 0].long(), expected["bottom"])
    assert not coded.semitones[:, 0].any()
    assert coded.top.shape == (3, 2, 32, 4)
    assert coded.pitch.tolist() == [60, 61, 62]
    stamp = path.stat().st_mtime_ns
    again = encode_clips(store, coder, variants=2, semitones=2, seed=0, cache=path)
    assert path.stat().st_mtime_ns == stamp
    assert torch.equal(again.bottom, coded.bottom)
    assert len(encode_clips(notes(2), coder, variants=1, semitones=0, seed=0, cache=path)) == 2
    assert path.stat().st_mtime_ns != stamp
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(CorpusError, match="delete it"):
        encode_clips(store, coder, variants=1, semitones=0, seed=0, cache=path)


def test_clips_without_labels_are_refused(vqvae: Path) -> None:
    store = dataclasses.replace(notes(2), labels=({"pitch": 60}, {"pitch": 61}))
    with pytest.raises(CorpusError, match="instrument_family_str is None"):
        encode_clips(store, VQVAE2System(checkpoint=vqvae), variants=1, semitones=0, seed=0)


def test_partial_comb_peaks_where_the_partials_are() -> None:
    config = MelIFConfig()
    comb = partial_comb(32)
    assert comb.shape == (PITCHES + 1, 32, 48)
    assert not comb[PITCHES].any()
    # Without the neighbours' quarters the bands join to the rows of the picture.
    rows = comb[:, :, 8:40].reshape(PITCHES + 1, -1)
    centres_hz = band_centres_hz(config)
    for pitch in (45, 60, 81):
        f0_hz = 440.0 * 2.0 ** ((pitch - 69) / 12)
        for k in (1, 2, 5):
            row = int((centres_hz - k * f0_hz).abs().argmin())
            assert rows[pitch, row] > 0.85
            between = int((centres_hz - (k + 0.5) * f0_hz).abs().argmin())
            assert rows[pitch, between] < 0.01
        assert rows[pitch, : int((centres_hz < 0.8 * f0_hz).sum())].max() < 0.01
    # Neighbours overlap: the last quarter of a band is the first of the next one.
    torch.testing.assert_close(comb[:, 3, 40:], comb[:, 4, 8:16])


def test_comb_tells_every_token_the_pitch() -> None:
    torch.manual_seed(0)
    config = dataclasses.replace(TOP, comb=True)
    network = CodemapTransformer(config).requires_grad_(False).train(False)
    network.pitch.weight.zero_()
    source = torch.full((2, config.tokens), config.codebook_size)
    target, family = torch.zeros(2, config.tokens - 1, dtype=torch.int64), torch.tensor([1, 1])
    logits = network(source, target, torch.tensor([60, 61]), family)
    assert not torch.equal(logits[0], logits[1])
    logits = network(source, target, torch.tensor([PITCHES, PITCHES]), family)
    torch.testing.assert_close(logits[0], logits[1])
    first, cache = network.begin(source, torch.tensor([60, 61]), family)
    whole = network(source, target, torch.tensor([60, 61]), family)
    torch.testing.assert_close(first, whole[:, 0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(network.step(target[:, 0], cache), whole[:, 1], atol=1e-5, rtol=1e-5)
