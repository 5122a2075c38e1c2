import dataclasses

import pytest
import torch

from models.frontends.mel import NAMED
from models.mel_reformer import (
    FRONTEND,
    PUBLISHED_FRONTEND,
    MelReformer,
    MelReformerConfig,
    floor_of,
    row_noise,
    stop_frame,
)

TINY = MelReformerConfig(
    n_mels=6,
    width=16,
    heads=2,
    encoder_layers=1,
    decoder_layers=2,
    feedforward=32,
    fold=8,
    shrink=8,
    window_frames=64,
    shrink_kind="area",
    centre=-2.0,
    span=1.5,
    floor=-5.0,
    base="cubic",
    aligned=True,
    refine=4,
    stop=True,
)
PLAIN = dataclasses.replace(TINY, base="none", aligned=False, refine=0, stop=False, shrink_kind="linear")
FLOW = dataclasses.replace(TINY, stop=False, objective="flow", flow_steps=3, detail=4)


def network(config: MelReformerConfig, seed: int = 0) -> MelReformer:
    torch.manual_seed(seed)
    made = MelReformer(config)
    # The head starts at zero where there is a base; tests of the past need it to listen.
    torch.nn.init.normal_(made.head.weight, std=0.2)
    return made.train(False)


def count(*modules: torch.nn.Module) -> int:
    return sum(p.numel() for m in modules for p in m.parameters())


def mels(batch: int = 2, frames: int = 64, seed: int = 1) -> torch.Tensor:
    return torch.randn(batch, 6, frames, generator=torch.Generator().manual_seed(seed)) - 2.0


@pytest.fixture(autouse=True)
def no_gradients() -> object:
    with torch.no_grad():
        yield


def test_published_sizes() -> None:
    with torch.device("meta"):
        made = MelReformer(MelReformerConfig())
    assert count(made) == 77_310_464
    assert count(made.encoder_embed, made.encoder, made.encoder_norm) == 28_462_848
    assert count(made.decoder_embed, made.decoder, made.decoder_norm) == 45_693_696
    assert count(made.head) == 3_149_824
    assert made.start.numel() == 4_096
    assert (made.config.tokens, made.config.columns, made.config.token_size) == (64, 64, 4096)


def test_published_front_end_is_power_and_ln_and_ours_the_vocoders() -> None:
    assert PUBLISHED_FRONTEND is NAMED["melreformer"]
    assert (FRONTEND.power, FRONTEND.log, FRONTEND.n_mels) == (1, "log10", 128)
    assert floor_of(FRONTEND) == pytest.approx(-5.0)
    assert floor_of(PUBLISHED_FRONTEND) == pytest.approx(MelReformerConfig().floor)


@pytest.mark.parametrize("config", [TINY, PLAIN], ids=["ours", "published"])
def test_the_future_is_hidden(config: MelReformerConfig) -> None:
    made = network(config)
    mel = mels()
    memory = made.remember(made.condition(mel))
    past = made.scaled(mel)
    changed = past.clone()
    changed[:, 4] += 1.0
    a, b = made.teacher_forced(past, memory).tokens, made.teacher_forced(changed, memory).tokens
    torch.testing.assert_close(a[:, :5], b[:, :5], rtol=0, atol=0)
    assert float((a[:, 5:] - b[:, 5:]).abs().max()) > 1e-3


def test_the_encoder_sees_both_directions() -> None:
    made = network(PLAIN)
    mel = mels()
    condition = made.condition(mel)
    other = condition.clone()
    other[..., -1] += 1.0
    past = made.scaled(mel)
    a = made.teacher_forced(past, made.remember(condition)).tokens
    b = made.teacher_forced(past, made.remember(other)).tokens
    assert float((a[:, 0] - b[:, 0]).abs().max()) > 1e-5


@pytest.mark.parametrize("config", [TINY, PLAIN], ids=["ours", "published"])
@pytest.mark.parametrize("fold", [8, 16, 32, 64])
def test_cached_and_plain_decoding_agree(config: MelReformerConfig, fold: int) -> None:
    made = network(dataclasses.replace(config, fold=fold, window_frames=256))
    memory = made.remember(made.condition(mels(frames=256)))
    fast, slow = made.free_running(memory), made.free_running(memory, cached=False)
    assert fast.tokens.shape == (2, 256 // fold, 6 * fold)
    torch.testing.assert_close(fast.tokens, slow.tokens, rtol=0, atol=1e-5)
    if fast.stop is not None and slow.stop is not None:
        torch.testing.assert_close(fast.stop, slow.stop, rtol=0, atol=1e-5)


@pytest.mark.parametrize("config", [TINY, PLAIN], ids=["ours", "published"])
def test_teacher_forcing_with_own_output_is_free_running(config: MelReformerConfig) -> None:
    made = network(config)
    memory = made.remember(made.condition(mels()))
    free = made.free_running(memory)
    forced = made.teacher_forced(free.tokens, memory)
    torch.testing.assert_close(forced.tokens, free.tokens, rtol=0, atol=1e-5)
    other = made.teacher_forced(made.scaled(mels(seed=9)), memory).tokens
    assert float((other - free.tokens).abs().max()) > 1e-3


@pytest.mark.parametrize("config", [TINY, PLAIN], ids=["ours", "published"])
def test_a_prime_of_own_output_changes_nothing(config: MelReformerConfig) -> None:
    # Without the start token before it, every primed token would sit one position early.
    made = network(config)
    memory = made.remember(made.condition(mels()))
    whole = made.free_running(memory).tokens
    for k in (1, 5):
        primed = made.free_running(memory, prime=whole[:, :k]).tokens
        torch.testing.assert_close(primed, whole, rtol=0, atol=1e-5)
    assert made.free_running(memory, prime=whole).tokens.shape == whole.shape


def test_a_prime_is_kept_and_heard() -> None:
    made = network(TINY)
    memory = made.remember(made.condition(mels()))
    prime = torch.randn(2, 3, TINY.token_size)
    primed = made.free_running(memory, prime=prime).tokens
    torch.testing.assert_close(primed[:, :3], prime, rtol=0, atol=0)
    assert float((primed[:, 3] - made.free_running(memory).tokens[:, 3]).abs().max()) > 1e-3


@pytest.mark.parametrize("columns", [1, 3, 8])
def test_conditions_of_any_length(columns: int) -> None:
    made = network(TINY)
    written = made.free_running(made.remember(mels(frames=columns)))
    assert made.mel(written.tokens).shape == (2, 6, columns * 8)


def test_an_untrained_network_with_a_base_stretches() -> None:
    torch.manual_seed(0)
    made = MelReformer(TINY).train(False)
    condition = made.condition(mels())
    from models.frontends.time_resize import stretch

    written = made.mel(made.free_running(made.remember(condition)).tokens)
    torch.testing.assert_close(written, stretch(condition, 64, "cubic").clamp_min(-5.0), rtol=0, atol=1e-5)


def test_flow_noise_decides_and_steps_end_at_the_data() -> None:
    made = network(FLOW)
    memory = made.remember(made.condition(mels()))
    noise = row_noise([1, 2], 8, FLOW.token_size)
    a, b = made.flow(memory, noise).tokens, made.flow(memory, row_noise([3, 4], 8, FLOW.token_size)).tokens
    torch.testing.assert_close(a, made.flow(memory, noise).tokens, rtol=0, atol=0)
    assert float((a - b).abs().max()) > 1e-4
    # One step is the network's own estimate of the data.
    assert memory.base is not None
    guess = made.decode(noise, memory, time=torch.zeros(2, 8))[0].tokens
    assert made.config.flow_steps == 3
    expected = memory.base + FLOW.flow_scale * guess
    torch.testing.assert_close(made.flow(memory, noise, steps=1).tokens, expected, rtol=0, atol=1e-5)


def test_flow_keeps_its_prime_and_hears_it() -> None:
    made = network(FLOW)
    memory = made.remember(made.condition(mels()))
    noise = row_noise([1, 2], 8, FLOW.token_size)
    prime = torch.randn(2, 2, FLOW.token_size)
    primed = made.flow(memory, noise, prime=prime).tokens
    torch.testing.assert_close(primed[:, :2], prime, rtol=0, atol=0)
    assert float((primed[:, 2:] - made.flow(memory, noise).tokens[:, 2:]).abs().max()) > 1e-5


def test_variants_are_of_equal_size() -> None:
    from models.training import mel_reformer_task as task

    recipes = [task.RECIPE, task.GAN_RECIPE, task.FLOW_RECIPE, task.RECIPE_N8, task.RECIPE_N16, task.RECIPE_N64]
    sizes = [count(MelReformer(recipe.config)) for recipe in recipes]
    assert max(sizes) < 1.03 * min(sizes)
    assert sizes[0] == sizes[1]
    plain = dataclasses.replace(task.RECIPE.config, refine=0)
    assert sizes[0] - count(MelReformer(plain)) == 32 * 16 + 32 * (32 * 15 + 1) + 32 * (32 * 9 + 1)


def test_stop_frame_is_the_filled_share_of_the_first_end() -> None:
    stop = torch.tensor([[[-3.0, 0.0], [2.0, 0.0], [9.0, 9.0]], [[-1.0, 0.0]] * 3])
    assert stop_frame(stop, TINY) == [8 + 4, None]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"heads": 3}, "multiple of heads"),
        ({"window_frames": 60}, "multiple of fold"),
        ({"base": "quadratic"}, "base must be one of"),
        ({"objective": "flow"}, "no stop head"),
        ({"base": "none", "refine": 4}, "refine needs a base"),
        ({"detail": 4}, "detail needs"),
        ({"objective": "flow", "stop": False, "detail": 4, "n_mels": 7}, "pairs of bands"),
    ],
)
def test_impossible_configurations_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(TINY, **changes)  # type: ignore[arg-type]


def test_impossible_conditions_are_refused() -> None:
    made = network(dataclasses.replace(TINY, fold=16))
    with pytest.raises(ValueError, match="condition must have shape"):
        made.remember(torch.zeros(1, 5, 4))
    with pytest.raises(ValueError, match="condition must have shape"):
        made.remember(torch.zeros(1, 6, 9))
    with pytest.raises(ValueError, match="not a multiple of fold=16"):
        made.remember(torch.zeros(1, 6, 3))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cpu_and_gpu_agree() -> None:
    made = network(TINY)
    condition = made.condition(mels())
    here = made.free_running(made.remember(condition)).tokens
    there = made.to("cuda")
    away = there.free_running(there.remember(condition.cuda())).tokens
    torch.testing.assert_close(away.cpu(), here, rtol=0, atol=1e-3)
