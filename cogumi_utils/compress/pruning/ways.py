"""Kinds of routes: how variants are made of a parent. Each leaves the parent as it is."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from cogumi_utils.compress.pruning import prune
from cogumi_utils.compress.pruning._outcome import Variant
from cogumi_utils.compress.pruning.shrink import Shape, measure_importance, shape_of, shrink
from cogumi_utils.model import student
from cogumi_utils.model.transfer import packed, transfer
from cogumi_utils.schema import Example


def unchanged(
    parent: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example], *, is_rounded: bool = True
) -> Iterator[Variant]:
    """The parent itself: what the others are compared with, in 4 bits or as it is."""
    yield Variant("", parent, tokenizer, is_rounded=is_rounded)


def made_before(
    parent: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example], *, folder: str
) -> Iterator[Variant]:
    """A model that another study made and kept; its zeros are its masks."""
    model, own = student.load(Path(folder), dtype=parent.dtype, device_map=parent.device)
    masks = prune.masks_of(model)
    yield Variant("", model, own, masks if prune.sparsity_of(masks) else None)


def cut_once(
    parent: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example], **options: Any
) -> Iterator[Variant]:
    """options: of `prune.one_shot`."""
    model = copy.deepcopy(parent)
    yield Variant("", model, tokenizer, prune.one_shot(model, tokenizer, examples, **options))


def cut_in_steps(
    parent: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example], **options: Any
) -> Iterator[Variant]:
    """A variant a level. options: of `prune.gradually`. facts: seconds of the cut and of the training after it, its
    losses (nats a token), and the smallest share of zeros among the matrices.
    """
    model, several = copy.deepcopy(parent), len(options["levels"]) > 1
    for cut in prune.gradually(model, tokenizer, parent, examples, **options):
        took = {"prune_seconds": cut.prune_seconds, "train_seconds": cut.recovery.seconds}
        least = float(prune.sparsities(cut.masks)["sparsity"].min())
        name = f"{prune.METHODS[options['method']]} {100 * cut.level:g}%, in steps" if several else ""
        yield Variant(
            name, model, tokenizer, cut.masks, facts={**took, "losses": cut.recovery.losses, "least_sparsity": least}
        )


def shrunk(
    parent: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example], *,
    shape: Mapping[str, int], steps: int, batch: int, rows: int = 64, length: int = 256, seed: int = 1, **options: Any,
) -> Iterator[Variant]:  # fmt: skip
    """A dense model of `shape` (fields of `shrink.Shape`), trained on the logits of the parent, which has lost the same
    words. options: of `transfer`. facts: seconds of the training and its losses.
    """
    importance = measure_importance(parent, tokenizer, examples, rows=rows, length=length, seed=seed)
    wanted, whole = Shape(**shape), shape_of(parent.config.to_dict())
    model, words = shrink(parent, tokenizer, importance, wanted)
    teacher = parent
    if wanted.vocab < whole.vocab:
        teacher, _ = shrink(parent, tokenizer, importance, replace(whole, vocab=wanted.vocab))
    data = packed(words, examples, length=length, rows=max(1, steps * batch), seed=seed)
    result = transfer(model, teacher, data, steps=steps, batch=batch, **options)
    yield Variant("", model, words, facts={"train_seconds": result.seconds, "losses": result.losses})
