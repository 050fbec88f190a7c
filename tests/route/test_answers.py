"""Each route answers each task, and a crash does not ask again what was answered."""

from __future__ import annotations

import pytest

from cogumi_utils.artifacts import ArtifactError
from cogumi_utils.errors import CogumiError
from cogumi_utils.route import answers


@pytest.fixture(scope="module")
def loud(base, tmp_path_factory):
    """An adapter whose random weights change what the base says."""
    import torch
    from peft import LoraConfig, get_peft_model

    from cogumi_utils.model import student

    model, _ = student.load(base, device_map="cpu")
    torch.manual_seed(1)
    options = {"r": 4, "target_modules": "all-linear", "init_lora_weights": False}
    adapted = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **options))
    folder = tmp_path_factory.mktemp("loud")
    adapted.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def some():
    return answers.tasks(["code"], 1, split="validation", seed=1)[:12]


@pytest.fixture(scope="module")
def answered(base, loud, some, tmp_path_factory):
    folder = tmp_path_factory.mktemp("answered")
    ways = answers.routes({"code": loud})
    return folder, ways, answers.answered(base, ways, some, folder, max_new_tokens=8)


def test_the_base_answers_as_it_does_alone_and_the_adapter_is_on(base, some, answered):
    from cogumi_utils.model import generate, student

    _, _, frames = answered
    model, tokenizer = student.load(base, device_map="cpu")
    alone = generate.answerer(model, tokenizer, max_new_tokens=8)([row.prompt for row in some])
    assert list(frames) == ["base", "code"]
    assert list(frames["base"]["answer"]) == alone
    assert list(frames["code"]["answer"]) != alone
    assert [list(frame["id"]) for frame in frames.values()] == [[row.id for row in some]] * 2


def test_correctness_has_a_row_a_task_and_a_column_a_route(answered):
    _, _, frames = answered
    changed = {name: frame.assign(passed=[name == "code"] * len(frame)) for name, frame in frames.items()}
    assert answers.correctness(changed).tolist() == [[0.0, 1.0]] * 12


def test_what_was_answered_is_not_asked_again(tmp_path, some, answered):
    folder, ways, frames = answered
    again = answers.answered(tmp_path / "no such base", ways, some, folder, max_new_tokens=8)
    assert all(again[name].equals(frames[name]) for name in frames)


def test_answers_to_other_tasks_are_refused(base, some, answered):
    folder, ways, _ = answered
    with pytest.raises(CogumiError, match="answers to the 11 tasks"):
        answers.answered(base, ways, some[1:], folder, max_new_tokens=8)
    answers.answered(base, ways, some, folder, max_new_tokens=8)


def test_an_altered_answer_is_noticed(some, answered):
    folder, _, frames = answered
    path = folder / "base" / "graded.parquet"
    kept = path.read_bytes()
    frames["base"].assign(passed=True).to_parquet(path)
    try:
        with pytest.raises(ArtifactError):
            answers._read(folder / "base", some)
    finally:
        path.write_bytes(kept)


def test_an_adapter_named_like_the_base_is_refused(tmp_path):
    with pytest.raises(CogumiError, match="that name means the base"):
        answers.routes({"base": tmp_path})


def test_tasks_of_known_and_new_skills_and_the_route_of_their_domain(some):
    rows = answers.tasks(["code", "automation"], 1, split="test", seed=1)
    assert {row.domain for row in rows} == {"code", "reasoning", "automation", "chat"}
    assert {row.split for row in rows} == {"test"}
    found = dict(zip([row.domain for row in rows], answers.domain_of(rows, ["base", "code"]), strict=True))
    assert found == {"code": "code", "reasoning": "base", "automation": "base", "chat": "base"}
    assert (
        len({row.skill for row in rows if row.domain == "code"})
        > len({row.skill for row in some if row.domain == "code"}) / 2
    )
