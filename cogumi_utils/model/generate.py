"""Batched answers of a student."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from cogumi_utils.data.chat import prompt_text
from cogumi_utils.data.corpus import opening
from cogumi_utils.schema import Example

Messages = Sequence[dict[str, str]]


@torch.inference_mode()
def complete(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], *, max_new_tokens: int,
    stop: str, batch: int = 128,
) -> list[str]:  # fmt: skip
    """Greedy continuations of `texts` up to the token `stop`, in their order.

    Texts of similar length share a batch, so that little is computed on padding.
    """
    lengths = [len(ids) for ids in tokenizer(list(texts), add_special_tokens=False)["input_ids"]] if texts else []
    order = sorted(range(len(texts)), key=lengths.__getitem__)
    found = [""] * len(texts)
    model.eval()
    for start in range(0, len(order), batch):
        chosen = order[start : start + batch]
        inputs = tokenizer([texts[i] for i in chosen], return_tensors="pt", padding=True, add_special_tokens=False)
        inputs = inputs.to(model.device)
        output = model.generate(
            **inputs, max_new_tokens=max_new_tokens, do_sample=False, pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.convert_tokens_to_ids(stop),
        )  # fmt: skip
        new = output[:, inputs["input_ids"].shape[1] :]
        for i, text in zip(chosen, tokenizer.batch_decode(new, skip_special_tokens=True), strict=True):
            found[i] = text.strip()
    return found


def answerer(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, **options: Any) -> Callable:
    """`prompts -> answers` through the chat template; a plain callable, since `judge` must not know about models."""

    def answer(prompts: Sequence[Messages]) -> list[str]:
        texts = [prompt_text(tokenizer, messages) for messages in prompts]
        return complete(model, tokenizer, texts, stop=tokenizer.eos_token, **options)

    return answer


def continuer(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example], **options: Any
) -> Callable:
    """`prompts -> answers` of a base model that goes on from printed text instead of answering a chat."""
    texts = [tokenizer.bos_token + opening(example) for example in examples]
    return lambda prompts: complete(model, tokenizer, texts, stop=tokenizer.bos_token, **options)
