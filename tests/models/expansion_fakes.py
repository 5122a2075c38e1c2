"""A tiny trained-looking MelReformer and a vocoder that fits in the head."""

import dataclasses
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from models.checkpoint import save
from models.frontends.mel import MelConfig
from models.mel_reformer import FRONTEND, MelReformer, MelReformerConfig

SMALL = MelReformerConfig(
    width=16,
    heads=2,
    encoder_layers=1,
    decoder_layers=1,
    feedforward=32,
    fold=16,
    shrink=32,
    window_frames=128,
    shrink_kind="area",
    centre=-2.0,
    span=1.5,
    floor=-5.0,
    base="cubic",
    aligned=True,
    refine=12,
    stop=True,
)
SMALL_FLOW = dataclasses.replace(SMALL, stop=False, objective="flow", flow_steps=2, detail=4)


class FakeVocoder:
    """Samples of a column are a mean over the columns around it, up to three to each side."""

    reach = 3

    def __init__(self, frontend: MelConfig = FRONTEND) -> None:
        self.frontend = frontend

    def vocode(self, mel: Tensor) -> Tensor:
        level = torch.nn.functional.pad(mel.mean(1, keepdim=True), (self.reach, self.reach), value=-5.0)
        smooth = torch.nn.functional.avg_pool1d(level, 2 * self.reach + 1, stride=1)[:, 0]
        return 0.1 * smooth.repeat_interleave(self.frontend.stft.hop_length, 1)

    def stream(self, blocks: Iterable[Tensor]) -> Iterator[Tensor]:
        hop, held = self.frontend.stft.hop_length, None
        spent = 0
        for block in blocks:
            held = block if held is None else torch.cat([held, block], -1)
            ready = held.shape[-1] - self.reach
            if ready > spent:
                yield self.vocode(held)[:, spent * hop : ready * hop]
                first = max(0, ready - self.reach)
                held, spent = held[..., first:], ready - first
        if held is not None:
            yield self.vocode(held)[:, spent * hop :]

    def describe(self) -> dict[str, object]:
        return {"name": "fake"}


def tiny_network(config: MelReformerConfig = SMALL) -> MelReformer:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = MelReformer(config)
        torch.nn.init.normal_(network.head.weight, std=0.05)
    return network.train(False)


def write_checkpoint(
    folder: Path, name: str = "mel_reformer", config: MelReformerConfig = SMALL, **card: object
) -> Path:
    """A checkpoint of the tiny network, its card changed by the arguments."""
    save(
        folder,
        tiny_network(config).state_dict(),
        {
            "name": name,
            "config": dataclasses.asdict(config),
            "frontend": {"settings": FRONTEND.as_dict(), "sha256": FRONTEND.sha256()},
            **card,
        },
    )
    return folder


def fake_mel(batch: int, frames: int, seed: int = 0) -> Tensor:
    """Log-mels between the floor and 0."""
    return -5.0 * torch.rand(batch, 128, frames, generator=torch.Generator().manual_seed(seed))
