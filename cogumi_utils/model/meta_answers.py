"""What a finished arm says on held-out families: generated, and graded by the families' own verifiers."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file
from torch import Tensor

from cogumi_utils.data.chat import prompt_text
from cogumi_utils.data.skills import families
from cogumi_utils.data.skills.families import Episode
from cogumi_utils.judge import grade
from cogumi_utils.model import generate, student
from cogumi_utils.model.meta_adapters import Learner
from cogumi_utils.model.meta_batches import batch_of, in_chat, rows_of
from cogumi_utils.model.meta_inner import adapt
from cogumi_utils.model.meta_study import MetaArm, MetaOutcome, MetaStudy

if TYPE_CHECKING:
    import pandas as pd


def saved_weights(learner: Learner, adapter: Path) -> dict[str, Tensor]:
    """PEFT's file under the learner's own names."""
    found = load_file(adapter / "adapter_model.safetensors")
    names = {name: name.removeprefix("adapted.").replace(".default.weight", ".weight") for name in learner.weights()}
    return {name: found[saved].to(learner.device) for name, saved in names.items()}


def answered(
    study: MetaStudy, arm: MetaArm, done: MetaOutcome, *, families_a_kind: int, max_new_tokens: int
) -> pd.DataFrame:
    """The frame of `judge.grade` over the first held-out families, and `exact`: the answer is the reference itself.

    The most shots of the study; each family's own adapter is put into the model, which then generates as ever.
    """
    import pandas as pd

    model, tokenizer = student.load(study.base, device_map=study.device)
    learner = Learner(model, study.rank, study.modules)
    weights, rates = saved_weights(learner, done.folder / "adapter"), load_file(done.folder / "rates.safetensors")
    some = families.families(study.split, families_a_kind * len(families.KINDS))
    frames = []
    for episode in families.episodes(some, max(study.shots), study.queries, seed=1000 + arm.seed):
        if arm.tuned:
            batch = batch_of([rows_of(tokenizer, episode.support)], tokenizer.pad_token_id, study.device)
            dials = {"steps": study.test_steps, "longest": study.recipe.longest}
            own = adapt(learner, weights, rates, batch, **dials).weights
            learner.put({name: value[0] for name, value in own.items()})
        else:
            learner.put(weights)
        frames.append(_graded(learner, tokenizer, episode, arm.shown, max_new_tokens))
    return pd.concat(frames, ignore_index=True)


def _graded(learner: Learner, tokenizer, episode: Episode, shown: bool, max_new_tokens: int) -> pd.DataFrame:
    prompts = [in_chat(episode.support if shown else [], query).prompt for query in episode.queries]
    texts = [prompt_text(tokenizer, prompt) for prompt in prompts]
    with torch.no_grad():
        answers = generate.complete(
            learner.adapted, tokenizer, texts, max_new_tokens=max_new_tokens, stop=tokenizer.eos_token
        )
    frame = grade.grade(episode.queries, answers)
    return frame.assign(exact=[a == q.answer for a, q in zip(answers, episode.queries, strict=True)])


def agreement(frame: pd.DataFrame, scores: pd.DataFrame) -> str:
    """One sentence: right by verifier, right to the letter, and what the study counted of the same answers."""
    asked = frame.groupby("skill").size()
    most = scores[scores["shots"] == scores["shots"].max()].set_index("family")["right"]
    counted = sum(most[family] * n for family, n in asked.items())
    return (
        f"Of {len(frame):,} generated answers {int(frame['passed'].sum()):,} pass their verifiers and "
        f"{int(frame['exact'].sum()):,} are the reference to the letter; the study, which generates nothing, counted "
        f"{round(counted):,}."
    )


def hand_over(done: MetaOutcome, adapter: Path, rates: Path) -> None:
    """The arm's adapter and inner rates, copied to where a stage passes them on."""
    shutil.copytree(done.folder / "adapter", adapter, dirs_exist_ok=True)
    shutil.copyfile(done.folder / "rates.safetensors", rates)
