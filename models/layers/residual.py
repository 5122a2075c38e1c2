"""The residual block of VQ-VAE-2."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ResidualBlock(nn.Module):
    """Rectify, 3 x 3 to a narrow width, rectify, 1 x 1 back, add.

    Args:
        channels: Channels in and out.
        hidden: Channels between the two convolutions.

    Source:
        Razavi, van den Oord and Vinyals, "Generating Diverse High-Fidelity Images with VQ-VAE-2", 2019.
    """

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels, hidden, 3, padding=1)
        self.expand = nn.Conv2d(hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(batch, channels, height, width)`` to the same shape."""
        out: Tensor = x + self.expand(torch.relu(self.squeeze(torch.relu(x))))
        return out
