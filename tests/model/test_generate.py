"""Batched greedy answers: the same as one by one, in the order of the questions."""

from __future__ import annotations

import pytest
import torch

from cogumi_utils.data import chat, corpus
from cogumi_utils.model import generate, student


@pytest.fixture(scope="module")
def model(tokenizer):
    """Random weights, so wide that no two questions get one answer; float64, so that no rounding decides."""
    shape = {"hidden": 64, "layers": 2, "heads": 4, "kv_heads": 2, "ffn": 128, "context": 256}
    model = student.small_llama(len(tokenizer), seed=2, dtype=torch.float64, **shape)
    with torch.no_grad():
        for name, parameter in model.model.layers.named_parameters():
            parameter.mul_(1 if "norm" in name else 12)
    return model


@pytest.fixture(scope="module")
def prompts(rows) -> list[list[dict[str, str]]]:
    return [row.prompt for row in rows[:24]]


def greedy_ids(model, tokenizer, text: str, steps: int) -> list[int]:
    """The definition: the likeliest token, one after another, no cache, no padding."""
    ids = tokenizer(text, return_tensors="pt", add_special_tokens=False)["input_ids"]
    begun = ids.shape[1]
    for _ in range(steps):
        with torch.no_grad():
            chosen = model(ids, use_cache=False).logits[0, -1].argmax()
        ids = torch.cat([ids, chosen.reshape(1, 1)], dim=1)
    return ids[0, begun:].tolist()


def greedy(model, tokenizer, text: str, steps: int, stop: str) -> str:
    ids, end = greedy_ids(model, tokenizer, text, steps), tokenizer.convert_tokens_to_ids(stop)
    ids = ids[: ids.index(end)] if end in ids else ids
    return tokenizer.decode(ids, skip_special_tokens=True).strip()


def test_batched_answers_are_those_of_the_definition(model, tokenizer, prompts):
    texts = [chat.prompt_text(tokenizer, prompt) for prompt in prompts]
    expected = [greedy(model, tokenizer, text, 12, tokenizer.eos_token) for text in texts]
    assert len({len(text) for text in texts}) > 10 and len(set(expected)) == len(texts)
    for batch in (1, 5, 128):
        found = generate.complete(model, tokenizer, texts, max_new_tokens=12, stop=tokenizer.eos_token, batch=batch)
        assert found == expected


def test_answers_keep_the_order_of_the_questions(model, tokenizer, prompts):
    answer = generate.answerer(model, tokenizer, max_new_tokens=8, batch=4)
    found = answer(prompts)
    assert answer(prompts[::-1]) == found[::-1] and len(set(found)) == len(prompts)
    assert answer([prompts[3]]) == [found[3]]


def test_no_questions_no_answers(model, tokenizer):
    assert generate.complete(model, tokenizer, [], max_new_tokens=4, stop=tokenizer.eos_token) == []
    assert generate.answerer(model, tokenizer, max_new_tokens=4)([]) == []


def test_a_base_goes_on_until_the_next_document(model, tokenizer, rows):
    some = rows[:12]
    found = generate.continuer(model, tokenizer, some, max_new_tokens=40)([row.prompt for row in some])
    texts = [tokenizer.bos_token + corpus.opening(row) for row in some]
    assert found == [greedy(model, tokenizer, text, 40, tokenizer.bos_token) for text in texts]


def test_nothing_follows_the_stop_token(model, tokenizer):
    text = tokenizer.bos_token + "Problem: Ann has"
    ids = greedy_ids(model, tokenizer, text, 20)
    stop = tokenizer.convert_ids_to_tokens(ids[9])
    assert ids.index(ids[9]) == 9 and ids[9] > 5
    for batch in ([text], [text, tokenizer.bos_token + "3+4=", text]):
        found = generate.complete(model, tokenizer, batch, max_new_tokens=20, stop=stop)
        assert {found[0], found[-1]} == {tokenizer.decode(ids[:10]).strip()}
        for one, answer in zip(batch[1:2], found[1:2], strict=True):
            assert answer == greedy(model, tokenizer, one, 20, tokenizer.pad_token)


def test_no_answer_is_longer_than_asked(model, tokenizer, prompts):
    for longest in (1, 3):
        found = generate.answerer(model, tokenizer, max_new_tokens=longest)(prompts)
        texts = [chat.prompt_text(tokenizer, prompt) for prompt in prompts]
        assert found == [greedy(model, tokenizer, text, longest, tokenizer.eos_token) for text in texts]


def test_a_model_in_training_is_put_to_answering(base, tokenizer, prompts):
    model, _ = student.load(base)
    model.train()
    generate.answerer(model, tokenizer, max_new_tokens=2)(prompts[:2])
    assert not model.training
