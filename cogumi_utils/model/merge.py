"""An adapter and its base made into one model, with the proof that both answer alike."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from peft import PeftModel
from transformers import BitsAndBytesConfig, PreTrainedModel, PreTrainedTokenizerBase

from cogumi_utils.data.chat import prompt_text
from cogumi_utils.model.student import load
from cogumi_utils.schema import Example


def merge(
    base: str | Path, adapter: Path, quantisation: BitsAndBytesConfig | None, device: str = "cpu"
) -> PreTrainedModel:
    """The base with the adapter's products added to its matrices; float32 on the CPU, bf16 on a GPU.

    The adapter was trained beside the 4-bit weights, so those are what it is added to: adding it to the 16-bit
    weights would make another model, one that nobody has tested.
    """
    model, _ = load(base, quantization_config=quantisation, device_map=device)
    if quantisation:
        model = model.dequantize()
    merged = PeftModel.from_pretrained(model, adapter).merge_and_unload()
    return merged.to(torch.bfloat16 if device == "cuda" else torch.float32)


def put_on(
    base: str | Path, adapter: Path, quantisation: BitsAndBytesConfig | None = None, device: str = "cpu"
) -> tuple[PeftModel, PreTrainedTokenizerBase]:
    """The base with the adapter beside its matrices, as it was trained, and the tokenizer."""
    model, tokenizer = load(base, quantization_config=quantisation, device_map=device)
    return PeftModel.from_pretrained(model, adapter), tokenizer


def texts_of(tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example]) -> list[str]:
    """Prompts in the chat template with their reference answers: what two models' logits are compared on."""
    return [prompt_text(tokenizer, example.prompt) + example.answer for example in examples]


@torch.inference_mode()
def logit_gap(
    one: PreTrainedModel, other: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]
) -> float:
    """Largest absolute difference of the two models' next-token log-probabilities (nats) over `texts`."""
    gap = 0.0
    for text in texts:
        ids = tokenizer(text, return_tensors="pt", add_special_tokens=False)["input_ids"]
        logs = [model(ids.to(model.device)).logits.float().log_softmax(-1).cpu() for model in (one, other)]
        gap = max(gap, (logs[0] - logs[1]).abs().max().item())
    return gap
