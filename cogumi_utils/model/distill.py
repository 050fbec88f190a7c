"""The arms of a training study: one start, one recipe, other examples; each trained and graded in its own process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from cogumi_utils import artifacts
from cogumi_utils.judge import grade
from cogumi_utils.model import generate, merge, sft, student
from cogumi_utils.model.workers import finish, in_folders
from cogumi_utils.schema import Example, read_examples

if TYPE_CHECKING:
    import pandas as pd

OUTPUTS = ["adapter/adapter_config.json", "adapter/adapter_model.safetensors", "graded.parquet"]


@dataclass(frozen=True, slots=True)
class Arm:
    """One training of a study. seed: of adapters and order; whatever else decides is the study's."""

    name: str
    seed: int
    examples: Sequence[Example]

    @property
    def key(self) -> str:
        return f"{self.name.replace(' ', '_')}-{self.seed}"


@dataclass(frozen=True, slots=True)
class Study:
    """What all arms share. base: the model that they start from. test: Examples (Parquet) that judge them.
    base_ref: the base's name as stages know it. folder: one folder an arm, kept until the stage is finished.
    threads: CPU threads of each training; sums over more of them differ in their last bits.
    """

    base: Path
    base_ref: str
    test: Path
    recipe: sft.Recipe
    folder: Path
    max_new_tokens: int
    device: str = "cpu"
    threads: int = 1


@dataclass(frozen=True, slots=True)
class Outcome:
    """A finished arm. losses: (step, nats per answer token)."""

    arm: str
    seed: int
    folder: Path
    examples: int
    seconds: float
    tokens: int
    losses: list[tuple[int, float]]

    @property
    def adapter(self) -> Path:
        return self.folder / "adapter"

    def graded(self) -> pd.DataFrame:
        """The frame of `judge.grade` over the study's test, in its order."""
        import pandas as pd

        return pd.read_parquet(self.folder / "graded.parquet")


def run(study: Study, arms: Sequence[Arm], *, workers: int = 1) -> list[Outcome]:
    """Train and grade all arms, `workers` at a time; an arm is finished once its manifest, written last, verifies.

    A finished arm is not trained again, so `study.folder` must be new for another study. Results do not depend on
    `workers`. On a GPU the arms take turns. Raises CogumiError for arms of one name and seed.
    """
    folders = in_folders(study.folder, arms)
    finish(partial(train_arm, study), folders, workers=workers if study.device == "cpu" else 1)
    return [outcome(folder) for folder in folders]


def train_arm(study: Study, arm: Arm) -> None:
    """Train, merge, grade, and write the arm's folder with its manifest."""
    torch.set_num_threads(study.threads)
    folder = study.folder / arm.key
    dtype = torch.bfloat16 if study.device == "cuda" else torch.float32
    model, tokenizer = student.load(study.base, dtype=dtype, device_map=study.device)
    recipe = replace(study.recipe, seed=arm.seed)
    result = sft.train(model, tokenizer, arm.examples, recipe, folder=folder / "checkpoints")
    adapter = sft.save_adapter(result.model, folder / "adapter", study.base_ref)
    merged = merge.merge(study.base, adapter, None, study.device)
    answer = generate.answerer(merged, tokenizer, max_new_tokens=study.max_new_tokens)
    grade.evaluate(read_examples(study.test), answer).to_parquet(folder / "graded.parquet")
    facts = {"arm": arm.name, "seed": arm.seed, "examples": len(arm.examples), "losses": result.losses}
    took = {"seconds": result.seconds, "tokens": result.tokens}
    artifacts.write_manifest(folder, {**facts, **took, "outputs": artifacts.describe(folder, OUTPUTS)})


def curves(outcomes: Sequence[Outcome], seed: int) -> dict[str, tuple[list[int], list[float]]]:
    """{arm: (steps, nats per answer token)} of the runs of one seed."""
    chosen = {one.arm: one.losses for one in outcomes if one.seed == seed}
    return {name: tuple(map(list, zip(*points, strict=True))) for name, points in chosen.items() if points}


def outcome(folder: Path) -> Outcome:
    """The arm that was finished in `folder`. Raises ArtifactError where its files are not those of its manifest."""
    facts = artifacts.verify(folder)
    losses = [(int(step), float(loss)) for step, loss in facts["losses"]]
    kept = {name: facts[name] for name in ("arm", "seed", "examples", "seconds", "tokens")}
    return Outcome(folder=folder, losses=losses, **kept)
