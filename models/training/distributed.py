"""Several processes that train one model, each on a device of its own, started by ``torchrun``."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, distributed, nn

from models.errors import InputError


class Group:
    """The processes of a run; a lone process is a group of one.

    Args:
        device: Device name as the user gave it; ``cuda`` becomes the device of this process.
    """

    def __init__(self, device: str) -> None:
        self.size = int(os.environ.get("WORLD_SIZE", "1"))
        self.rank = int(os.environ.get("RANK", "0"))
        self.device = device
        if self.size > 1:
            if device.startswith("cuda:"):
                raise InputError(f"--device {device}: with torchrun name no device number; use cuda")
            if device == "cuda":
                self.device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
                torch.cuda.set_device(self.device)
            if not distributed.is_initialized():
                distributed.init_process_group("nccl" if device == "cuda" else "gloo")

    @property
    def leads(self) -> bool:
        """Whether this process writes files and reports."""
        return self.rank == 0

    def seed(self, seed: int) -> int:
        """Seed of this process's own draws."""
        return seed + 1_000_003 * self.rank

    def share(self, modules: Iterable[nn.Module]) -> None:
        """Give every process the parameters and buffers of the first."""
        if self.size > 1:
            for module in modules:
                for value in (*module.parameters(), *module.buffers()):
                    distributed.broadcast(value.data, 0)

    def share_buffers(self, modules: Iterable[nn.Module]) -> None:
        """Give every process the buffers of the first; codebooks and running statistics are those of its batch."""
        if self.size > 1:
            for module in modules:
                for value in module.buffers():
                    distributed.broadcast(value, 0)

    def average_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Replace every gradient by its mean over the processes."""
        if self.size > 1:
            for parameter in parameters:
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
                distributed.all_reduce(parameter.grad)
                parameter.grad /= self.size

    def agree(self, stop: bool, elapsed_s: float) -> tuple[bool, float]:
        """Whether any process wants to stop, and the first process's clock."""
        if self.size == 1:
            return stop, elapsed_s
        device = torch.device(self.device)
        wish = torch.tensor(float(stop), dtype=torch.float64, device=device)
        distributed.all_reduce(wish, op=distributed.ReduceOp.MAX)
        clock: Tensor = torch.tensor(elapsed_s, dtype=torch.float64, device=device)
        distributed.broadcast(clock, 0)
        return bool(wish), float(clock)

    def close(self) -> None:
        """End the group."""
        if self.size > 1 and distributed.is_initialized():
            distributed.destroy_process_group()
