"""Unstructured pruning of a whole model: one cut, or several with training between them.

Three rules for which weights of a matrix go. Magnitude: the smallest. Wanda (Sun et al. 2023, arXiv 2306.11695): the
smallest |weight| · ‖input‖, row by row. SparseGPT (Frantar and Alistarh 2023, arXiv 2301.00774): those whose loss the
rest of their row can best make up for, and the rest is changed so that it does. The last two are llm-compressor's.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from torch.nn.utils import prune as torch_prune
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from cogumi_utils.compress._calibration import calibration_rows
from cogumi_utils.compress._oneshot import one_shot_run
from cogumi_utils.compress.lora.sparsity import check_sparsity
from cogumi_utils.compress.pruning._by_eye import ByEye, by_eye
from cogumi_utils.errors import CogumiError
from cogumi_utils.model.student import require_llama
from cogumi_utils.model.transfer import TransferResult, packed, transfer
from cogumi_utils.schema import Example

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "METHODS",
    "ByEye",
    "Cut",
    "by_eye",
    "gradually",
    "masks_of",
    "matrices",
    "one_shot",
    "sparsities",
    "sparsity_of",
]

METHODS = {"magnitude": "magnitude", "wanda": "Wanda", "sparsegpt": "SparseGPT"}  # {method: its name in tables}
Masks = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class Cut:
    """One level of gradual pruning. masks: {parameter: bool, True = kept}. recovery: the training after the cut."""

    level: float
    masks: Masks
    prune_seconds: float
    recovery: TransferResult


def one_shot(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example], *, method: str,
    sparsity: float, rows: int = 128, length: int = 256, seed: int = 1,
) -> Masks:  # fmt: skip
    """Prune every matrix inside the layers of `model` (embeddings and head stay) to `sparsity`, in place.

    rows, length: the calibration rows, packed out of `examples` in an order of `seed`; magnitude reads none. Zeros stay
    zeros. Returns {parameter: bool [out, in], True = kept}. Each matrix gets its share to within the rounding of its
    method: Wanda rounds down in each row, SparseGPT adds one weight for each 128 columns (see `sparsities`).
    Raises CogumiError for a sparsity outside [0, 1) or below the model's own, unfit calibration text, or no Llama.
    """
    _check_choice(method)
    check_sparsity(sparsity)
    require_llama(model.config.model_type, type(model).__name__)
    _check_rising(model, sparsity)
    if sparsity and method == "magnitude":
        _smallest_go(model, sparsity)
    elif sparsity:
        data = calibration_rows(tokenizer, examples, rows=rows, length=length, seed=seed)
        one_shot_run(model, tokenizer, partial(_modifier, method, sparsity), data)
    return masks_of(model)


def gradually(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, parent: PreTrainedModel, examples: Sequence[Example], *,
    method: str, levels: Sequence[float], steps: Sequence[int], batch: int, rows: int = 128, length: int = 256,
    seed: int = 1, **options: Any,
) -> Iterator[Cut]:  # fmt: skip
    """Prune `model` in place to each level in turn; after each, train it on the parent's logits under its masks.

    steps: of training after each cut, `batch` packed rows of `length` tokens each, other rows at each level.
    options: of `model.transfer.transfer`. Between two cuts the model is the caller's: look at it, don't change it.
    Raises CogumiError for levels that do not rise, and what `one_shot` raises; levels are checked before any work.
    """
    _check_levels(levels, steps)
    _check_choice(method)
    calibration = {"rows": rows, "length": length, "seed": seed}

    def cuts() -> Iterator[Cut]:
        for place, (level, count) in enumerate(zip(levels, steps, strict=True)):
            started = time.perf_counter()
            masks = one_shot(model, tokenizer, examples, method=method, sparsity=level, **calibration)
            seconds = time.perf_counter() - started
            data = packed(tokenizer, examples, length=length, rows=max(1, count * batch), seed=seed + place)
            result = transfer(model, parent, data, steps=count, batch=batch, masks=masks, **options)
            yield Cut(level, masks, seconds, result)

    return cuts()


def matrices(model: PreTrainedModel) -> dict[str, nn.Linear]:
    """{name: module} of the linear layers inside the decoder layers."""
    return {
        name: module for name, module in model.named_modules() if isinstance(module, nn.Linear) and ".layers." in name
    }


def masks_of(model: PreTrainedModel) -> Masks:
    """{parameter: bool, True = not zero} of the matrices that are pruned."""
    return {f"{name}.weight": module.weight.detach() != 0 for name, module in matrices(model).items()}


def sparsity_of(masks: Mapping[str, Tensor]) -> float:
    """Share of zeros over all masks."""
    return 1 - sum(int(mask.sum()) for mask in masks.values()) / sum(mask.numel() for mask in masks.values())


def sparsities(masks: Mapping[str, Tensor]) -> pd.DataFrame:
    """A row a matrix: matrix, weights, zeros, sparsity."""
    import pandas as pd

    rows = [(name.removesuffix(".weight"), mask.numel(), int((~mask).sum())) for name, mask in masks.items()]
    table = pd.DataFrame(rows, columns=["matrix", "weights", "zeros"])
    table["sparsity"] = table.zeros / table.weights
    return table


def _modifier(method: str, sparsity: float) -> Any:
    from llmcompressor.modifiers.pruning import SparseGPTModifier, WandaPruningModifier

    shared = {"sparsity": sparsity, "targets": ["Linear"], "ignore": ["re:.*lm_head"]}
    if method == "wanda":
        return WandaPruningModifier(**shared)
    return SparseGPTModifier(preserve_sparsity_mask=True, **shared)


def _smallest_go(model: PreTrainedModel, sparsity: float) -> None:
    for module in matrices(model).values():
        torch_prune.l1_unstructured(module, "weight", amount=round(sparsity * module.weight.numel()))
        torch_prune.remove(module, "weight")


def _check_rising(model: PreTrainedModel, sparsity: float) -> None:
    """llm-compressor gives back a bare traceback here, and the other two would do nothing and say nothing."""
    own = sparsity_of(masks_of(model))
    if own > sparsity > 0 and round(own, 3) > round(sparsity, 3):
        raise CogumiError(
            expected=f"a model with no more zeros than the {sparsity:.4g} asked for",
            found=f"{own:.4g} of its weights are zero already",
            why="what is pruned stays pruned",
            fix="load the dense model again, or ask for a higher sparsity",
        )


def _check_levels(levels: Sequence[float], steps: Sequence[int]) -> None:
    for level in levels:
        check_sparsity(level)
    if not levels or list(levels) != sorted(set(levels)) or len(steps) != len(levels) or min(steps) < 0:
        raise CogumiError(
            expected="sparsities that rise from level to level, and the steps of training after each",
            found=f"levels {list(levels)}, steps {list(steps)}",
            why="what is pruned stays 0, and each cut has its own recovery",
            fix="sort `levels`, each once, and give as many `steps`, such as [20, 40]",
        )


def _check_choice(method: str) -> None:
    if method not in METHODS:
        raise CogumiError(
            expected=f"a method among {', '.join(METHODS)}",
            found=str(method),
            why="each is a rule of its own for which weights go",
            fix="choose one of them",
        )
