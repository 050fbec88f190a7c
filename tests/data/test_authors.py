"""New tasks to commission: of the right kinds, never known before, priced, and kept only if their answers are right."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from cogumi_utils.data import skills
from cogumi_utils.data.authors import OracleAuthor, generators, reasons
from cogumi_utils.data.commission import Commission, Mistake, plain
from cogumi_utils.data.oracle import OracleTier
from cogumi_utils.data.skills.specialist import SPECIALISTS
from cogumi_utils.data.spending import Price
from cogumi_utils.data.teachers import TeacherAnswer, graded, verified
from cogumi_utils.errors import CogumiError
from cogumi_utils.schema import Example

SKILLS = {skill.name: skill for skill in skills.all_skills()}


def failed(name: str, n: int) -> tuple[Mistake, ...]:
    rows = skills.examples(SKILLS[name], n, split="validation", seed=7)
    return tuple(Mistake(row, "I do not know.", "no number") for row in rows)


def order(n: int, *, aware: bool = True, **counts: int) -> Commission:
    mistakes = tuple(mistake for name, count in counts.items() for mistake in failed(name, count))
    return Commission("+".join(counts), ("rows",), mistakes, n, aware)


def author(error_rate: float = 0.0, *, seed: int = 1, name: str = "oracle", **options) -> OracleAuthor:
    return OracleAuthor(OracleTier(name, error_rate, price=Price(1.0, 4.0)), seed=seed, **options)


def questions(answers: list[TeacherAnswer]) -> list[str]:
    return [answer.request.example.prompt[-1]["content"] for answer in answers]


# --- the oracle


def test_the_oracle_writes_tasks_of_the_failed_kinds_in_their_proportion():
    mixed = order(40, product=6, two_calls=3, keep_total=1)
    answers = author().write([mixed])
    examples = [answer.request.example for answer in answers]
    assert Counter(e.skill for e in examples) == {"product": 24, "two_calls": 12, "keep_total": 4}
    assert {(e.split, e.teacher, e.source) for e in examples} == {("train", "oracle", skills.SOURCE)}
    for skill in ("product", "two_calls", "keep_total"):
        parents = tuple(m.example.id for m in mixed.mistakes if m.example.skill == skill)[:3]
        assert {e.parents for e in examples if e.skill == skill} == {parents}
    assert len(verified(answers).examples) == 40


def test_no_new_question_is_of_another_split_taken_failed_or_repeated():
    commissions = [order(60, product=4), order(60, product=2, spend=2), order(30, age=1)]
    first = questions(author().write(commissions[:1]))
    taken = {first[0].upper(), f"  {first[1]}  ", *first[2:50]}
    answers = author().write(commissions, taken=taken)
    new = questions(answers)
    failed_ones = {m.example.prompt[-1]["content"] for c in commissions for m in c.mistakes}
    assert len({plain(q) for q in new}) == len(new) == 150
    assert not {plain(q) for q in new} & {plain(q) for q in taken | failed_ones}
    assert {skills.split_of(question) for question in new} == {"train"}
    assert set(first[50:]) < set(new)  # the stream of questions is the same, the taken ones are left out


def test_the_same_commission_brings_the_same_tasks_whatever_is_written_beside_it():
    here, beside = order(25, product=3, door=2), order(25, between=2)
    alone = author(0.5).write([here])
    assert alone == author(0.5).write([here])
    assert alone == author(0.5).write([beside, here])[25:]
    assert questions(alone) == questions(author(0.9, name="weak").write([here]))  # tiers meet the same questions
    assert questions(alone) != questions(author(0.5, seed=2).write([here]))
    assert not set(questions(alone)) & set(questions(author(0.5).write([here], taken=questions(alone))))


def test_a_kind_that_is_exhausted_brings_fewer_and_never_repeats():
    small = order(5000, capital=2)
    answers = author().write([small])
    available = len(skills.at_most(SKILLS["capital"], 5000, split="train", seed=3))
    assert 0.9 * available < len(set(questions(answers))) == len(answers) < 5000
    assert len(author().write([small], taken=questions(answers))) < 20  # the few that came up too seldom


def test_each_task_bears_its_share_of_the_prompt_and_its_own_text():
    few = order(100, product=2)
    answers = author(per_call=9).write([few])
    prompts = ["\n".join(message["content"] for message in few.messages(n)) for n in (9, 1)]
    assert sum(a.tokens_in for a in answers[:9]) == -(-len(prompts[0]) // 4)
    assert sum(a.tokens_in for a in answers[99:]) == -(-len(prompts[1]) // 4)
    for answer in answers:
        json_text = len(questions([answer])[0]) + len(answer.text) + len('{"question": "", "answer": ""}')
        assert answer.tokens_out == -(-json_text // 4)
        assert answer.cost_usd == pytest.approx((answer.tokens_in + 4 * answer.tokens_out) / 1e6, abs=1e-15)
    blind = author(per_call=9).write([order(100, product=2, aware=False)])
    assert questions(blind) == questions(answers)
    assert sum(a.tokens_in for a in blind) < sum(a.tokens_in for a in answers)


def test_nothing_of_a_teacher_that_always_lies_is_kept():
    result = verified(author(1.0).write([order(30, product=1, two_calls=1, between=1)]))
    row = result.table().set_index("teacher").loc["oracle"]
    assert result.examples == [] and dict(row[["asked", "kept", "wrong", "error"]]) == {
        "asked": 30, "kept": 0, "wrong": 30, "error": 0,
    }  # fmt: skip
    assert row.cost_usd > 0


def test_of_a_teacher_that_often_lies_exactly_the_right_answers_are_kept():
    answers = author(0.4).write([order(200, product=3, arrival=1)])
    right = [answer.text == answer.request.example.answer for answer in answers]
    result = verified(answers)
    row = result.table().set_index("teacher").loc["oracle"]
    assert (row.asked, row.kept, row.wrong) == (200, sum(right), 200 - sum(right)) == (200, 119, 81)
    assert [e.answer for e in result.examples] == [a.text for a, good in zip(answers, right, strict=True) if good]
    assert all(graded(result.examples, [e.answer for e in result.examples]))
    assert row.cost_usd == pytest.approx(sum(answer.cost_usd for answer in answers))


def test_kinds_without_a_program_are_left_out_and_alone_are_refused():
    foreign = Example("math", "gsm8k", [{"role": "user", "content": "?"}], verifier={"kind": "number", "payload": {}})
    mixed = order(10, product=2)
    with_foreign = replace(mixed, mistakes=(*mixed.mistakes, Mistake(foreign, "", "")))
    assert {a.request.example.skill for a in author().write([with_foreign])} == {"product"}
    assert len(author().write([with_foreign])) == 10
    with pytest.raises(CogumiError, match="only math/gsm8k"):
        author().write([replace(mixed, mistakes=(Mistake(foreign, "", ""),))])


def test_every_skill_of_base_and_specialists_has_its_own_generator():
    special = [skill for registry in SPECIALISTS.values() for skill in registry.skills.values()]
    known = [*skills.all_skills(), *special]
    assert list(generators().values()) == known and len(known) > len(special) > 0  # none hides another


@pytest.mark.parametrize("domain", SPECIALISTS)
def test_specialists_tasks_are_written_too(domain):
    made = [skills.examples(s, 2, split="validation", seed=2) for s in SPECIALISTS[domain].skills.values()]
    mistakes = tuple(Mistake(row, "?", "wrong") for rows in made for row in rows)
    answers = author().write([Commission(domain, (), mistakes, 2 * len(made))])
    assert len(verified(answers).examples) == len(answers) == 2 * len(made)
    assert Counter(a.request.example.skill for a in answers) == dict.fromkeys(SPECIALISTS[domain].skills, 2)


def test_per_call_is_checked_and_reasons_are_counted():
    with pytest.raises(CogumiError, match="per_call"):
        author(per_call=0)
    (answer,) = author().write([order(1, age=1)])
    bad = [replace(answer, error="taken"), replace(answer, error="taken"), replace(answer, error="empty"), answer]
    assert reasons(bad) == {"taken": 2, "empty": 1}
