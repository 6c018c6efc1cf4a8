"""The tabular network: one embedding table for all categoricals, residual blocks, one logit.

Layer normalisation rather than batch normalisation: a row's result must not depend on the rows beside it, nor on how a
batch is split over workers.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from runtime.training.configuration import TabularNetworkParameters
from runtime.training.schema import InputSchema


class ResidualBlock(nn.Module):
    def __init__(self, width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.normalise = nn.LayerNorm(width)
        self.expand = nn.Linear(width, hidden)
        self.contract = nn.Linear(hidden, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.dropout(functional.relu(self.expand(self.normalise(x))))
        result: torch.Tensor = x + self.dropout(self.contract(hidden))
        return result


class TabularNetwork(nn.Module):
    """Codes [rows, categoricals] int32 and inputs [rows, width] float32 to logits [rows]."""

    offsets: torch.Tensor

    def __init__(self, schema: InputSchema, parameters: TabularNetworkParameters) -> None:
        super().__init__()
        sizes = [categorical.codes for categorical in schema.categoricals]
        starts = [sum(sizes[:position]) for position in range(len(sizes))]
        # One table with an offset per column: one lookup instead of one per column.
        self.register_buffer("offsets", torch.tensor(starts, dtype=torch.int32), persistent=False)
        self.embedding = nn.Embedding(max(1, sum(sizes)), parameters.embedding_size)
        nn.init.normal_(self.embedding.weight, std=parameters.embedding_size**-0.5)
        width = len(sizes) * parameters.embedding_size + schema.normalised_width
        hidden = max(1, round(parameters.width * parameters.expansion))
        self.enter = nn.Linear(width, parameters.width)
        self.blocks = nn.ModuleList(
            ResidualBlock(parameters.width, hidden, parameters.dropout) for _ in range(parameters.blocks)
        )
        self.normalise = nn.LayerNorm(parameters.width)
        self.leave = nn.Linear(parameters.width, 1)
        nn.init.constant_(self.leave.bias, torch.logit(torch.tensor(schema.positive_rate), eps=1e-6).item())

    def forward(self, codes: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
        looked_up = self.embedding(codes + self.offsets).flatten(1)
        x = self.enter(torch.cat([looked_up, inputs], dim=1))
        for block in self.blocks:
            x = block(x)
        logits: torch.Tensor = self.leave(functional.relu(self.normalise(x))).squeeze(1)
        return logits


def forward_flops_per_row(network: nn.Module) -> int:
    """Floating-point operations of the matrix products for one row: two for each weight of a linear layer.

    Lookups, normalisation and activations are left out, as is usual for model FLOPs utilisation.
    Source: Chowdhery et al. 2022 (PaLM), appendix B.
    """
    return sum(2 * m.in_features * m.out_features for m in network.modules() if isinstance(m, nn.Linear))


def training_flops_per_row(network: nn.Module) -> int:
    """Forward, and twice as much backward (gradients of inputs and of weights)."""
    return 3 * forward_flops_per_row(network)
