"""From answers to verdicts to tables."""

from __future__ import annotations

import pandas as pd
import pytest

from cogumi_utils.errors import CogumiError
from cogumi_utils.judge.grade import accuracy, answer_code, compare, evaluate, grade, verdict, verdicts, worst
from cogumi_utils.schema import Example
from cogumi_utils.stats import holm, paired_difference, wilson


def example(question: str, kind: str = "number", skill: str = "sum", difficulty: int = 1, **payload) -> Example:
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": "the reference"}]
    return Example("math", skill, messages, difficulty, {"kind": kind, "payload": payload or {"answer": "4"}})


SQUARE = {"entry_point": "sq", "tests": "assert sq(3) == 9\nassert sq(-2) == 4", "setup": ""}


def test_one_row_per_answer_in_order():
    examples = [
        example("2+2?"), example("code?", "python_tests", "code", 2, **SQUARE), example("say hi", "exact", answer="hi"),
        example("code again?", "python_tests", "code", 3, **SQUARE),
    ]  # fmt: skip
    answers = ["Answer: 5", "```python\ndef sq(x):\n    return x * x\n```", " hi ", "def sq(x): return 9"]
    frame = grade(examples, answers)
    assert list(frame.columns) == [
        "id",
        "domain",
        "skill",
        "difficulty",
        "prompt",
        "reference",
        "answer",
        "passed",
        "reason",
    ]
    assert list(frame.id) == [e.id for e in examples]
    assert list(frame.passed) == [False, True, True, False]
    assert list(frame.reason) == ["5, expected 4", "passed", "passed", "wrong answer in `assert sq(-2) == 4`"]
    assert list(frame.answer) == answers
    assert (
        frame.prompt[0] == "2+2?" and frame.reference[0] == "the reference" and list(frame.difficulty) == [1, 2, 1, 3]
    )


def test_nothing_to_grade():
    assert len(grade([], [])) == 0


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ("def sq(x): return x", "def sq(x): return x"),
        ("Sure!\n```python\ndef sq(x): return x\n```\nDone.", "def sq(x): return x"),
        ("```\nprint(1)\n```\nand\n```py\ndef sq(x): return x\n```", "def sq(x): return x"),
        ("```\nprint(1)\n```\n```\nprint(2)\n```", "print(1)"),
        ("```python\ndef sq(x): return x", "def sq(x): return x"),
        ("```python\ndef square(x): return x\n```\n```\nasync def sq(x): pass\n```", "async def sq(x): pass"),
        ("", ""),
    ],
)
def test_the_code_of_an_answer(answer, code):
    assert answer_code(answer, "sq") == code


def test_setup_serves_the_code_and_cannot_be_redefined():
    setup = "import math\ndef double(x): return 2 * x\nclass Box:\n    def __init__(self, v): self.v = v"
    task = example("q", "python_tests", entry_point="f", setup=setup, tests="assert f(Box(4)) == math.sqrt(double(32))")
    assert verdict(task, "def f(box): return double(box.v)").passed
    assert not verdict(task, "def double(x): return 0\ndef f(box): return 0").passed
    assert not verdict(task, "").passed


def test_missing_answers_fail():
    found = verdicts([example("a"), example("b", "python_tests", **SQUARE)], [None, None])
    assert [v.passed for v in found] == [False, False]


def test_open_ended_examples_are_refused_before_any_code_runs():
    with pytest.raises(CogumiError) as caught:
        grade([example("a"), example("b", "none")], ["4", "4"])
    assert caught.value.found == "1 of 2 whose verifier is `none`"


def test_answers_must_match_examples():
    with pytest.raises(CogumiError, match="1 answers"):
        grade([example("a"), example("b")], ["4"])


def test_evaluate_asks_once_with_all_prompts():
    asked = []

    def answer_fn(prompts):
        asked.append(prompts)
        return ("4" if prompt[-1]["content"] == "2+2?" else "5" for prompt in prompts)

    frame = evaluate([example("2+2?"), example("2+3?")], answer_fn)
    assert asked == [[[{"role": "user", "content": "2+2?"}], [{"role": "user", "content": "2+3?"}]]]
    assert list(frame.passed) == [True, False]


def test_longer_chats_keep_their_roles_in_the_prompt():
    messages = [{"role": "system", "content": "S"}, {"role": "user", "content": "U"}]
    frame = grade([Example("d", "s", messages, 1, {"kind": "exact", "payload": {"answer": "x"}})], ["x"])
    assert frame.prompt[0] == "system: S\nuser: U" and frame.reference[0] == ""


def table(results: dict[str, str]) -> pd.DataFrame:
    """skill → a string of + and -, one item each."""
    rows = [
        {"id": f"{skill}{i}", "skill": skill, "difficulty": 3 - i % 3, "passed": mark == "+"}
        for skill, marks in results.items()
        for i, mark in enumerate(marks)
    ]
    return pd.DataFrame(rows)


def test_accuracy_has_wilson_intervals_and_the_overall_row_first():
    found = accuracy(table({"b": "++-", "a": "+----"}))
    assert list(found.skill) == ["overall", "a", "b"]
    assert list(found.n) == [8, 5, 3] and list(found.passed) == [3, 1, 2]
    assert found.accuracy[1] == 0.2
    for row, (k, n) in zip(found.itertuples(), [(3, 8), (1, 5), (2, 3)], strict=True):
        assert (row.low, row.high) == (wilson(k, n).low, wilson(k, n).high)


def test_compare_is_paired_by_example_and_not_by_position():
    before, after = table({"a": "+--" * 4, "b": "+-"}), table({"a": "++-" * 4, "b": "-+"})
    found = compare(before, after.sample(frac=1, random_state=1))
    assert list(found.skill) == ["overall", "a", "b"]
    assert list(found.gained) == [5, 4, 1] and list(found.lost) == [1, 0, 1]
    assert found.difference[1] == pytest.approx(4 / 12) and found.difference[2] == 0
    assert list(found.before) == [pytest.approx(5 / 14), pytest.approx(4 / 12), 0.5]
    expected = paired_difference(before.passed, after.passed, seed=0)
    assert (found.low[0], found.high[0], found.p_value[0]) == (expected.low, expected.high, expected.p_value)
    assert list(found.p_holm) == [expected.p_value, *holm(list(found.p_value[1:]))]


def test_compare_refuses_different_examples():
    before, after = table({"a": "+-"}), table({"a": "+-+"})
    for pair in ((before, after), (after, before), (pd.concat([before, before]), pd.concat([before, before]))):
        with pytest.raises(CogumiError, match="the same Examples"):
            compare(*pair)


def test_worst_takes_turns_from_the_weakest_group():
    frame = table({"good": "+++++-", "bad": "----+", "middle": "+--"})
    found = worst(frame, 5)
    assert list(found.skill) == ["bad", "middle", "good", "bad", "middle"]
    assert not found.passed.any()
    assert list(found.columns) == list(frame.columns)
    assert found.difficulty[0] == 1, "the easiest failure of a group comes first"
    assert len(worst(frame, 100)) == 7
