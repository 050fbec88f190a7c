"""The router's network and its training: torch is needed here alone, never to decide."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cogumi_utils.route import features
from cogumi_utils.route.settings import Settings

if TYPE_CHECKING:
    import numpy as np
    import torch

DIMENSIONS, HIDDEN = 128, (64, 32)
ROWS, WEIGHTS, PROBABILITIES = "rows", "weights", "probabilities"  # what the ONNX file calls its inputs and output


def network(routes: int, dropout: float, table: np.ndarray | None, seed: int) -> torch.nn.Module:
    """Table of 25,000 × 128 whose weighted sum goes through 128 → 64 → 32 → routes; logits, deterministic in `seed`.

    table: [25,000, 128] to start from instead of noise.
    """
    import torch
    from torch import nn

    class Bag(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(features.ROWS, DIMENSIONS)
            nn.init.normal_(self.table.weight, std=0.1)
            layers = [nn.LayerNorm(DIMENSIONS)]
            for wide, narrow in zip((DIMENSIONS, *HIDDEN[:-1]), HIDDEN, strict=True):
                layers += [nn.Linear(wide, narrow), nn.ReLU(), nn.Dropout(dropout)]
            self.head = nn.Sequential(*layers, nn.Linear(HIDDEN[-1], routes))

        def forward(self, rows: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
            return self.head((weights.unsqueeze(1) @ self.table(rows)).squeeze(1))

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        bag = Bag()
    if table is not None:
        bag.table.weight.data.copy_(torch.from_numpy(table))
    return bag


def fit(
    texts: Sequence[str], targets: np.ndarray, settings: Settings, seed: int, *,
    table: np.ndarray | None = None, weights: np.ndarray | None = None,
) -> torch.nn.Module:  # fmt: skip
    """Train on soft targets [texts, routes] that sum to 1 each; weights: of the texts, mean 1. Adam, linear decay."""
    import torch
    from torch.nn import functional as F

    bag = network(targets.shape[1], settings.dropout, table, seed)
    bags = [tuple(map(torch.from_numpy, features.rows_of(text))) for text in texts]
    wanted = torch.from_numpy(targets.astype("float32"))
    importance = torch.ones(len(texts)) if weights is None else torch.from_numpy(weights.astype("float32"))
    optimiser = torch.optim.Adam(
        [
            {"params": [bag.table.weight], "lr": settings.table_lr},
            {"params": bag.head.parameters(), "lr": settings.head_lr, "weight_decay": settings.weight_decay},
        ]
    )
    steps = settings.epochs * -(-len(texts) // settings.batch)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: 1 - step / steps)
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):  # dropout draws from the global generator, which is put back
        torch.manual_seed(seed)
        bag.train()
        for _ in range(settings.epochs):
            for chosen in torch.randperm(len(texts), generator=generator).split(settings.batch):
                pooled = _pooled(bag, [bags[place] for place in chosen.tolist()], settings.row_dropout, generator)
                losses = F.cross_entropy(
                    bag.head(pooled), wanted[chosen], reduction="none", label_smoothing=settings.label_smoothing
                )
                (losses * importance[chosen]).mean().backward()
                optimiser.step()
                optimiser.zero_grad()
                schedule.step()
    return bag.eval()


def _pooled(bag: torch.nn.Module, bags: list[tuple], row_dropout: float, generator: torch.Generator) -> torch.Tensor:
    """The weighted sums of some queries' rows, a share of the rows left out: [queries, 128]."""
    import torch
    from torch.nn import functional as F

    rows = torch.cat([rows for rows, _ in bags])
    weights = torch.cat([weights for _, weights in bags])
    kept = torch.rand(len(rows), generator=generator) >= row_dropout
    starts = torch.tensor([0, *(len(rows) for rows, _ in bags[:-1])]).cumsum(0)
    return F.embedding_bag(rows, bag.table.weight, starts, mode="sum", per_sample_weights=weights * kept)


def to_onnx(bag: torch.nn.Module) -> bytes:
    """The network with its softmax as an ONNX model of rows [n, k] int64 and weights [n, k] to probabilities."""
    import logging
    import warnings

    import torch

    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it warns of torchvision, which is not needed

    class WithSoftmax(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.bag = bag

        def forward(self, rows: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
            return self.bag(rows, weights).softmax(-1)

    example = (torch.zeros(2, 3, dtype=torch.long), torch.ones(2, 3))
    queries, longest = torch.export.Dim("queries"), torch.export.Dim("longest")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns of its own parts
        program = torch.onnx.export(
            WithSoftmax().eval(), example, dynamo=True, verbose=False, input_names=[ROWS, WEIGHTS],
            output_names=[PROBABILITIES], dynamic_shapes=({0: queries, 1: longest}, {0: queries, 1: longest}),
        )  # fmt: skip
    return program.model_proto.SerializeToString()
