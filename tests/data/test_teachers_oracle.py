"""The oracle's tiers err as often as they say, always in the same places, and never by an answer that is right."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from cogumi_utils.data import skills
from cogumi_utils.data.oracle import OracleTeacher, OracleTier
from cogumi_utils.data.spending import Price
from cogumi_utils.data.teachers import TeacherAnswer, TeacherRequest, graded, verified
from cogumi_utils.errors import CogumiError
from cogumi_utils.schema import Example
from cogumi_utils.stats import wilson

WEAK = OracleTier("weak", error_rate={1: 0.1, 2: 0.3, 3: 0.6})


def example(kind: str, text: str, question: str = "Which one, Ann or Bob?", difficulty: int = 1, **payload) -> Example:
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": text}]
    return Example("chat", "made", messages, difficulty=difficulty, verifier={"kind": kind, "payload": payload})


def sums(n: int) -> list[Example]:
    return [
        example("number", f"{i}+1={i + 1}. Answer: {i + 1}", f"What is {i}+1?", 1 + i % 3, answer=str(i + 1))
        for i in range(n)
    ]


def answers(examples: list[Example], tier: OracleTier = WEAK, seed: int = 0, **options) -> list[TeacherAnswer]:
    return OracleTeacher(tier, seed=seed).answer([TeacherRequest.of(e, **options) for e in examples])


def wrong(examples: list[Example], given: list[TeacherAnswer]) -> list[bool]:
    return [not right for right in graded(examples, [answer.text for answer in given])]


ONE_OF_EACH = [
    example("number", "7+5=12. Answer: 12", answer="12"),
    example("number", "The price is $1,250.50", answer="1250.50"),
    example("choice", "Because.\nAnswer: B", answer="B"),
    example("choice", "C", answer="C"),
    example("final", "Ann>Bob. Answer: Ann", answer="Ann"),
    example("exact", "Hello Ann, how is Rome?", answer="Hello Ann, how is Rome?"),
    example("exact", "1 2 3", question="Count.", answer="1 2 3"),
    example("tool_calls", 'light(room="hall", level=3)\ndoor(room="den")', ordered=False,
            calls=[{"name": "light", "arguments": {"room": "hall", "level": 3}},
                   {"name": "door", "arguments": {"room": "den"}}]),
    example("tool_calls", "none()", ordered=True, calls=[{"name": "none", "arguments": {}}]),
    example("python_tests", "```python\ndef f(x):\n    return x + 1\n```", entry_point="f", setup="",
            tests="assert f(1) == 2\nassert f(5) == 6"),
    example("constraints", "A red, red rose blooms.",
            rules=[{"rule": "min_words", "n": 5}, {"rule": "contains", "text": "rose"}]),
]  # fmt: skip


@pytest.mark.parametrize("question", ONE_OF_EACH, ids=lambda e: f"{e.verifier['kind']}: {e.answer[:12]}")
def test_a_wrong_answer_of_each_kind_is_wrong_and_plausible(question):
    never, always = OracleTier("never"), OracleTier("always", error_rate=1.0)
    for seed in range(3):
        (right,), (mistake,) = answers([question], never, seed), answers([question], always, seed)
        assert right.text == question.answer and graded([question], [right.text]) == [True]
        assert mistake.text and not mistake.error and graded([question], [mistake.text]) == [False]
        assert set(mistake.text.split()) & set(question.answer.split()) or len(question.answer) < 8  # a slip, no babble


def test_every_skill_can_be_answered_wrongly():
    always = OracleTier("always", error_rate=1.0)
    made = [e for skill in skills.all_skills() for e in skills.examples(skill, 2, split="train", seed=3)]
    given = answers(made, always)
    assert not [answer.error for answer in given if answer.error]
    assert all(wrong(made, given))
    assert len({e.skill for e in made}) == len({(s.domain, s.name) for s in skills.all_skills()})


def test_a_tier_errs_at_its_rate_by_difficulty_and_exactly_there():
    made = sums(3000)
    mistakes = wrong(made, answers(made))
    by_level = {level: [m for e, m in zip(made, mistakes, strict=True) if e.difficulty == level] for level in (1, 2, 3)}
    assert {level: sum(found) for level, found in by_level.items()} == {1: 120, 2: 287, 3: 605}
    for level, found in by_level.items():
        interval = wilson(sum(found), len(found), confidence=0.99)
        assert interval.low <= WEAK.error_rate[level] <= interval.high


def test_the_same_request_gets_the_same_answer_whatever_is_asked_beside_it():
    made = sums(60)
    together = [answer.text for answer in answers(made)]
    assert together == [answers([e])[0].text for e in made]
    assert together == [answer.text for answer in answers(made[::-1])][::-1]


def test_seed_tier_and_sample_draw_anew():
    made = sums(200)
    base = wrong(made, answers(made))
    assert base != wrong(made, answers(made, seed=1))
    assert base != wrong(made, answers(made, OracleTier("other", WEAK.error_rate)))
    assert base != wrong(made, answers(made, sample=1))


def test_a_better_tier_is_better_on_the_skills_it_names_and_no_other():
    tier = OracleTier("coder", error_rate=1.0, skills={"product": 0.0, "code": 0.0})
    chat = example("exact", "yes", answer="yes")
    product = Example("reasoning", "product", chat.messages, verifier=chat.verifier)
    code = Example("code", "shift", chat.messages, verifier=chat.verifier)
    assert [tier.rate(e) for e in (chat, product, code)] == [1.0, 0.0, 0.0]


@pytest.mark.parametrize(("difficulty", "rate"), [(1, 0.2), (2, 0.2), (3, 0.5), (9, 0.5), (0, 0.2)])
def test_a_difficulty_that_is_not_listed_takes_the_next_lower_rate(difficulty, rate):
    tier = OracleTier("t", error_rate={1: 0.2, 3: 0.5})
    assert tier.rate(example("exact", "a", difficulty=difficulty, answer="a")) == rate


@pytest.mark.parametrize("bad", [{"error_rate": 1.5}, {"error_rate": -0.1}, {"error_rate": {}}, {"skills": {"a": 2}}])
def test_rates_that_are_no_shares_are_refused(bad):
    with pytest.raises(CogumiError, match="from 0 to 1"):
        OracleTier("bad", **bad)


def test_a_slip_that_happens_to_be_right_is_never_taken():
    """2 * 2 is 2 + 2: these tests cannot tell the first slips from the answer, and only one that they can is used."""
    lucky = example(
        "python_tests", "def f(x):\n    return x * 2", entry_point="f", setup="", tests="assert f(2) == 4"
    )  # fmt: skip
    teacher = OracleTeacher(OracleTier("always", error_rate=1.0), seed=0)
    given = teacher.answer([TeacherRequest.of(lucky, sample=i) for i in range(20)])
    assert all(wrong([lucky] * 20, given))
    assert not [answer.text for answer in given if "x + 2" in answer.text]
    assert len({answer.text for answer in given}) > 1


def test_where_every_answer_is_right_there_is_no_wrong_one():
    (given,) = answers([example("constraints", "Anything at all.", rules=[])], OracleTier("always", error_rate=1.0))
    assert given.text == "" and given.error == "no wrong answer to this question was found"


def test_the_oracle_knows_only_questions_with_an_answer():
    open_question = Example("chat", "s", [{"role": "user", "content": "Who?"}])
    given = OracleTeacher(WEAK, seed=0).answer([TeacherRequest.of(open_question), TeacherRequest([])])
    assert [answer.error for answer in given] == ["the oracle knows no answer to this question"] * 2


def test_an_oracle_answer_has_a_size_and_a_price():
    tier = OracleTier("priced", price=Price(1.0, 10.0))
    (given,) = answers([example("exact", "x" * 9, question="q" * 40, answer="x" * 9)], tier)
    assert (given.tokens_in, given.tokens_out, given.teacher) == (10, 3, "priced")
    assert given.cost_usd == pytest.approx(40e-6)


# --- the check that every answer passes before use


def test_only_verified_answers_are_kept_and_the_rest_is_counted_by_teacher():
    made = sums(300)
    unverifiable = example("none", "A poem.")
    weak = OracleTeacher(OracleTier("weak", WEAK.error_rate, price=Price(1, 1)), seed=0)
    strong = OracleTeacher(OracleTier("strong"), seed=0)
    given = [
        *weak.answer([TeacherRequest.of(e) for e in (*made, unverifiable)]),
        *strong.answer([TeacherRequest.of(e) for e in made]),
        TeacherAnswer(TeacherRequest.of(made[0]), "remote", error="status 500"),
    ]
    result = verified(given)
    table = result.table().set_index("teacher")
    mistakes = sum(wrong(made, given[:300]))
    assert 0 < mistakes < 300
    counts = table[["asked", "kept", "wrong", "error", "unverifiable"]]
    assert counts.loc["weak"].tolist() == [301, 300 - mistakes, mistakes, 0, 1]
    assert counts.loc["strong"].tolist() == [300, 300, 0, 0, 0]
    assert counts.loc["remote"].tolist() == [1, 0, 0, 1, 0]
    cost = sum(answer.cost_usd for answer in given[:301])
    assert table.cost_usd.weak == pytest.approx(cost)
    assert table.cost_usd_per_kept.weak == pytest.approx(cost / (300 - mistakes))
    assert math.isnan(table.cost_usd_per_kept.remote)
    assert len(result.examples) == 600 - mistakes
    assert all(graded(result.examples, [kept.answer for kept in result.examples]))


def test_tokens_are_those_read_and_written_whatever_became_of_them():
    (made,) = sums(1)
    request = TeacherRequest.of(made)
    given = [
        TeacherAnswer(request, "a", made.answer, 10, 3),
        TeacherAnswer(request, "a", "no", 20, 1),
        TeacherAnswer(request, "a", tokens_in=5, error="no text"),
        TeacherAnswer(request, "b", "no", 7, 7),
    ]
    result = verified(given)
    assert result.tokens == {"a": 39, "b": 14}
    assert result.table().set_index("teacher")["tokens"].to_dict() == result.tokens


def test_a_kept_row_names_what_its_task_came_from_or_else_the_task():
    first, second = sums(2)
    later = replace(second, parents=("f" * 32, "e" * 32))
    result = verified(OracleTeacher(OracleTier("sure"), seed=0).answer([TeacherRequest.of(e) for e in (first, later)]))
    assert [row.parents for row in result.examples] == [(first.id,), later.parents]
    assert [row.teacher for row in result.examples] == ["sure", "sure"]


def test_a_kept_answer_names_its_teacher_and_the_question_that_it_came_from():
    (question,) = sums(1)
    (kept,) = verified([TeacherAnswer(TeacherRequest.of(question), "m", text="0+1=1, I think. Answer: 1")]).examples
    assert (kept.answer, kept.teacher, kept.parents) == ("0+1=1, I think. Answer: 1", "m", (question.id,))
    assert (kept.prompt, kept.verifier) == (question.prompt, question.verifier) and kept.id != question.id


def test_an_answer_to_an_unknown_question_cannot_be_verified():
    with pytest.raises(CogumiError, match="TeacherRequest.of"):
        verified([TeacherAnswer(TeacherRequest([{"role": "user", "content": "?"}]), "m", text="!")])
