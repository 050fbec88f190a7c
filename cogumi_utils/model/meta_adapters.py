"""LoRA adapters that a batch can hold many of: one for each task, side by side in one forward pass.

PEFT's own adapters stay what they are; only their two small matrices learn to read a stack of weights. So the inner
loops of many tasks run at once, through `torch.func.functional_call` on the LoRA parameters alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from peft import PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F
from transformers import PreTrainedModel

from cogumi_utils.model.meta_batches import Batch
from cogumi_utils.model.sft import lora

Weights = Mapping[str, Tensor]  # of the adapters: [out, in], or [tasks, out, in] for one adapter a task


class StackedLinear(nn.Linear):
    """x @ weight.T; for a weight [tasks, out, in] the rows of x are split among the tasks in their order."""

    def forward(self, x: Tensor) -> Tensor:
        if self.weight.dim() == 2:
            return F.linear(x, self.weight)
        rows = x.reshape(len(self.weight), -1, x.shape[-1])
        return torch.bmm(rows, self.weight.transpose(1, 2)).reshape(*x.shape[:-1], -1)


class Learner(nn.Module):
    """A model with adapters, as a function of the adapters' weights. `adapted` is PEFT's model, for saving."""

    def __init__(self, model: PreTrainedModel, rank: int, modules: Sequence[str] = ()):
        super().__init__()
        self.adapted: PeftModel = get_peft_model(model, lora(rank, modules))
        for layer in self.adapted.modules():
            if isinstance(layer, LoraLayer):
                for pair in (layer.lora_A, layer.lora_B):
                    pair["default"] = _readable(pair["default"])

    @property
    def device(self) -> torch.device:
        return self.adapted.device

    @property
    def depth(self) -> int:
        """Blocks of the model."""
        return self.adapted.config.num_hidden_layers

    def weights(self) -> dict[str, Tensor]:
        """{name: [out, in]}, copies of the adapters' weights, in the order of the layers."""
        return {name: p.detach().clone() for name, p in self.named_parameters() if p.requires_grad}

    def put(self, weights: Weights) -> PeftModel:
        """PEFT's model with these weights: what is saved, and what generates."""
        with torch.no_grad():
            for name, p in self.named_parameters():
                if p.requires_grad:
                    p.copy_(weights[name])
        return self.adapted

    def forward(self, batch: Batch) -> Tensor:
        """Logits [answer tokens, vocabulary], float32 or better; those of prompts and padding are not computed.

        Rows are padded on the right, so that causal attention needs no mask.
        """
        model = self.adapted.get_base_model()
        forward = model.base_model  # the layers without the output matrix
        hidden = forward(input_ids=batch.ids, use_cache=False).last_hidden_state
        logits = model.get_output_embeddings()(hidden[:, :-1][batch.chosen])
        return logits.to(torch.promote_types(logits.dtype, torch.float32))

    def losses(self, weights: Weights, batch: Batch) -> Tensor:
        """[tasks]: mean cross-entropy of each task's answer tokens, nats."""
        logits = functional_call(self, dict(weights), (batch,))
        costs = F.cross_entropy(logits, batch.written, reduction="none")
        return costs.new_zeros(batch.tasks).index_add(0, batch.task, costs * batch.weight)

    @torch.no_grad()
    def exact(self, weights: Weights, batch: Batch) -> Tensor:
        """Bool [rows]: whether the greedy answer is the reference to the letter, its end included.

        Every token of the reference is the most likely one after those before it, so no answer has to be generated.
        """
        right = functional_call(self, dict(weights), (batch,)).argmax(-1) == batch.written
        misses = torch.zeros(len(batch.ids), device=right.device).index_add(0, batch.row, (~right).float())
        return misses == 0


def stacked(weights: Weights, tasks: int) -> dict[str, Tensor]:
    """One copy a task, [tasks, out, in]; what is a stack already stays one."""
    return {n: w.detach().expand(tasks, *w.shape) if w.dim() == 2 else w.detach() for n, w in weights.items()}


def _readable(linear: nn.Linear) -> StackedLinear:
    """The same weight, the same name."""
    new = StackedLinear(linear.in_features, linear.out_features, bias=False, device="meta")
    new.weight = linear.weight
    return new
