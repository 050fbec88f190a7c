"""Chats as token ids: the template of the student trained from scratch, tokenisation, packing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cogumi_utils.errors import CogumiError
from cogumi_utils.schema import Example

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

USER, ASSISTANT, SYSTEM, END = "<|user|>", "<|assistant|>", "<|system|>", "<|end|>"
# One special token opens a turn and one closes it: three tokens of overhead a turn where ChatML takes five.
TEMPLATE = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def prompt_text(tokenizer: PreTrainedTokenizerBase, messages: Sequence[dict[str, str]]) -> str:
    """The text after which the student answers."""
    return tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True)


def as_prompt_completion(examples: Sequence[Example]) -> list[dict[str, Any]]:
    """Rows in TRL's conversational prompt-completion form: only the completion carries loss."""
    for example in examples:
        if not example.answer:
            raise CogumiError(
                expected="every training example ends with an assistant message",
                found=f"example {example.id} ends with role {example.messages[-1]['role']}",
                why="there would be nothing to learn from",
                fix="filter such rows with data.quality before training",
            )
    return [{"prompt": e.prompt, "completion": [e.messages[-1]]} for e in examples]


def token_lengths(tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example]) -> list[int]:
    """Tokens per chat, template included."""
    texts = [tokenizer.apply_chat_template(e.messages, tokenize=False) for e in examples]
    return [len(ids) for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]]


def mean_tokens(tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example]) -> float:
    """Mean tokens per chat, template included."""
    lengths = token_lengths(tokenizer, examples)
    return sum(lengths) / len(lengths)


def packing_by_eye(tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example]) -> str:
    """One line a token of the packed chats: position, token, and the label where it carries loss."""
    lines = ["position  token             label"]
    for example in examples:
        prompt = tokenizer(prompt_text(tokenizer, example.prompt), add_special_tokens=False)["input_ids"]
        whole = tokenizer.apply_chat_template(example.messages, tokenize=False)
        for position, token in enumerate(tokenizer(whole, add_special_tokens=False)["input_ids"]):
            shown = repr(tokenizer.decode([token]))
            lines.append(f"{position:8d}  {shown:16s}  {'·' if position < len(prompt) else shown}")
    return "\n".join(lines)


def changed_by_round_trip(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[str]:
    """The texts that do not come back from the tokenizer as they went in."""
    back = tokenizer.batch_decode(tokenizer(list(texts), add_special_tokens=False)["input_ids"])
    return [text for text, again in zip(texts, back, strict=True) if text != again]
