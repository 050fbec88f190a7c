"""Arms of the meta-learning study: each algorithm and seed trained and judged on held-out families, in processes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file

from cogumi_utils import artifacts
from cogumi_utils.data.skills import families
from cogumi_utils.data.skills.families import Episode
from cogumi_utils.model import meta_train, sft, student
from cogumi_utils.model.meta_adapters import Learner
from cogumi_utils.model.meta_batches import batch_of, in_chat, rows_of
from cogumi_utils.model.meta_inner import Rates, adapt, fixed_rates
from cogumi_utils.model.meta_train import MetaRecipe, MetaTrained, WarmStart
from cogumi_utils.model.workers import finish, in_folders

if TYPE_CHECKING:
    import pandas as pd

OUTPUTS = ["adapter/adapter_config.json", "adapter/adapter_model.safetensors", "rates.safetensors", "scores.parquet"]
STATE = "state.safetensors"


@dataclass(frozen=True, slots=True)
class MetaArm:
    """One training and how it is used on a new family. algorithm: of `meta_train`, "" for the base as it is.

    tuned: inner steps on the support set. shown: the support set in the prompt.
    rate: of the inner steps where the training learned none, 0 for the trained ones.
    """

    name: str
    seed: int
    algorithm: str = ""
    tuned: bool = False
    shown: bool = False
    rate: float = 0.0

    @property
    def key(self) -> str:
        return f"{self.name.replace(' ', '_').replace(',', '')}-{self.seed}"


@dataclass(frozen=True, slots=True)
class WarmUp:
    """The plain steps of one seed, before its arms part."""

    seed: int

    @property
    def key(self) -> str:
        return f"warm_start-{self.seed}"


@dataclass(frozen=True, slots=True)
class MetaStudy:
    """What all arms share. recipe: its algorithm and seed are each arm's own. shots: support sizes that are judged.

    split: "test", or "validation" to choose dials on. queries: asked of each family. base_ref: see `distill.Study`.
    """

    base: Path
    base_ref: str
    folder: Path
    recipe: MetaRecipe
    rank: int
    modules: tuple[str, ...]
    test_families: int
    queries: int
    shots: tuple[int, ...]
    test_steps: int
    split: str = "test"
    device: str = "cpu"
    threads: int = 1


@dataclass(frozen=True, slots=True)
class MetaOutcome:
    """A finished arm. losses: nats, one an outer step. tokens: read forward and backward in training."""

    arm: str
    seed: int
    folder: Path
    seconds: float
    tokens: int
    losses: list[float]

    def scores(self) -> pd.DataFrame:
        """arm, seed, family, kind, shots, right: the share of a family's queries that are answered to the letter."""
        import pandas as pd

        return pd.read_parquet(self.folder / "scores.parquet").assign(arm=self.arm, seed=self.seed)


def arms(seeds: Sequence[int], plain_rate: float) -> list[MetaArm]:
    """Every arm of the comparison; what is trained, once a seed. The base itself does not depend on the seed of any
    training, but on that of the support sets.
    """
    made = []
    for seed in seeds:
        made += [
            MetaArm("nothing", seed),
            MetaArm("examples in the prompt, untrained", seed, shown=True),
            MetaArm("fine-tuned, untrained", seed, tuned=True, rate=plain_rate),
            MetaArm("multi-task, fine-tuned", seed, "multitask", tuned=True, rate=plain_rate),
            MetaArm("Reptile", seed, "reptile", tuned=True),
            MetaArm("ANIL", seed, "anil", tuned=True),
            MetaArm("FOMAML", seed, "fomaml", tuned=True),
            MetaArm("examples in the prompt, trained", seed, "in_prompt", shown=True),
            MetaArm("FOMAML and examples", seed, "together", tuned=True, shown=True),
        ]
    return made


def run(study: MetaStudy, some: Sequence[MetaArm], *, workers: int = 1) -> list[MetaOutcome]:
    """Train and judge all arms, `workers` at a time (one on a GPU); what is finished is not done again.

    The plain steps that all trainings of a seed begin with are taken once.
    """
    workers = workers if study.device == "cpu" else 1
    seeds = sorted({arm.seed for arm in some if arm.algorithm})
    finish(partial(run_warm_up, study), in_folders(study.folder, [WarmUp(seed) for seed in seeds]), workers=workers)
    folders = in_folders(study.folder, some)
    finish(partial(run_arm, study), folders, workers=workers)
    return [outcome(folder) for folder in folders]


def run_warm_up(study: MetaStudy, warm: WarmUp) -> None:
    """Write the folder of a seed's plain steps with its manifest."""
    learner, tokenizer, folder = _ready(study, warm)
    done = meta_train.warm_up(learner, tokenizer, replace(study.recipe, seed=warm.seed))
    save_file({name: tensor.contiguous() for name, tensor in done.tensors.items()}, folder / STATE)
    facts = {name: getattr(done, name) for name in ("losses", "tokens", "seconds")}
    artifacts.write_manifest(folder, {**facts, "outputs": artifacts.describe(folder, [STATE])})


def run_arm(study: MetaStudy, arm: MetaArm) -> None:
    """Train, judge, and write the arm's folder with its manifest."""
    learner, tokenizer, folder = _ready(study, arm)
    trained = _trained(learner, tokenizer, study, arm)
    rates = fixed_rates(trained.weights, arm.rate, study.recipe.inner_steps) if arm.rate else trained.rates
    judged(learner, tokenizer, trained.weights, rates, study, arm).to_parquet(folder / "scores.parquet")
    sft.save_adapter(learner.put(trained.weights), folder / "adapter", study.base_ref)
    save_file({name: rate.contiguous() for name, rate in rates.items()}, folder / "rates.safetensors")
    facts = {"arm": arm.name, "seed": arm.seed, "losses": trained.losses}
    took = {"seconds": trained.seconds, "tokens": trained.tokens}
    artifacts.write_manifest(folder, {**facts, **took, "outputs": artifacts.describe(folder, OUTPUTS)})


def _ready(study: MetaStudy, one: MetaArm | WarmUp) -> tuple[Learner, Any, Path]:
    """(the base with fresh adapters of the seed, its tokenizer, the folder)."""
    torch.set_num_threads(study.threads)
    folder = study.folder / one.key
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(one.seed)
    dtype = torch.bfloat16 if study.device == "cuda" else torch.float32
    model, tokenizer = student.load(study.base, dtype=dtype, device_map=study.device)
    return Learner(model, study.rank, study.modules), tokenizer, folder


def _trained(learner: Learner, tokenizer: Any, study: MetaStudy, arm: MetaArm) -> MetaTrained:
    if not arm.algorithm:
        weights = learner.weights()
        return MetaTrained(weights, fixed_rates(weights, 0.0, study.recipe.inner_steps), [], 0, 0.0)
    recipe = replace(study.recipe, algorithm=arm.algorithm, seed=arm.seed)
    return meta_train.train(learner, tokenizer, recipe, start=_warm_start(study.folder / WarmUp(arm.seed).key))


def _warm_start(folder: Path) -> WarmStart:
    facts = artifacts.verify(folder)
    return WarmStart(load_file(folder / STATE), **{name: facts[name] for name in ("losses", "tokens", "seconds")})


def judged(learner, tokenizer, weights, rates: Rates, study: MetaStudy, arm: MetaArm) -> pd.DataFrame:
    """One row a held-out family and number of shots; more shots hold the examples of fewer, and the queries stay."""
    import pandas as pd

    some = families.families(study.split, study.test_families)
    drawn = families.episodes(some, max(study.shots), study.queries, seed=1000 + arm.seed)
    rows = []
    for shots in study.shots:
        if not (arm.tuned or arm.shown) and rows:  # it looks at no example
            rows += [(family, kind, shots, share) for family, kind, _, share in rows[: len(drawn)]]
            continue
        right = right_answers(learner, tokenizer, weights, rates, drawn, shots, study, arm)
        pairs = zip(drawn, right, strict=True)
        rows += [(e.family.name, e.family.kind, shots, share) for e, share in pairs]
    return pd.DataFrame(rows, columns=["family", "kind", "shots", "right"])


def right_answers(
    learner, tokenizer, weights, rates: Rates, drawn: Sequence[Episode], shots: int, study: MetaStudy, arm: MetaArm,
    at_once: int = 40,
) -> list[float]:  # fmt: skip
    """Share of each family's queries whose greedy answer is the reference; `at_once` families a batch."""
    found: list[float] = []
    for start in range(0, len(drawn), at_once):
        part, pad = drawn[start : start + at_once], tokenizer.pad_token_id
        support = [e.support[:shots] for e in part]
        asked = [[in_chat(s if arm.shown else [], q) for q in e.queries] for s, e in zip(support, part, strict=True)]
        current = weights
        if arm.tuned and shots:
            batch = batch_of([rows_of(tokenizer, group) for group in support], pad, learner.device.type)
            current = adapt(
                learner, weights, rates, batch, steps=study.test_steps, longest=study.recipe.longest
            ).weights
        queries = batch_of([rows_of(tokenizer, group) for group in asked], pad, learner.device.type)
        found += learner.exact(current, queries).view(len(part), -1).float().mean(1).tolist()
    return found


def outcome(folder: Path) -> MetaOutcome:
    """The arm that was finished in `folder`. Raises ArtifactError where its files are not those of its manifest."""
    facts = artifacts.verify(folder)
    return MetaOutcome(folder=folder, **{name: facts[name] for name in ("arm", "seed", "seconds", "tokens", "losses")})
