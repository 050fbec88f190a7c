"""What each part of a Llama adds, measured on calibration chats: the parts that add least are the ones to cut."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from cogumi_utils.errors import CogumiError
from cogumi_utils.model.student import require_llama
from cogumi_utils.model.transfer import packed
from cogumi_utils.schema import Example


@dataclass(frozen=True, slots=True, eq=False)
class Importance:
    """columns [layers, FFN]: mean |activation| · norm of the column of `down_proj` that it is multiplied with.
    groups [layers, key-value heads]: mean norm of what a group of heads adds to the residual stream.
    layers [layers]: block influence, mean 1 − cosine(input, output) (ShortGPT, Men et al. 2024, arXiv 2403.03853).
    entries [vocabulary]: uses of each token in the texts.
    All float64. Widths by activation as in Minitron (Muralidharan et al. 2024, arXiv 2407.14679).
    """

    columns: Tensor
    groups: Tensor
    layers: Tensor
    entries: Tensor

    def shuffled(self, seed: int) -> Importance:
        """The same values in other places: a control that cuts at random. The vocabulary's stay where they are."""
        generator = torch.Generator().manual_seed(seed)

        def mixed(values: Tensor) -> Tensor:
            rows = [row[torch.randperm(len(row), generator=generator)] for row in values.reshape(-1, values.shape[-1])]
            return torch.stack(rows).view(values.shape)

        parts = {name: mixed(getattr(self, name)) for name in ("columns", "groups", "layers")}
        return replace(self, **parts)


@torch.no_grad()
def measure_importance(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example], *, rows: int = 64,
    length: int = 256, seed: int = 1, batch: int = 8,
) -> Importance:  # fmt: skip
    """Importance over `rows` packed rows of `length` tokens of the examples; tokens are counted in all examples.

    Raises CogumiError for a model that is no Llama, is quantised, or whose heads do not divide.
    """
    check_parent(model)
    calibration = packed(tokenizer, examples, length=length, rows=rows, seed=seed)
    meter, forward = _Meter(model), model.base_model
    with meter.watching():
        for step in range(-(-rows // batch)):
            some = slice(step * batch, (step + 1) * batch)
            meter.real = (calibration.ids[some] != tokenizer.pad_token_id).to(model.device)
            ids, positions = calibration.ids[some], calibration.positions[some]
            forward(input_ids=ids.to(model.device), position_ids=positions.to(model.device), use_cache=False)
    uses = token_counts(tokenizer, examples, model.config.vocab_size)
    return Importance(*(values / meter.tokens for values in (meter.columns, meter.groups, meter.layers)), uses)


def token_counts(tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example], size: int) -> Tensor:
    """Float64 [size]: how often each token is used in the chats."""
    texts = [tokenizer.apply_chat_template(example.messages, tokenize=False) for example in examples]
    counts = torch.zeros(size, dtype=torch.float64)
    for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]:
        counts += torch.bincount(torch.tensor(ids), minlength=size)
    return counts


def check_parent(model: PreTrainedModel) -> None:
    """Raise CogumiError unless the parts of this model are known and can be cut."""
    config = model.config
    require_llama(config.model_type, config.name_or_path or type(model).__name__)
    if config.num_attention_heads % config.num_key_value_heads:
        raise CogumiError(
            expected="query heads in equal groups, one a key-value head",
            found=f"{config.num_attention_heads} query heads and {config.num_key_value_heads} key-value heads",
            why="a group is cut as a whole",
            fix="choose a checkpoint whose heads divide",
        )
    if not all(parameter.is_floating_point() for parameter in model.parameters()):
        raise CogumiError(
            expected="a model in float32, bfloat16 or float16",
            found="quantised weights",
            why="rows and columns of packed codes can not be taken out",
            fix="load the parent without quantisation (student.load) and quantise the smaller model",
        )


class _Meter:
    """Sums over tokens of what the layers' parts add; `real` [batch, length] leaves padding out."""

    def __init__(self, model: PreTrainedModel):
        config = model.config
        self.blocks = model.base_model.layers
        self.tokens, self.real = 0, torch.ones(0)
        self.columns = torch.zeros(len(self.blocks), config.intermediate_size, dtype=torch.float64)
        self.groups = torch.zeros(len(self.blocks), config.num_key_value_heads, dtype=torch.float64)
        self.layers = torch.zeros(len(self.blocks), dtype=torch.float64)

    @contextmanager
    def watching(self) -> Iterator[None]:
        handles = []
        for place, block in enumerate(self.blocks):
            handles += [
                block.mlp.down_proj.register_forward_pre_hook(partial(self._see_columns, place)),
                block.self_attn.o_proj.register_forward_pre_hook(partial(self._see_groups, place)),
                block.register_forward_hook(partial(self._see_layer, place)),
            ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _see_columns(self, place: int, module: nn.Linear, inputs: tuple[Tensor]) -> None:
        sums = inputs[0][self.real].abs().sum(0, dtype=torch.float64)
        self.columns[place] += (sums * module.weight.norm(dim=0).double()).cpu()

    def _see_groups(self, place: int, module: nn.Linear, inputs: tuple[Tensor]) -> None:
        count = self.groups.shape[1]
        parts = zip(inputs[0][self.real].chunk(count, -1), module.weight.chunk(count, -1), strict=True)
        norms = [(part @ weight.T).norm(dim=-1).sum(dtype=torch.float64) for part, weight in parts]
        self.groups[place] += torch.stack(norms).cpu()

    def _see_layer(self, place: int, module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        before, after = inputs[0][self.real].double(), output[self.real].double()
        self.layers[place] += (1 - torch.cosine_similarity(before, after, dim=-1)).sum().cpu()
        self.tokens += len(before) if place == 0 else 0
