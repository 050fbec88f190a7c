"""One variant of a model, judged: rounded to 4 bits, its answers graded, its distributions beside its parent's."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from cogumi_utils.compress.ledger import File
from cogumi_utils.compress.pruning._rounding import Size, rounded, sixteen_bits
from cogumi_utils.judge import fidelity, grade, summary
from cogumi_utils.model import generate, score, student
from cogumi_utils.schema import Example
from cogumi_utils.stats import Interval

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class Variant:
    """What a way yields. masks: {parameter: bool, True = kept} where weights were pruned. is_rounded: judge it with
    4-bit values; else as it is, counted at 16 bits. facts: for the manifest, such as the seconds of training.
    """

    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    masks: Mapping[str, Tensor] | None = None
    is_rounded: bool = True
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Outcome:
    """A judged variant. fidelity: of its answers' distributions to the parent's; with a smaller vocabulary, to the
    parent's over the entries that are left. make_seconds: of all of its route up to here; judge_seconds: rounding,
    answers, grading.
    """

    name: str
    family: str
    folder: Path
    size: Size
    right: Interval
    fidelity: fidelity.Fidelity
    make_seconds: float
    judge_seconds: float
    facts: dict[str, Any]

    @property
    def sparsity(self) -> float:
        """Share of zeros among all weights, embeddings included."""
        return 1 - self.size.kept / self.size.weights

    @property
    def model(self) -> Path:
        return self.folder / "model"

    def file(self) -> File:
        """For the ledger."""
        return File(self.name, self.size.weights, self.size.bound_bytes, self.size.file_bytes)

    def graded(self) -> pd.DataFrame:
        """The frame of `judge.grade` over the study's test, in its order."""
        import pandas as pd

        return pd.read_parquet(self.folder / "graded.parquet")


def judge(
    variant: Variant, folder: Path, *, parent: PreTrainedModel, parent_tokenizer: PreTrainedTokenizerBase,
    tests: Sequence[Example], max_new_tokens: int, seed: int, keep: bool,
) -> dict[str, Any]:  # fmt: skip
    """Facts of one variant, for `read`; its answers, and with `keep` the model as it is, are in `folder` then."""
    started = time.perf_counter()
    if variant.is_rounded:
        model, size = rounded(variant.model, variant.masks)
    else:
        model, size = variant.model, sixteen_bits(variant.model)
    folder.mkdir(parents=True, exist_ok=True)
    answer = generate.answerer(model, variant.tokenizer, max_new_tokens=max_new_tokens)
    graded = grade.evaluate(tests, answer)
    graded.to_parquet(folder / "graded.parquet")
    close = _fidelity(parent, parent_tokenizer, model, variant.tokenizer, tests, seed)
    if keep:
        student.save(variant.model, variant.tokenizer, folder / "model")
    judged = {"size": asdict(size), "right": asdict(summary.share(graded)), "fidelity": asdict(close)}
    return {**judged, "facts": dict(variant.facts), "judge_seconds": time.perf_counter() - started}


def _fidelity(
    parent: PreTrainedModel, parent_tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase, tests: Sequence[Example], seed: int,
) -> fidelity.Fidelity:  # fmt: skip
    if len(tokenizer) != len(parent_tokenizer):
        known = parent_tokenizer.get_vocab()
        names = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
        parent = _with_entries(parent, torch.tensor([known[name] for name in names]))
    tests = sorted(tests, key=lambda one: sum(len(turn["content"]) for turn in one.messages))  # little padding
    both = (score.answer_log_probs(one, tokenizer, tests) for one in (parent, model))
    return fidelity.compare(*both, score.answer_ids(tokenizer, tests), seed)


@torch.no_grad()
def _with_entries(parent: PreTrainedModel, kept: Tensor) -> PreTrainedModel:
    """A copy of `parent` that knows the entries `kept` alone: what a student with that vocabulary could be at best."""
    narrow = copy.deepcopy(parent)
    narrow.resize_token_embeddings(len(kept), mean_resizing=False)
    pairs = [(narrow.get_input_embeddings(), parent.get_input_embeddings())]
    pairs.append((narrow.get_output_embeddings(), parent.get_output_embeddings()))
    for own, whole in pairs:
        own.weight.copy_(whole.weight[kept.to(whole.weight.device)])
    return narrow


def read(folder: Path, facts: dict[str, Any]) -> Outcome:
    """The outcome that `judge` left in `folder`, from its facts, name, family and seconds."""
    facts = dict(facts)
    close = dict(facts.pop("fidelity"))
    ends = {name: Interval(**close.pop(name)) for name in ("kl", "agreement", "perplexity_ratio")}
    size, right = Size(**facts.pop("size")), Interval(**facts.pop("right"))
    return Outcome(folder=folder, size=size, right=right, fidelity=fidelity.Fidelity(**ends, **close), **facts)
