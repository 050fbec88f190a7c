"""A trained adapter made sparse: pruned in steps, trained on under fixed masks after each (Zhu and Gupta 2017)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from peft import PeftModel, get_peft_model_state_dict
from torch import Tensor
from transformers import PreTrainedTokenizerBase, TrainerCallback

from cogumi_utils.compress.lora.sparsity import prune_masks
from cogumi_utils.errors import CogumiError
from cogumi_utils.model import sft
from cogumi_utils.schema import Example


class KeepMasks(TrainerCallback):
    """What is pruned stays 0: the masked entries are cleared before the first step and after each."""

    def __init__(self, masks: Mapping[str, Tensor]):
        self._masks = masks

    def on_train_begin(self, args, state, control, model=None, **kwargs) -> None:
        apply_masks(model, self._masks)

    def on_optimizer_step(self, args, state, control, model=None, **kwargs) -> None:
        apply_masks(model, self._masks)


def prune_in_steps(
    adapted: PeftModel, tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example], recipe: sft.Recipe,
    sparsities: Sequence[float], folder: Path,
) -> dict[str, Tensor]:  # fmt: skip
    """Prune to each of `sparsities` in turn, and train `recipe.steps` steps under the masks after each.

    Returns the last masks, {name as in the adapter's file: bool, True = kept}; `adapted` holds zeros elsewhere.
    Raises CogumiError for sparsities that do not rise: pruned weights would come back.
    """
    if not sparsities or list(sparsities) != sorted(set(sparsities)):
        raise CogumiError(
            expected="sparsities that rise from step to step, such as [0.5, 0.8]",
            found=f"{list(sparsities)}",
            why="what is pruned stays 0",
            fix="sort `sparsities`, each once",
        )
    masks: dict[str, Tensor] = {}
    for place, sparsity in enumerate(sparsities):
        masks = prune_masks(tensors_of(adapted), sparsity)
        step = replace(recipe, seed=recipe.seed + place)
        callbacks = [KeepMasks(masks)]
        sft.train(adapted, tokenizer, examples, step, folder=folder / f"{place}", callbacks=callbacks)
    return masks


def tensors_of(adapted: PeftModel) -> dict[str, Tensor]:
    """{name as in the adapter's file: factor}, copies in float32 on the CPU.

    Embeddings are left out by name: PEFT would look the base up on the hub to see whether they changed.
    """
    factors = get_peft_model_state_dict(adapted, save_embedding_layers=False)
    return {name: value.detach().float().cpu().clone() for name, value in factors.items()}


@torch.no_grad()
def apply_masks(adapted: PeftModel, masks: Mapping[str, Tensor]) -> None:
    """Clear the entries of the adapter whose mask is False."""
    parameters = dict(adapted.named_parameters())
    for name, mask in masks.items():
        own = parameters[name.replace(".weight", ".default.weight")]  # PEFT names the adapter there
        own.mul_(mask.to(own.device))
