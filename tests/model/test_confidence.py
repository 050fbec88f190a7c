from __future__ import annotations

import numpy as np
import pytest
import torch

from cogumi_utils.errors import CogumiError
from cogumi_utils.judge import grade
from cogumi_utils.model import confidence, generate, score, student

LENGTH = 12


@pytest.fixture(scope="module")
def loaded(tokenizer, small_shape):
    """Random weights made so large that each question has its own answer, some of them likely and some ending soon."""
    model = student.small_llama(len(tokenizer), seed=1, **small_shape)
    with torch.no_grad():
        for layer in model.model.layers.parameters():
            layer.mul_(8 if layer.ndim == 2 else 1)
    readier = torch.zeros(len(tokenizer))
    readier[tokenizer.eos_token_id] = 9
    model.lm_head.register_forward_hook(lambda module, inputs, logits: 30 * logits + readier)
    return model, tokenizer


@pytest.fixture(scope="module")
def some(rows):
    return rows[:24]


@pytest.fixture(scope="module")
def found(loaded, some):
    return confidence.answers(*loaded, some, max_new_tokens=LENGTH, batch=8)


def distribution(loaded, example, ids):
    """ln p of the next token at each answer token, by one plain pass over this chat alone."""
    model, tokenizer = loaded
    prompt = tokenizer(generate.prompt_text(tokenizer, example.prompt), add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        logits = model(torch.tensor([prompt + ids])).logits[0].double()
    return logits[len(prompt) - 1 : -1]


def greedy_ids(loaded, example):
    model, tokenizer = loaded
    text = generate.prompt_text(tokenizer, example.prompt)
    inputs = tokenizer(text, return_tensors="pt", add_special_tokens=False)
    new = model.generate(**inputs, max_new_tokens=LENGTH, do_sample=False)[0, inputs["input_ids"].shape[1] :].tolist()
    return new[: new.index(tokenizer.eos_token_id) + 1] if tokenizer.eos_token_id in new else new


def spelled_alike(tokenizer, found):
    """Places of the answers whose text gives back their tokens: random weights spell strangely."""
    lengths = [len(ids) for ids in tokenizer(list(found.answer), add_special_tokens=False)["input_ids"]]
    return [i for i in range(len(found)) if lengths[i] == found.tokens[i]]


def test_answers_are_the_greedy_ones_in_order(loaded, some, found):
    plain = generate.answerer(*loaded, max_new_tokens=LENGTH)([example.prompt for example in some])
    assert list(found.answer) == plain and list(found.id) == [example.id for example in some]


def test_features_are_those_of_a_pass_over_each_chat_alone(loaded, some, found):
    end = loaded[1].eos_token_id
    seen = set()
    for example, row in zip(some, found.to_dict("records"), strict=True):
        ids = greedy_ids(loaded, example)
        logits = distribution(loaded, example, ids)
        own = logits.log_softmax(-1)[range(len(ids)), ids].numpy()
        finished = ids[-1] == end
        words = own[: max(1, len(ids) - finished)]
        entropy = torch.distributions.Categorical(logits=logits[0]).entropy().item()
        halved = (logits / 2).log_softmax(-1)[range(len(words)), ids[: len(words)]].sum().exp().item()
        expected = {
            "tokens": len(words), "finished": finished, "sequence": np.exp(words.sum()),
            "sequence_at_2": halved, "mean": np.exp(words.mean()), "least": np.exp(words.min()),
            "first": np.exp(-entropy), "end": np.exp(own[-1]) if finished else 0.0,
        }  # fmt: skip
        assert {name: row[name] for name in expected} == pytest.approx(expected, rel=1e-3)
        assert row["sequence"] == row["sequence_at_1"]
        seen.add(finished)
    assert seen == {True, False}  # both ways an answer can stop


def test_finished_answers_cost_what_scoring_them_costs(loaded, some, found):
    """Against `score.answer_costs`, which knows nothing of generation."""
    done = [i for i in spelled_alike(loaded[1], found) if found.finished[i]]
    told = [some[i].with_answer(found.answer[i]) for i in done]
    costs = [cost.sum() for cost in score.answer_costs(*loaded, told)]
    both = found.sequence[done] * found.end[done]
    assert done and np.allclose(-np.log(both), costs, rtol=1e-3)


def test_a_certain_token_keeps_its_last_digits():
    """0 nats would be all that float32 leaves of a difference of large logits."""
    recorder = confidence.Recorder()
    recorder(None, torch.tensor([[40.0, 26.0]]))
    at_1 = recorder.steps[0][0, confidence.TEMPERATURES.index(1.0)].item()
    assert at_1 == pytest.approx(-np.exp(-14.0), rel=0.1)


def test_samples_agree_as_often_as_the_tokens_say(loaded, rows):
    """Cut after two tokens, an answer is repeated with the probability of its two tokens."""
    found = confidence.answers(*loaded, rows[:96], max_new_tokens=2)
    likely = found.sequence * np.where(found.finished, found.end, 1)
    shares = confidence.agreement(
        *loaded, rows[:96], list(found.answer), samples=64, temperature=1.0, seed=3, max_new_tokens=2,
        part=lambda text: text.strip(),
    )  # fmt: skip
    clear = spelled_alike(loaded[1], found)
    likely, shares = likely[clear], shares[clear]
    error = np.sqrt(np.mean(likely * (1 - likely)) / (64 * len(clear)))
    assert len(clear) >= 10 and shares.mean() == pytest.approx(likely.mean(), abs=4 * error)
    assert np.corrcoef(shares, likely)[0, 1] > 0.9


def test_sampling_hangs_by_its_seed_and_cold_samples_are_the_greedy_answer(loaded, some, found):
    options = {"samples": 4, "max_new_tokens": LENGTH, "batch": 32}
    given = list(found.answer)
    warm = [confidence.agreement(*loaded, some, given, temperature=1.0, seed=seed, **options) for seed in (1, 1, 2)]
    assert (warm[0] == warm[1]).all() and (warm[0] != warm[2]).any()
    assert (confidence.agreement(*loaded, some, given, temperature=1e-4, seed=1, **options) == 1).all()


@pytest.mark.parametrize("wrong", [{"samples": 0}, {"temperature": 0.0}])
def test_samples_that_say_nothing_are_refused(loaded, some, wrong):
    options = {"samples": 4, "temperature": 1.0, "seed": 1, "max_new_tokens": 2, **wrong}
    with pytest.raises(CogumiError, match="temperature above 0"):
        confidence.agreement(*loaded, some, [""] * len(some), **options)


@pytest.mark.parametrize(
    ("answer", "part"), [("3 + 4 = 7\nAnswer:  7", "7"), (" two\n words ", "two words"), ("Answer: 1. Answer: 2", "2")]
)
def test_what_two_answers_must_share(answer, part):
    assert confidence.final_part(answer) == part


def test_asking_in_parts_gives_graded_answers_whatever_the_workers(base, some, tmp_path):
    options = {"max_new_tokens": LENGTH, "batch": 4, "shards": 2}
    one = confidence.ask(base, some, tmp_path / "one", workers=1, **options)
    two = confidence.ask(base, some, tmp_path / "two", workers=2, **options)
    assert one.equals(two) and list(one.id) == [example.id for example in some]
    assert list(one.passed) == list(grade.grade(some, list(one.answer)).passed)
    assert list(one.skill) == [example.skill for example in some]


def test_finished_parts_are_not_asked_again_and_other_questions_are(base, some, tmp_path):
    options = {"max_new_tokens": 2, "shards": 1}
    confidence.ask(base, some[:4], tmp_path, **options)
    (file,) = tmp_path.rglob(confidence.FILE)
    before = file.stat().st_mtime_ns
    confidence.ask(base, some[:4], tmp_path, **options)
    assert file.stat().st_mtime_ns == before
    others = confidence.ask(base, some[4:6], tmp_path, **options)
    assert list(others.id) == [example.id for example in some[4:6]]
    assert confidence.ask(base, some[:4], tmp_path, max_new_tokens=3, shards=1).tokens.max() == 3


def test_no_questions_are_refused(loaded, base, tmp_path):
    with pytest.raises(CogumiError, match="questions to answer"):
        confidence.answers(*loaded, [], max_new_tokens=2)
    with pytest.raises(CogumiError, match="questions to answer"):
        confidence.ask(base, [], tmp_path, max_new_tokens=2)


def test_a_question_that_comes_twice_has_two_rows_in_their_places(base, some, tmp_path):
    twice = [*some[:3], some[0], some[4]]
    found = confidence.ask(base, twice, tmp_path, max_new_tokens=2, shards=2)
    assert list(found.id) == [example.id for example in twice] and list(found.index) == [0, 1, 2, 3, 4]


def test_asking_leaves_this_process_its_threads(base, some, tmp_path):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    confidence.ask(base, some[:2], tmp_path, max_new_tokens=2, shards=1)
    assert torch.get_num_threads() == 2
    torch.set_num_threads(before)
