"""Tasks made by program: every reference passes its own verifier, splits never meet, seeds decide everything."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from collections import Counter
from itertools import product
from random import Random

import pytest

from cogumi_utils.data import skills
from cogumi_utils.data.skills.base import LEVELS
from cogumi_utils.errors import CogumiError
from cogumi_utils.judge.grade import verdicts
from cogumi_utils.judge.tool_calls import read_calls
from cogumi_utils.schema import SPLITS, Example

SKILLS = skills.all_skills()
BY_NAME = {skill.name: skill for skill in SKILLS}
# The first ids of seed 1, over all skills: a change of any task changes this, and every number measured with it.
DIGEST = {
    "train": "2c8fd078fc61a8d42b33009b703176ab6134ad3e0c5fdb0b9711f979b0909a8c",
    "test": "abbb8ee6a5e3125bb6d377adfe9ccb1a65e8db9167c34bc184e16d85449842af",
}
# What only the questions and answers of a held-back skill have.
MARKS = {
    "keep_total": "the sum of the items of",
    "between": "is between",
    "join": "joined by",
    "product": " rows of ",
    "chain_of_four": "older than",
    "spend": " buys both",
    "two_calls": r"\)\n\w+\(",
    "at_time": "o'clock",
    "everywhere": "in both the",
    "swap": "the other way round",
}


def digest(rows: list[Example]) -> str:
    return hashlib.sha256("".join(row.id for row in rows).encode()).hexdigest()


def one_of_each_level(skill: skills.Skill) -> list[Example]:
    rows = skills.at_most(skill, 40, split="train", seed=3)
    return [next(row for row in rows if row.difficulty == level) for level in LEVELS]


@pytest.fixture(scope="module")
def samples() -> list[Example]:
    """One task of each skill and level."""
    return [row for skill in SKILLS for row in one_of_each_level(skill)]


def test_every_domain_has_skills_enough_and_some_that_are_held_back():
    assert skills.DOMAINS == ("code", "reasoning", "automation", "chat")
    for domain in skills.DOMAINS:
        here = [skill for skill in SKILLS if skill.domain == domain]
        trained = [skill for skill in here if not skill.held_back]
        assert len(trained) >= 8 and len(trained) < len(here)
    assert len({skill.name for skill in SKILLS}) == len(SKILLS), "tables group by the name alone"
    both = skills.names(skills.trained_skills()) + skills.names(skills.held_back_skills())
    assert sorted(both) == sorted(skills.names(SKILLS))
    assert [skill.name for skill in SKILLS if skill.lasting] == ["big_sum"]


def test_every_reference_passes_its_own_verifier(samples):
    found = verdicts(samples, [row.answer for row in samples])
    assert [(row.answer, one.reason) for row, one in zip(samples, found, strict=True) if not one.passed] == []


def spoiled(row: Example) -> str:
    """Nearly the reference answer, and wrong."""
    kind = row.verifier["kind"]
    if kind == "python_tests":
        return f"{row.answer.partition('return')[0]}return [{row.answer.partition('return ')[2]}]"
    if kind == "number":
        return f"{row.answer[: row.answer.rindex('Answer: ')]}Answer: {int(row.verifier['payload']['answer']) + 1}"
    if kind == "tool_calls":
        return re.sub(r"^\w+", lambda name: f"{name[0]}s", row.answer)
    return {"final": f"{row.answer}x", "exact": f"{row.answer} Yes"}[kind]


def test_a_nearly_right_answer_fails_and_so_does_none(samples):
    wrong = [spoiled(row) for row in samples]
    found = verdicts([*samples, *samples], [*wrong, *[""] * len(samples)])
    assert [one.passed for one in found] == [False] * 2 * len(samples)


def equally_right(task: Example, other: Example) -> bool:
    """Whether the bounds belong to what lies between them is left open."""
    if task.skill != "between":
        return False
    (low, high), (other_low, other_high) = (map(int, re.findall(r"\d+", row.answer)) for row in (task, other))
    return other_low in (low, low - 1) and other_high in (high, high + 1)


@pytest.mark.parametrize("skill", [skill for skill in SKILLS if skill.domain == "code"], ids=lambda skill: skill.name)
def test_the_tests_of_a_function_tell_it_from_every_other_of_its_skill(skill):
    """Tasks of one skill that ask for the same signature and another body; our own code, run as it is."""
    groups: dict[str, list[Example]] = {}
    for row in skills.at_most(skill, 300, split="train", seed=1):
        groups.setdefault(row.answer.partition(":")[0], []).append(row)
    compared = 0
    for task, other in (pair for group in groups.values() for pair in product(group, group)):
        scope: dict = {}
        exec(other.answer, scope)
        right = task.answer == other.answer or equally_right(task, other)
        compared += not right
        try:
            exec(task.verifier["payload"]["tests"], scope)
        except Exception:
            assert not right
        else:
            assert right, f"{task.prompt[-1]['content']} is answered by {other.answer!r}"
    assert compared > 60


def test_tool_calls_read_back_as_the_tree_that_the_verifier_holds():
    automation = [skill for skill in SKILLS if skill.domain == "automation"]
    rows = [row for skill in automation for row in skills.at_most(skill, 40, split="train", seed=2)]
    assert len(rows) >= 400
    for row in rows:
        assert read_calls(row.answer) == row.verifier["payload"]["calls"]
    nested = next(row for row in rows if row.skill == "at_time")
    assert isinstance(nested.verifier["payload"]["calls"][0]["arguments"]["do"], dict)
    assert {len(row.verifier["payload"]["calls"]) for row in rows if row.skill in ("two_calls", "everywhere")} == {2}


def test_levels_are_drawn_evenly_and_make_numbers_longer():
    rows = [row for skill in SKILLS for row in skills.at_most(skill, 60, split="train", seed=4)]
    drawn = Counter(row.difficulty for row in rows)
    assert set(drawn) == set(LEVELS) and min(drawn.values()) > 0.25 * len(rows)
    for name, limits in {"parity": (99, 999, 9999), "shift": (9, 50, 99), "light": (9, 99, 99)}.items():
        for level, limit in zip(LEVELS, limits, strict=True):
            tasks = [BY_NAME[name].make(Random(seed), level) for seed in range(200)]
            largest = max(int(number) for task in tasks for number in re.findall(r"\d+", task.question))
            assert 0.6 * limit < largest <= limit


def test_rows_carry_what_the_lineage_needs(samples):
    for row in samples:
        assert (row.source, row.licence, row.teacher, row.language) == (skills.SOURCE, skills.LICENCE, "program", "en")
        assert row.quality == 10.0 and row.split in SPLITS and len(row.messages) == 2
        question = row.prompt[0]["content"]
        assert row.prompt[0]["role"] == "user" and "\n" not in question and row.answer.strip() == row.answer
        assert (question + row.answer).isascii()


def test_a_seed_decides_everything():
    for split, expected in DIGEST.items():
        assert digest(skills.mixed(SKILLS, 5, split=split, seed=1)) == expected
    assert digest(skills.mixed(SKILLS, 5, split="test", seed=2)) != DIGEST["test"]


def test_another_process_with_another_hash_seed_makes_the_same():
    code = (
        "import hashlib\nfrom cogumi_utils.data import skills\n"
        "rows = skills.mixed(skills.all_skills(), 5, split='test', seed=1)\n"
        "print(hashlib.sha256(''.join(row.id for row in rows).encode()).hexdigest())"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == DIGEST["test"]


@pytest.mark.parametrize("skill", SKILLS, ids=lambda skill: skill.name)
def test_no_question_is_in_two_splits_whatever_the_seed_and_the_number(skill):
    asked: dict[str, set[str]] = {"train": set(), "validation": set(), "test": set()}
    for split, seed, n in product(asked, (1, 2), (3, 25)):
        rows = skills.at_most(skill, n, split=split, seed=seed)
        questions = [row.prompt[-1]["content"] for row in rows]
        assert len(set(questions)) == len(rows) == n and {row.split for row in rows} == {split}
        assert {skills.split_of(question) for question in questions} == {split}
        asked[split].update(questions)
    assert not asked["train"] & asked["test"] and not asked["train"] & asked["validation"]
    assert not asked["validation"] & asked["test"]


def test_splits_have_their_shares():
    drawn = Counter(skills.split_of(f"question {number}") for number in range(10_000))
    assert drawn == {"train": 7006, "validation": 1018, "test": 1976}


def test_more_examples_begin_with_the_fewer():
    skill = BY_NAME["gain"]
    few, many = (skills.examples(skill, n, split="test", seed=9) for n in (5, 25))
    assert many[:5] == few


def test_a_skill_with_too_few_questions_says_so():
    with pytest.raises(CogumiError) as caught:
        skills.examples(BY_NAME["opposite"], 1000, split="test", seed=1)
    error = caught.value
    assert error.expected == "1000 different questions of chat/opposite in split test"
    found = int(error.found.partition(",")[0])
    assert error.found == f"{found}, then 200 repeats in a row" and error.why and error.fix
    asked = {BY_NAME["opposite"].make(Random(seed), 1).question for seed in range(8000)}
    assert len(asked) == 24 * 12 * 2
    assert 0.9 * sum(skills.split_of(question) == "test" for question in asked) < found <= 0.25 * len(asked)
    assert len(skills.at_most(BY_NAME["opposite"], 1000, split="test", seed=1)) == found


def test_mixed_takes_the_same_number_of_each_and_shuffles():
    rows = skills.mixed(SKILLS, 7, split="validation", seed=1)
    assert set(Counter(row.skill for row in rows).values()) == {7} and len(rows) == 7 * len(SKILLS)
    assert [row.skill for row in rows[:7]] != [rows[0].skill] * 7


def test_held_back_skills_leave_a_mark_and_training_has_none_of_them():
    assert set(MARKS) == set(skills.names(skills.held_back_skills()))
    for name, mark in MARKS.items():
        rows = skills.at_most(BY_NAME[name], 40, split="train", seed=1)
        texts = [f"{row.prompt[-1]['content']}\n{row.answer}\n" for row in rows]
        assert all(re.search(mark, text) for text in texts)
    trained = skills.mixed(skills.trained_skills(), 60, split="train", seed=1)
    texts = [f"{row.prompt[-1]['content']}\n{row.answer}\n" for row in trained]
    assert [text for text in texts for mark in MARKS.values() if re.search(mark, text)] == []
    assert {row.skill for row in trained} == set(skills.names(skills.trained_skills()))
