"""Meta-training of adapters over task families: FOMAML, ANIL and Reptile, and what they are compared with.

All arms draw from the same families and read as many tokens forward and backward; what differs is what they do with
them. FOMAML: Finn et al. 2017. ANIL (only the last block adapts): Raghu et al. 2020. Reptile: Nichol et al. 2018.
Examples in the prompt: MetaICL, Min et al. 2022.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from cogumi_utils.data.skills import families
from cogumi_utils.data.skills.families import Episode
from cogumi_utils.errors import CogumiError
from cogumi_utils.model.meta_adapters import Learner
from cogumi_utils.model.meta_batches import Batch, batch_of, in_chat, rows_of
from cogumi_utils.model.meta_inner import Rates, adapt, asking, fixed_rates, gradients, outer_gradient
from cogumi_utils.schema import Example

LONGEST = 1.0  # norm to which the shared gradient is cut
NO_LIMIT = float("inf")


@dataclass(frozen=True, slots=True)
class MetaRecipe:
    """tokens: read forward and backward in all. warm: share of them that goes to plain multi-task steps first.

    tasks: families an outer step. shots: support examples of each, and as many queries. inner_rate: of SGD, where it
    starts if it is learned. longest: norm to which a task's inner gradient is cut. outer_rate: of Adam, which falls
    over the second half. rate_rate: of Adam for the logarithms of the inner rates, 0: they stay. families: of the
    training split.
    """

    algorithm: str
    tokens: int
    tasks: int
    shots: int
    inner_steps: int
    inner_rate: float
    outer_rate: float
    rate_rate: float
    seed: int
    families: int
    longest: float = NO_LIMIT
    warm: float = 0.0
    bf16: bool = False


@dataclass(frozen=True, slots=True)
class MetaTrained:
    """weights, rates: where the inner loop starts and how fast it goes. losses: nats, one an outer step."""

    weights: dict[str, Tensor]
    rates: dict[str, Tensor]
    losses: list[float]
    tokens: int
    seconds: float


@dataclass(frozen=True, slots=True)
class WarmStart:
    """A training after its plain steps, from which every algorithm goes on. tensors: see `_Training.state`."""

    tensors: dict[str, Tensor]
    losses: list[float]
    tokens: int
    seconds: float


def warm_up(learner: Learner, tokenizer: PreTrainedTokenizerBase, recipe: MetaRecipe) -> WarmStart:
    """The plain steps that `recipe.warm` asks for. They are the same for all algorithms of one seed."""
    training, started = _Training(learner, tokenizer, replace(recipe, algorithm="multitask")), time.perf_counter()
    training.go_on(recipe.warm)
    return WarmStart(training.state(), training.losses, training.tokens, time.perf_counter() - started)


def train(
    learner: Learner, tokenizer: PreTrainedTokenizerBase, recipe: MetaRecipe, *, start: WarmStart | None = None,
    log: Callable[[dict[str, float], int], None] | None = None,
) -> MetaTrained:  # fmt: skip
    """Outer steps until `recipe.tokens` are read. The learner's own weights stay as they are.

    start: what `warm_up` gave for the same recipe, so that those steps are not taken again; their tokens, losses and
    seconds count all the same. log: called with ({"meta/loss": nats}, step). Raises CogumiError for an unknown
    algorithm.
    """
    _check(recipe)
    training, started, before = _Training(learner, tokenizer, recipe), time.perf_counter(), 0.0
    if start:
        training.resume(start)
        before = start.seconds
    training.go_on(1.0, log)
    seconds = before + time.perf_counter() - started
    return MetaTrained(training.weights, training.rates, training.losses, training.tokens, seconds)


class _Training:
    """The shared weights and the inner rates, and Adam on both; what was read, and which families come next."""

    def __init__(self, learner: Learner, tokenizer: PreTrainedTokenizerBase, recipe: MetaRecipe):
        self.learner, self.tokenizer, self.recipe = learner, tokenizer, recipe
        self.weights = learner.weights()
        last = f".{learner.depth - 1}." if recipe.algorithm == "anil" else ""
        self.rates = fixed_rates(self.weights, recipe.inner_rate, recipe.inner_steps, last)
        self.logs = {name: rate.log() for name, rate in self.rates.items() if rate[0] > 0}
        self._read_rates()
        groups = [{"params": list(self.weights.values()), "lr": recipe.outer_rate}]
        groups += [{"params": list(self.logs.values()), "lr": recipe.rate_rate}]
        self.adam = torch.optim.Adam(groups, betas=(0.9, 0.99))
        self.pool, self.draws = families.families("train", recipe.families), torch.Generator().manual_seed(recipe.seed)
        self.losses: list[float] = []
        self.tokens = 0

    def go_on(self, share: float, log: Callable[[dict[str, float], int], None] | None = None) -> None:
        """Outer steps until `share` of the recipe's tokens is read."""
        recipe = self.recipe
        while (done := self.tokens / recipe.tokens) < share:
            chosen = torch.randperm(len(self.pool), generator=self.draws)[: recipe.tasks].tolist()
            seed = int(torch.randint(2**31, (1,), generator=self.draws))
            some = families.episodes([self.pool[i] for i in chosen], recipe.shots, recipe.shots, seed=seed)
            loss, read = self.step(some, done)
            self.losses.append(loss)
            self.tokens += read
            if log:
                log({"meta/loss": loss}, len(self.losses))

    def state(self) -> dict[str, Tensor]:
        """{"weights/<name>", "exp_avg/<name>" and the rest of Adam's state of the weights, "draws": generator's state}.

        The inner rates are not in it: plain steps leave them as they are.
        """
        found = {f"weights/{name}": weight for name, weight in self.weights.items()}
        for name, weight in self.weights.items():
            found |= {f"{part}/{name}": value for part, value in self.adam.state.get(weight, {}).items()}
        return {**found, "draws": self.draws.get_state()}

    def resume(self, start: WarmStart) -> None:
        self.losses, self.tokens = list(start.losses), start.tokens
        for key, value in start.tensors.items():
            part, _, name = key.partition("/")
            if part == "draws":
                self.draws.set_state(value)
            elif part == "weights":
                self.weights[name].copy_(value)
            else:  # Adam counts its steps on the CPU
                place = value.device if part == "step" else self.weights[name].device
                self.adam.state[self.weights[name]][part] = value.clone().to(place)

    def step(self, some: Sequence[Episode], done: float) -> tuple[float, int]:
        """One outer step; its loss and the tokens read. done: the share of the training that lies behind."""
        for group, rate in zip(self.adam.param_groups, (self.recipe.outer_rate, self.recipe.rate_rate), strict=True):
            group["lr"] = rate * min(1.0, 2 * (1 - done))
        algorithm = ALGORITHMS["multitask" if done < self.recipe.warm else self.recipe.algorithm]
        with torch.autocast(self.learner.device.type, torch.bfloat16, enabled=self.recipe.bf16):
            return algorithm(self, some)

    def fomaml(self, some: Sequence[Episode]) -> tuple[float, int]:
        return self.first_order(self._batch([e.support for e in some]), self._batch([e.queries for e in some]))

    def together(self, some: Sequence[Episode]) -> tuple[float, int]:
        """FOMAML whose queries have the support examples in their prompts."""
        return self.first_order(self._batch([e.support for e in some]), self._shown(some))

    def first_order(self, support: Batch, queries: Batch) -> tuple[float, int]:
        """`inner_steps` passes over the support sets and one over the queries."""
        recipe = self.recipe
        dials = {"steps": recipe.inner_steps, "keep": recipe.rate_rate > 0, "longest": recipe.longest}
        adapted = adapt(self.learner, self.weights, self.rates, support, **dials)
        shared, rates, loss = outer_gradient(self.learner, adapted, queries)
        self._move(shared, rates)
        return loss, recipe.inner_steps * support.tokens + queries.tokens

    def reptile(self, some: Sequence[Episode]) -> tuple[float, int]:
        """The way from the shared weights to the adapted ones is the gradient; no queries are set apart."""
        total, weights, loss, read = self.recipe.inner_steps + 1, self.weights, 0.0, 0
        for side, steps in (("support", total - total // 2), ("queries", total // 2)):
            batch = self._batch([getattr(e, side) for e in some])
            adapted = adapt(self.learner, weights, self.rates, batch, steps=steps, longest=self.recipe.longest)
            weights, loss, read = adapted.weights, adapted.losses[0], read + steps * batch.tokens
        self._move({n: (self.weights[n] - w).mean(0) / self.recipe.inner_rate for n, w in weights.items()}, {})
        return loss, read

    def multitask(self, some: Sequence[Episode]) -> tuple[float, int]:
        """Two plain steps, on what others take as support and as queries."""
        batches = [self._batch([e.support for e in some]), self._batch([e.queries for e in some])]
        losses = [self.plain(batch) for batch in batches]
        return sum(losses) / 2, sum(batch.tokens for batch in batches)

    def in_prompt(self, some: Sequence[Episode]) -> tuple[float, int]:
        """One answer after all examples of its family."""
        batch = self._shown(some)
        return self.plain(batch), batch.tokens

    def plain(self, batch: Batch) -> float:
        """One step of Adam on the mean loss; that loss."""
        found, losses = gradients(self.learner, asking(self.weights), batch)
        self._move({name: gradient / batch.tasks for name, gradient in found.items()}, {})
        return losses.mean().item()

    def _move(self, shared: dict[str, Tensor], rates: Rates) -> None:
        for name, weight in self.weights.items():
            weight.grad = shared[name]
        for name, log in self.logs.items():
            log.grad = rates[name] * self.rates[name] if rates else None
        torch.nn.utils.clip_grad_norm_(list(self.weights.values()), LONGEST)
        self.adam.step()
        self._read_rates()

    def _read_rates(self) -> None:
        self.rates |= {name: log.exp() for name, log in self.logs.items()}

    def _batch(self, groups: Sequence[Sequence[Example]]) -> Batch:
        rows = [rows_of(self.tokenizer, group) for group in groups]
        return batch_of(rows, self.tokenizer.pad_token_id, self.learner.device.type)

    def _shown(self, some: Sequence[Episode]) -> Batch:
        """Queries with the support examples in their prompts: all of them, or for every second query fewer."""
        sizes = [len(some[0].support) if i % 2 == 0 else 1 + i // 2 for i in range(len(some[0].queries))]
        return self._batch([[in_chat(e.support[:n], q) for n, q in zip(sizes, e.queries, strict=True)] for e in some])


ALGORITHMS = {
    "fomaml": _Training.fomaml, "anil": _Training.fomaml, "reptile": _Training.reptile,
    "multitask": _Training.multitask, "in_prompt": _Training.in_prompt, "together": _Training.together,
}  # fmt: skip


def _check(recipe: MetaRecipe) -> None:
    if recipe.algorithm not in ALGORITHMS:
        raise CogumiError(
            expected=f"one of {', '.join(ALGORITHMS)}",
            found=repr(recipe.algorithm),
            why="each arm of the comparison is trained in its own way",
            fix="correct the name of the algorithm",
        )
