"""What each input of a matrix matters: mean squared activations over calibration chats, llama.cpp's importance matrix.

A matrix's output error is the sum over columns of (weight error · input)²: columns with large inputs should be rounded
best. llama.cpp's `imatrix` tool measures the same thing in its own runtime, on running text; here it is measured in
transformers, on whole chats in the model's own template.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from cogumi_utils.compress._calibration import check_language
from cogumi_utils.compress.gguf.export import gguf_names
from cogumi_utils.errors import CogumiError
from cogumi_utils.model.packing import labelled
from cogumi_utils.model.student import require_llama
from cogumi_utils.schema import Example

OUTPUT, EMBEDDING = "output.weight", "token_embd.weight"


@torch.inference_mode()
def importance(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example], *, batch: int = 32,
    output: bool = False,
) -> dict[str, np.ndarray]:  # fmt: skip
    """{name of the matrix in GGUF: float32 [columns], mean squared inputs} over all tokens of the chats.

    output: the output matrix too, as the embedding where the two are tied; llama.cpp's tool leaves it out unless told
    otherwise. Raises CogumiError for no chats and for text in another language than the model's.
    """
    require_llama(model.config.model_type, model.config.name_or_path or type(model).__name__)
    _check_text(tokenizer, examples)
    model.eval()
    meter = _Meter(model)
    with meter.watching():
        for start in range(0, len(examples), batch):
            rows = [labelled(tokenizer, one)["input_ids"] for one in examples[start : start + batch]]
            inputs = tokenizer.pad({"input_ids": rows}, padding_side="right", return_tensors="pt").to(model.device)
            meter.real = inputs["attention_mask"].bool()
            model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], use_cache=False)
    found = {name: (sums / meter.tokens).float().cpu().numpy() for name, sums in meter.sums.items()}
    named = {_in_file(model, name): values for name, values in found.items()}
    return {name: values for name, values in named.items() if output or name not in (OUTPUT, EMBEDDING)}


def _in_file(model: PreTrainedModel, name: str) -> str:
    (found,) = gguf_names(model.config, [f"{name}.weight"])
    return EMBEDDING if found == OUTPUT and model.config.tie_word_embeddings else found


class _Meter:
    """Sums of squared inputs of every linear layer; `real` [batch, length] leaves padding out."""

    def __init__(self, model: PreTrainedModel):
        self.layers = {name: layer for name, layer in model.named_modules() if isinstance(layer, nn.Linear)}
        self.sums: dict[str, Tensor] = {}
        self.tokens, self.real = 0, torch.ones(0)
        self._first = next(iter(self.layers))

    @contextmanager
    def watching(self) -> Iterator[None]:
        handles = [layer.register_forward_pre_hook(partial(self._see, name)) for name, layer in self.layers.items()]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _see(self, name: str, layer: nn.Module, inputs: tuple[Tensor]) -> None:
        squares = inputs[0][self.real].float().square().sum(0, dtype=torch.float64)
        self.sums[name] = self.sums.get(name, 0) + squares
        self.tokens += int(self.real.sum()) if name == self._first else 0


def _check_text(tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example]) -> None:
    if not examples:
        raise CogumiError(
            expected="chats to calibrate on",
            found="no examples",
            why="what an input is worth is measured on text",
            fix="pass training examples of the model's own kind",
        )
    check_language(tokenizer, examples)


def shuffled(found: Mapping[str, np.ndarray], seed: int) -> dict[str, np.ndarray]:
    """The same values in other columns: a control that shows whether it matters which columns they are."""
    draw = np.random.default_rng(seed)
    return {name: draw.permutation(values) for name, values in found.items()}
