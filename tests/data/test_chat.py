"""The chat template there and back, and which tokens carry loss."""

from __future__ import annotations

import re

import pytest

from cogumi_utils.data import chat, corpus, skills
from cogumi_utils.errors import CogumiError
from cogumi_utils.model.student import train_tokenizer
from cogumi_utils.schema import Example

LONG = [
    {"role": "system", "content": "Be brief: è, 日本, 🙂"},
    {"role": "user", "content": "12+7?\n\tNow!"},
    {"role": "assistant", "content": "19"},
    {"role": "user", "content": " and {{ 3*4 }} {% if %}? "},
    {"role": "assistant", "content": "12  "},
]


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(corpus.sample(1, 2000), 600)


@pytest.fixture(scope="module")
def rows() -> list[Example]:
    return skills.mixed(skills.all_skills(), 2, split="train", seed=1)


def ids_of(tokenizer, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def test_a_chat_comes_back_from_its_ids(tokenizer):
    ids = tokenizer.apply_chat_template(LONG, return_dict=False)
    assert [i for i in ids if i < 6] == [4, 5, 2, 5, 3, 5, 2, 5, 3, 5], "two tokens a turn, whatever the text"
    turns = re.findall(r"<\|(\w+)\|>(.*?)<\|end\|>", tokenizer.decode(ids), flags=re.DOTALL)
    assert [{"role": role, "content": content} for role, content in turns] == LONG


def test_the_prompt_is_where_the_answer_begins(tokenizer, rows):
    for row in (*rows, Example("chat", "long", LONG)):
        whole = tokenizer.apply_chat_template(row.messages, tokenize=False)
        prompt = chat.prompt_text(tokenizer, row.prompt)
        assert whole == f"{prompt}{row.answer}{chat.END}" and prompt.endswith(chat.ASSISTANT)
        assert ids_of(tokenizer, prompt) == ids_of(tokenizer, whole)[: len(ids_of(tokenizer, prompt))]


def test_rows_for_training_end_with_the_answer(rows):
    made = chat.as_prompt_completion(rows)
    assert [[*row["prompt"], *row["completion"]] for row in made] == [row.messages for row in rows]
    assert all([message["role"] for message in row["completion"]] == ["assistant"] for row in made)


@pytest.mark.parametrize("messages", [LONG[:1], LONG[:2], [*LONG[:2], {"role": "assistant", "content": ""}]])
def test_a_row_without_an_answer_is_refused(rows, messages):
    bad = Example("chat", "open", messages)
    with pytest.raises(CogumiError) as caught:
        chat.as_prompt_completion([rows[0], bad])
    error = caught.value
    assert bad.id in error.found and error.expected and error.why and error.fix


def test_lengths_count_the_template(tokenizer, rows):
    lengths = chat.token_lengths(tokenizer, rows)
    for row, length in zip(rows, lengths, strict=True):
        assert length == 4 + len(ids_of(tokenizer, row.prompt[0]["content"])) + len(ids_of(tokenizer, row.answer))
    assert chat.mean_tokens(tokenizer, rows) == sum(lengths) / len(rows)


def test_by_eye_only_the_answer_carries_loss(tokenizer, rows):
    three = rows[:3]
    header, *lines = chat.packing_by_eye(tokenizer, three).split("\n")
    cells = [re.fullmatch(r" *(\d+)  (.*?) *  (\S.*)", line).groups() for line in lines]
    assert header.split() == ["position", "token", "label"]
    starts = [place for place, (position, _, _) in enumerate(cells) if position == "0"]
    assert len(starts) == 3 and len(lines) == sum(chat.token_lengths(tokenizer, three))
    for row, start, end in zip(three, starts, [*starts[1:], len(cells)], strict=True):
        chunk = cells[start:end]
        assert [int(position) for position, _, _ in chunk] == list(range(end - start))
        learned = [token for _, token, label in chunk if label != "·"]
        assert learned == [label for _, _, label in chunk if label != "·"]
        assert "".join(map(unquoted, learned)) == row.answer + chat.END
        whole = tokenizer.apply_chat_template(row.messages, tokenize=False)
        assert "".join(unquoted(token) for _, token, _ in chunk) == whole


def unquoted(shown: str) -> str:
    """The text behind a `repr`."""
    return shown[1:-1].replace("\\n", "\n").replace("\\'", "'").replace("\\\\", "\\")
