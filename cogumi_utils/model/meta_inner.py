"""The inner loop: a few steps of SGD on a family's support set, for many families at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from cogumi_utils.model.meta_adapters import Learner, Weights, stacked
from cogumi_utils.model.meta_batches import Batch

Rates = Mapping[str, Tensor]  # {name: [steps]}, learning rate of each of the adapters' matrices at each step


class Adapted(NamedTuple):
    """weights: one adapter a task, leaves that ask for gradients. moved: the gradients [tasks, out, in] of each step,
    kept where rates are learned. losses: nats, mean over the tasks before each step.
    """

    weights: dict[str, Tensor]
    moved: list[dict[str, Tensor]]
    losses: list[float]


def gradients(learner: Learner, weights: Weights, batch: Batch) -> tuple[dict[str, Tensor], Tensor]:
    """({name: gradient of the sum of the tasks' losses}, losses [tasks]); with stacked weights: each task's own."""
    losses = learner.losses(weights, batch)
    found = torch.autograd.grad(losses.sum(), list(weights.values()))
    return dict(zip(weights, found, strict=True)), losses.detach()


def asking(weights: Weights) -> dict[str, Tensor]:
    """The same values as leaves of a new graph."""
    return {name: value.detach().requires_grad_() for name, value in weights.items()}


def fixed_rates(weights: Weights, rate: float, steps: int, adapts: str = "") -> dict[str, Tensor]:
    """`rate` for every matrix whose name contains `adapts`, 0 for the others."""
    return {name: torch.full((steps,), rate if adapts in name else 0.0) for name in weights}


def adapt(
    learner: Learner, weights: Weights, rates: Rates, batch: Batch, *, steps: int, keep: bool = False,
    longest: float = float("inf"),
) -> Adapted:  # fmt: skip
    """`steps` steps of SGD from the shared `weights` on, each task on its own rows of `batch`, first order.

    Beyond the last step of `rates` its last rate goes on. longest: a task's gradient of a larger norm is cut to it, so
    that large rates do not throw a task far off in its first step.
    """
    current, moved, losses = asking(stacked(weights, batch.tasks)), [], []
    for step in range(steps):
        found, loss = gradients(learner, current, batch)
        found = _cut(found, longest)
        losses.append(loss.mean().item())
        moves = {n: rates[n][min(step, len(rates[n]) - 1)] * g for n, g in found.items()}
        current = asking({n: w.detach() - moves[n] for n, w in current.items()})
        if keep:
            moved.append(found)
    return Adapted(current, moved, losses)


def _cut(found: dict[str, Tensor], longest: float) -> dict[str, Tensor]:
    """Each task's gradient [tasks, out, in], over all matrices, no longer than `longest`."""
    if longest == float("inf"):
        return found
    norms = sum(g.flatten(1).pow(2).sum(1) for g in found.values()).sqrt()
    shares = (longest / norms.clamp(min=1e-12)).clamp(max=1.0)[:, None, None]
    return {name: g * shares for name, g in found.items()}


def outer_gradient(learner: Learner, adapted: Adapted, queries: Batch) -> tuple[dict[str, Tensor], Rates, float]:
    """FOMAML's outer gradient (Finn et al. 2017, section 5.2): that of the queries' loss at the adapted weights.

    With it the first-order gradient of each rate (Meta-SGD, Li et al. 2017, as in MAML++ one a matrix and step), {} if
    the inner gradients were not kept; and the mean loss, nats.
    """
    found, losses = gradients(learner, adapted.weights, queries)
    shared = {name: gradient.mean(0) for name, gradient in found.items()}
    if not adapted.moved:
        return shared, {}, losses.mean().item()
    rates = {n: -torch.stack([(g * step[n]).sum() for step in adapted.moved]) / queries.tasks for n, g in found.items()}
    return shared, rates, losses.mean().item()
