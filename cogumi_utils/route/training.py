"""The router's network and its training: torch is needed here alone, never to decide."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cogumi_utils.route import features, onnx_graph
from cogumi_utils.route.onnx_graph import node
from cogumi_utils.route.settings import Settings

if TYPE_CHECKING:
    import numpy as np
    import torch

DIMENSIONS, HIDDEN = 128, (64, 32)
KEPT = 20_000  # texts whose rows are kept between trainings
ROWS, WEIGHTS, PROBABILITIES = "rows", "weights", "probabilities"  # what the ONNX file calls its inputs and output


def network(routes: int, dropout: float, table: np.ndarray, seed: int) -> torch.nn.Module:
    """`table` [25,000, 128], whose weighted sum goes through 128 → 64 → 32 → routes, to logits. seed: of the head."""
    import torch
    from torch import nn

    class Bag(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding.from_pretrained(torch.from_numpy(table), freeze=False)
            layers: list[nn.Module] = []
            for wide, narrow in zip((DIMENSIONS, *HIDDEN[:-1]), HIDDEN, strict=True):
                layers += [nn.Linear(wide, narrow), nn.ReLU(), nn.Dropout(dropout)]
            self.head = nn.Sequential(*layers, nn.Linear(HIDDEN[-1], routes))

        def forward(self, rows: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
            return self.head((weights.unsqueeze(1) @ self.table(rows)).squeeze(1))

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Bag()


def fit(
    texts: Sequence[str], targets: np.ndarray, settings: Settings, seed: int, weights: np.ndarray | None = None
) -> torch.nn.Module:
    """Train on soft targets [texts, routes] that sum to 1 each; weights: of the texts, mean 1.

    The table comes from a linear model (see `linear_table`), the head is trained on top by Adam with linear decay. A
    table that stays as it is spans one direction a route: queries are pooled in these few, and then turned.
    """
    import numpy as np
    import torch
    from torch.nn import functional as F

    bags = [_rows_of(text) for text in texts]
    importance = np.ones(len(texts)) if weights is None else weights
    slopes, directions = linear_table(bags, targets, importance, settings.strength, seed)
    bag = network(targets.shape[1], settings.dropout, slopes @ directions, seed)
    learns_on = settings.table_lr > 0
    bag.table.weight.requires_grad_(learns_on)
    table, turned = bag.table.weight, torch.eye(DIMENSIONS)
    if not learns_on:
        table, turned = torch.from_numpy(slopes), torch.from_numpy(directions)
    wanted, importance = (torch.from_numpy(array.astype("float32")) for array in (targets, importance))
    optimiser = torch.optim.Adam(_groups(bag, settings))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: 1 - step / settings.steps)
    generator = torch.Generator().manual_seed(seed)
    rounds = -(-settings.steps * settings.batch // len(texts))
    order = torch.cat([torch.randperm(len(texts), generator=generator) for _ in range(rounds)])
    with torch.random.fork_rng(devices=[]):  # dropout draws from the global generator, which is put back
        torch.manual_seed(seed)
        bag.train()
        for chosen in order.split(settings.batch)[: settings.steps]:
            pooled = _pooled(table, [bags[place] for place in chosen.tolist()], settings.row_dropout, generator)
            losses = F.cross_entropy(
                bag.head(pooled @ turned), wanted[chosen], reduction="none", label_smoothing=settings.label_smoothing
            )
            (losses * importance[chosen]).mean().backward()
            optimiser.step()
            optimiser.zero_grad()
            schedule.step()
    return bag.eval()


def _groups(bag: torch.nn.Module, settings: Settings) -> list[dict]:
    head = {"params": bag.head.parameters(), "lr": settings.head_lr, "weight_decay": settings.weight_decay}
    return [head, *([{"params": [bag.table.weight], "lr": settings.table_lr}] if settings.table_lr > 0 else [])]


def linear_table(
    bags: Sequence[tuple[np.ndarray, np.ndarray]], targets: np.ndarray, importance: np.ndarray, strength: float,
    seed: int,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """([25,000, routes], [routes, 128]), float32, whose product is the table: each row's weights in a logistic
    regression, times its inverse document frequency, and where they lie in the table's columns.

    A convex model with few degrees of freedom for each n-gram, and none for those never seen, carries over to new
    sources far better than a table that gradients fill from noise. The routes' weights lie along random orthogonal
    directions, of which the head makes what it wants. strength: inverse of the L2 penalty.
    """
    import numpy as np
    from scipy import sparse
    from sklearn.linear_model import LogisticRegression

    counts = [len(rows) for rows, _ in bags]
    places = (np.repeat(np.arange(len(bags)), counts), np.concatenate([rows for rows, _ in bags]))
    found = sparse.csr_matrix((np.concatenate([weights for _, weights in bags]), places), (len(bags), features.ROWS))
    frequency = np.bincount(found.indices, minlength=features.ROWS)  # csr_matrix adds up a query's equal rows
    rarity = np.log((1 + len(bags)) / (1 + frequency)) + 1
    query, route = np.nonzero(targets)
    slopes = np.zeros((targets.shape[1], features.ROWS))
    if len(set(route)) > 1:
        scaled = (found @ sparse.diags(rarity)).tocsr()[query]
        linear = LogisticRegression(C=strength, max_iter=200, tol=1e-3)
        linear.fit(scaled, route, sample_weight=targets[query, route] * importance[query])
        two = len(linear.coef_) == 1  # the slopes of two routes are stored as one difference
        slopes[linear.classes_] = np.vstack([-linear.coef_, linear.coef_]) / 2 if two else linear.coef_
    directions = np.linalg.qr(np.random.default_rng(seed).normal(size=(DIMENSIONS, targets.shape[1])))[0]
    return (slopes * rarity).T.astype(np.float32), directions.T.astype(np.float32)


@functools.lru_cache(maxsize=KEPT)
def _rows_of(text: str) -> tuple[np.ndarray, np.ndarray]:
    """`features.rows_of`, kept: who leaves one set out after another trains on the same texts each time."""
    return features.rows_of(text)


def _pooled(table: torch.Tensor, bags: list[tuple], row_dropout: float, generator: torch.Generator) -> torch.Tensor:
    """The weighted sums of queries' rows of `table`, [queries, columns]: each query without up to `row_dropout` of its
    rows.

    The share is drawn for each query, so that the head sees little evidence as well as much.
    """
    import numpy as np
    import torch
    from torch.nn import functional as F

    rows = torch.from_numpy(np.concatenate([rows for rows, _ in bags]))
    weights = torch.from_numpy(np.concatenate([weights for _, weights in bags]))
    counts = torch.tensor([len(rows) for rows, _ in bags])
    shares = (torch.rand(len(bags), generator=generator) * row_dropout).repeat_interleave(counts)
    kept = torch.rand(len(rows), generator=generator) >= shares
    starts = torch.cat([torch.zeros(1, dtype=torch.long), counts[:-1]]).cumsum(0)
    return F.embedding_bag(rows, table, starts, mode="sum", per_sample_weights=weights * kept)


def to_onnx(bag: torch.nn.Module) -> bytes:
    """The network with its softmax as an ONNX model of rows [n, k] int64 and weights [n, k] to probabilities."""
    import numpy as np

    stored = {name: value.numpy() for name, value in bag.state_dict().items()}
    layers = sorted({int(name.split(".")[1]) for name in stored if name.startswith("head.")})
    constants = {"table": stored["table.weight"], "middle": np.array([1], dtype=np.int64)}
    nodes = [
        node("Gather", ["table", ROWS], "found"),
        node("Unsqueeze", [WEIGHTS, "middle"], "shares"),
        node("MatMul", ["shares", "found"], "sums"),
        node("Squeeze", ["sums", "middle"], "input 0"),
    ]
    for number, layer in enumerate(layers):
        matrix, bias = f"matrix {number}", f"bias {number}"
        constants |= {matrix: stored[f"head.{layer}.weight"].T, bias: stored[f"head.{layer}.bias"]}
        nodes += [
            node("MatMul", [f"input {number}", matrix], f"product {number}"),
            node("Add", [f"product {number}", bias], f"output {number}"),
            node("Relu", [f"output {number}"], f"input {number + 1}"),
        ]
    nodes[-1] = node("Softmax", [f"output {len(layers) - 1}"], PROBABILITIES, axis=-1)  # no ReLU after the last
    axes = ["queries", "longest"]
    inputs = {ROWS: (np.int64, axes), WEIGHTS: (np.float32, axes)}
    return onnx_graph.model(
        "router", nodes, constants, inputs, (PROBABILITIES, ["queries", len(stored[f"head.{layers[-1]}.bias"])])
    )
