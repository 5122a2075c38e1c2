"""What one training step of the VQ-VAE-2 is."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from models.errors import CheckpointError
from models.frontends.mel_if import MelIF, MelIFConfig
from models.training.data import Augmentation, draw_batch, step_generator
from models.training.task import Part, Recipe, TaskContext, TrainingSettings
from models.vqvae2 import VQVAE2, Loss, PictureScale, VQVAE2Config, training_loss


@dataclasses.dataclass(frozen=True)
class VQVAE2Training(TrainingSettings):
    """How the VQ-VAE-2 learns.

    Attributes:
        gain_db: Range of the random level of a clip, either way.
        shift_s: Range of its random start, either way.
        semitones: Range of its random transposition, either way.
        fresh_codebooks: With ``--init``: fit both codebooks anew, by k-means on the codings of so many clips.
        fresh_top: With ``--init``: start the top level and both quantisers anew and keep only the bottom encoder and
            the decoder. It is the way out when the top map has stopped saying anything.
        frozen_codes: Leave encoders and codebooks as they are and train the decoder alone: clips keep their codes.
    """

    learning_rate: float = 5e-4
    gain_db: float = 6.0
    shift_s: float = 0.03
    semitones: float = 1.0
    fresh_codebooks: int = 0
    fresh_top: bool = False
    frozen_codes: bool = False


class VQVAE2Task:
    """Losses of a step and validation of the VQ-VAE-2.

    Args:
        context: Sizes, settings, clips and device.
    """

    def __init__(self, context: TaskContext) -> None:
        self.context, self.device = context, context.device
        self.settings: VQVAE2Training = context.settings
        s = self.settings
        self.augmentation = Augmentation(s.gain_db, s.shift_s, s.semitones)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(context.seed)
            self.network = VQVAE2(context.config)
        self.network.to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # valid, but not in torch's stubs
        self.scale = PictureScale(context.config, context.frontend).to(self.device)
        self.frontend = MelIF(context.frontend, dtype=torch.float32).to(self.device)
        if s.frozen_codes:
            for coding in self.network.coding_modules():
                coding.requires_grad_(False)
        self.latest: Loss | None = None

    def modules(self) -> Mapping[str, nn.Module]:
        """The network."""
        return {"network": self.network}

    def parts(self) -> Mapping[str, Part]:
        """One optimiser for all that learns; the codebooks follow by themselves."""
        learning = [p for p in self.network.parameters() if p.requires_grad]
        return {"network": Part(learning)}

    def initialise(self, tensors: Mapping[str, Tensor]) -> None:
        """Start from shipped weights.

        Raises:
            CheckpointError: If they are of another size.
        """
        given = {k: v.float() if v.is_floating_point() else v for k, v in tensors.items()}
        if self.settings.fresh_top:
            kept = ("encoder_bottom.", "decoder.")
            own = self.network.state_dict()
            given = {k: given[k] if k.startswith(kept) and k in given else v for k, v in own.items()}
        try:
            self.network.load_state_dict(given)
        except RuntimeError as error:
            raise CheckpointError(f"--init: weights do not fit: {str(error).splitlines()[0]}") from None
        if self.settings.fresh_codebooks:
            self._fit_codebooks(self.settings.fresh_codebooks)

    @torch.no_grad()
    def _fit_codebooks(self, clips: int) -> None:
        self.network.train(False)
        network = self.network
        # The bottom latents hear the top codes, so the top codebook comes first.
        for level, layer, book in (
            ("top", network.to_top, network.codebook_top),
            ("bottom", network.to_bottom, network.codebook_bottom),
        ):
            latents: list[Tensor] = []
            hook = layer.register_forward_hook(
                lambda _layer, _given, made, latents=latents: latents.append(
                    made.float().permute(0, 2, 3, 1).flatten(0, 2)
                )
            )
            for step in range(-(-clips // self.settings.batch_size)):
                picture = self.picture(self._batch(-1 - step))
                with self._autocast():
                    network.encode(self.scale(picture))
            hook.remove()
            book.fit(torch.cat(latents), step_generator(self.context.seed, 0, f"fit {level}"))

    def _batch(self, step: int) -> Tensor:
        return draw_batch(
            self.context.training,
            batch_size=self.settings.batch_size,
            seed=self.context.seed,
            step=step,
            augmentation=self.augmentation,
        )

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.context.bfloat16)

    def picture(self, waveform: Tensor) -> Tensor:
        """Mel-IF pictures of waveforms, channels last, without gradient."""
        with torch.no_grad():
            picture: Tensor = self.frontend(waveform.to(self.device))
        return picture.contiguous(memory_format=torch.channels_last)

    def losses(self, step: int) -> Iterator[tuple[str, Tensor]]:
        """The loss of step number ``step``."""
        if self.settings.frozen_codes:
            self.network.codebook_top.train(False)
            self.network.codebook_bottom.train(False)
        generator = step_generator(self.context.seed, step, "codebook")
        picture = self.picture(self._batch(step))
        with self._autocast():
            self.latest = training_loss(self.network, self.scale, picture, generator)
        yield "network", self.latest.total

    def report(self) -> dict[str, float]:
        """Terms of the latest loss."""
        return self.latest.report() if self.latest is not None else {}

    def export(self) -> dict[str, Tensor]:
        """The network as it stands."""
        return self.network.state_dict()

    def validate(self) -> dict[str, float]:
        """Mean loss terms over the validation clips, and the perplexity and use of both maps over all of them."""
        clips = self.context.validation
        n, batch = len(clips), self.settings.batch_size
        if n == 0:
            return {}
        sums: dict[str, float] = {}
        use = {level: torch.zeros(self.network.config.codebook_size) for level in ("top", "bottom")}
        for start in range(0, n, batch):
            rows = torch.arange(start, min(n, start + batch))
            picture = self.picture(clips.waveforms(rows))
            with self._autocast():
                loss = training_loss(self.network, self.scale, picture)
                top, bottom = self.network.encode(self.scale(picture))
            for name, value in loss.report().items():
                sums[name] = sums.get(name, 0.0) + value * len(rows)
            for level, quantized in (("top", top), ("bottom", bottom)):
                counts = torch.bincount(quantized.codes.flatten().cpu(), minlength=use[level].numel())
                use[level] += counts
        means = {name: value / n for name, value in sums.items()}
        for level, counts in use.items():
            share = counts / counts.sum()
            means[f"perplexity_{level}"] = float(torch.exp(-(share * torch.log(share + 1e-12)).sum()))
            means[f"used_{level}"] = float((counts > 0).float().mean())
        return means


RECIPE = Recipe(
    config=VQVAE2Config(),
    frontend=MelIFConfig(),
    settings=VQVAE2Training(),
    sample_rate_hz=MelIFConfig().sample_rate_hz,
    clip_s=MelIFConfig().n_samples / MelIFConfig().sample_rate_hz,
    task=VQVAE2Task,
    half=False,
)
# The variant with finer maps: more columns and bins in the bottom map, the top map as before.
RECIPE_8X4 = dataclasses.replace(RECIPE, config=VQVAE2Config(factor_bottom=8, factor_top=4))
