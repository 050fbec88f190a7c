"""Calibration text: packed rows of chats that the tokenizer was made for."""

from __future__ import annotations

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from cogumi_utils.data import skills
from cogumi_utils.errors import CogumiError
from cogumi_utils.model.transfer import Packed, packed
from cogumi_utils.schema import Example

SAMPLE = 200  # chats that the ratio is measured on
MOST_RATIO = 2.0  # tokens a character, over those of text that the tokenizer knows


def calibration_rows(
    tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example], *, rows: int, length: int, seed: int
) -> Packed:
    """`rows` different rows of `length` tokens, whole chats in an order of `seed`.

    Raises CogumiError for no text, too little of it, or text in a language that the tokenizer spells out.
    """
    if not any(example.answer for example in examples):
        raise CogumiError(
            expected="chats with answers to calibrate on",
            found=f"{len(examples)} examples without a word of answer" if examples else "no examples",
            why="what a weight is worth is judged by the inputs that it gets",
            fix="pass training examples of the model's own kind",
        )
    check_language(tokenizer, examples)
    found = packed(tokenizer, examples, length=length, rows=rows, seed=seed)
    different = len(set(map(tuple, found.ids.tolist())))
    if different < rows:
        raise CogumiError(
            expected=f"calibration text for {rows} rows of {length} tokens",
            found=f"enough for {different}",
            why="the same text twice tells nothing new",
            fix="pass more examples, or ask for fewer or shorter rows",
        )
    return found


def check_language(tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example]) -> None:
    """Raise CogumiError where the text takes `MOST_RATIO` times the tokens a character of the skill tasks' English."""
    usual = tokens_a_character(tokenizer, skills.mixed(skills.trained_skills(), 2, split="train", seed=1))
    found = tokens_a_character(tokenizer, examples)
    if found > MOST_RATIO * usual:
        raise CogumiError(
            expected=f"text of at most {MOST_RATIO:g} times the {usual:.2f} tokens a character of English tasks",
            found=f"{found:.2f} tokens a character, {found / usual:.1f} times as many",
            why="the tokenizer spells it out: another language than the model's, inputs that it will never see",
            fix="calibrate on text like the training text",
        )


def tokens_a_character(tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example]) -> float:
    """Over all turns of some `SAMPLE` examples, evenly spaced."""
    some = examples[:: max(1, len(examples) // SAMPLE)]
    texts = [message["content"] for example in some for message in example.messages]
    ids = tokenizer(texts, add_special_tokens=False)["input_ids"]
    return sum(map(len, ids)) / max(1, sum(map(len, texts)))
