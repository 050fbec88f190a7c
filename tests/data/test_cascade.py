"""What one tier gets wrong goes to the next, the hardest part to the last; every answer is paid for once."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from loopback_endpoint import Endpoint, completion, endpoint

from cogumi_utils.data import cascade, skills
from cogumi_utils.data.commission import Mistake, plain
from cogumi_utils.data.spending import SpendingLimitReached
from cogumi_utils.data.staff import Post, posts
from cogumi_utils.data.teachers import graded
from cogumi_utils.errors import CogumiError
from cogumi_utils.schema import Example

COUNTS = ["teacher", "asked", "kept", "wrong", "error", "unverifiable"]


@pytest.fixture(scope="module")
def failed() -> list[Mistake]:
    """30 products of difficulty 2 and 3, where an oracle of error rate 1 always errs."""
    skill = next(skill for skill in skills.all_skills() if skill.name == "product")
    rows = [row for row in skills.examples(skill, 60, split="train", seed=7) if row.difficulty > 1][:30]
    return [Mistake(row, "I do not know.", "no number") for row in rows]


def oracles(folder: Path, *error_rates: float) -> list[Post]:
    """Each tier costs ten times as much as the one before."""
    n = len(error_rates)
    prices = [0.1, 1.0, 10.0][:n], [0.2, 2.0, 20.0][:n]
    return posts(["oracle"] * n, [""] * n, error_rates, *prices, limit_usd=1.0, folder=folder, seed=1)


def climb(failed, staff, *, total: int = 20, share: float = 0.4, **options) -> cascade.Cascade:
    return cascade.climb(failed, staff, name="products", hardest_share=share, total=total, **options)


def counts(found: cascade.Cascade) -> list[list]:
    return found.tiers[COUNTS].to_numpy().tolist()


@pytest.fixture(scope="module")
def climbed(failed, tmp_path_factory) -> cascade.Cascade:
    return climb(failed, oracles(tmp_path_factory.mktemp("cascade"), 0.5, 0.25, 0.05))


def test_wrong_answers_go_up_tier_by_tier(climbed):
    assert counts(climbed) == [["tier 1", 30, 12, 18, 0, 0], ["tier 2", 18, 10, 8, 0, 0], ["tier 3", 9, 9, 0, 0, 0]]
    assert [row.teacher for row in climbed.examples] == ["tier 1"] * 12 + ["tier 2"] * 10 + ["tier 3"] * 9
    assert all(graded(climbed.examples, [row.answer for row in climbed.examples]))


def test_no_task_is_solved_twice_and_each_names_its_own(climbed, failed):
    ids = [mistake.example.id for mistake in failed]
    solved = [row.parents for row in climbed.examples if row.teacher != "tier 3"]
    assert len(set(solved)) == len(solved) == 22 and {parent for (parent,) in solved} < set(ids)
    asked = {mistake.example.id: mistake.example.prompt for mistake in failed}
    for row in climbed.examples[:22]:
        assert row.prompt == asked[row.parents[0]] and row.verifier["kind"] == "number"
    written = [row for row in climbed.examples if row.teacher == "tier 3"]
    assert {row.parents for row in written} == {tuple(m.example.id for m in climbed.hardest[:3])}


def test_the_last_tier_sees_what_no_other_has_solved_then_the_most_difficult(climbed, failed):
    unsolved = {m.example.id for m in failed} - {row.parents[0] for row in climbed.examples[:22]}
    assert len(climbed.hardest) == 12 and len(unsolved) == 8
    assert {mistake.example.id for mistake in climbed.hardest[:8]} == unsolved
    assert [mistake.example.difficulty for mistake in climbed.hardest[8:]] == [3, 3, 3, 3]


def test_what_was_paid_is_the_sum_and_the_last_tier_alone_is_dearer(climbed):
    table = climbed.tiers.set_index("teacher")
    assert climbed.usd == pytest.approx(table["cost_usd"].sum(), abs=1e-15)
    assert table["cost_usd_per_kept"]["tier 2"] == pytest.approx(table["cost_usd"]["tier 2"] / 10)
    assert climbed.usd_alone == pytest.approx(table["cost_usd"] @ [100, 10, 1])
    assert climbed.usd_alone > climbed.usd > table["cost_usd"]["tier 3"] > 0


def test_the_same_climb_again_is_the_same(failed, climbed, tmp_path):
    again = climb(failed, oracles(tmp_path, 0.5, 0.25, 0.05))
    assert again.examples == climbed.examples and again.hardest == climbed.hardest
    assert again.tiers.equals(climbed.tiers) and (again.usd, again.usd_alone) == (climbed.usd, climbed.usd_alone)


def test_teachers_that_lie_keep_nothing_and_all_of_it_reaches_the_last(failed, tmp_path):
    found = climb(failed, oracles(tmp_path, 1.0, 1.0, 0.0), total=8, share=1.0)
    assert counts(found) == [["tier 1", 30, 0, 30, 0, 0], ["tier 2", 30, 0, 30, 0, 0], ["tier 3", 9, 9, 0, 0, 0]]
    assert found.tiers["cost_usd_per_kept"].isna().tolist() == [True, True, False]
    assert {m.example.id for m in found.hardest} == {m.example.id for m in failed}
    assert {row.teacher for row in found.examples} == {"tier 3"}


@pytest.mark.parametrize(("total", "share", "n"), [(40, 0.1, 12), (30, 0.2, 7), (40, 0.5, 23), (1, 0.01, 1)])
def test_the_last_tier_writes_its_share_or_what_is_still_missing(failed, tmp_path, total, share, n):
    """30 are solved below; 15% more than is needed is ordered: 1.15 of 10 missing, of 6, of 20, and of 1 at least."""
    found = climb(failed, oracles(tmp_path, 0.0, 0.0), total=total, share=share)
    assert counts(found)[1] == ["tier 2", n, n, 0, 0, 0]


def test_a_tier_with_nothing_left_to_do_has_a_row_of_whole_zeros(failed, tmp_path):
    found = climb(failed, oracles(tmp_path, 0.0, 0.0, 0.0))
    assert counts(found)[1] == ["tier 2", 0, 0, 0, 0, 0]
    assert found.tiers["asked"].dtype == found.tiers["tokens"].dtype == "int64"
    assert found.tiers["cost_usd_per_kept"].isna().tolist() == [False, True, False]
    assert [m.example.difficulty for m in found.hardest] == [3] * 12  # nothing is left: the most difficult


def test_a_task_that_came_from_another_goes_up_no_further_once_solved(failed, tmp_path):
    """Its parents are its own history: what is kept must name the task that was asked."""
    later = [replace(m, example=replace(m.example, parents=("0" * 32,))) for m in failed]
    found = climb(later, oracles(tmp_path, 0.0, 0.0, 0.0))
    assert counts(found)[1] == ["tier 2", 0, 0, 0, 0, 0]
    assert {row.parents[0] for row in found.examples[:30]} == {m.example.id for m in failed}


def test_no_failed_question_is_written_anew_nor_one_that_is_taken(failed, tmp_path):
    first = climb(failed, oracles(tmp_path, 0.0, 0.0), total=70)
    new = [row.prompt[-1]["content"] for row in first.examples[30:]]
    again = climb(failed, oracles(tmp_path, 0.0, 0.0), total=70, taken=new[:20])
    other = [row.prompt[-1]["content"] for row in again.examples[30:]]
    asked = {plain(m.example.prompt[-1]["content"]) for m in failed}
    assert len(new) == len(other) == 46 and not {plain(question) for question in new + other} & asked
    assert not set(other) & set(new[:20]) and set(new[20:]) < set(other)


def test_the_failed_questions_that_the_last_tier_is_not_shown_are_taken_too(failed, tmp_path):
    """Without that the author, which draws from the same tasks, would write some of them again."""
    pool = [replace(m, example=row.request.example) for m, row in zip(failed, _written(failed, tmp_path), strict=True)]
    found = climb([*failed, *pool], oracles(tmp_path, 0.0, 0.0), total=60, share=0.5)
    questions = [plain(row.prompt[-1]["content"]) for row in found.examples]
    assert len(questions) == 94 == len(set(questions))


def _written(failed, folder):
    """What the last tier would write first for the hardest half of `failed` and what is like it."""
    from cogumi_utils.data.commission import Commission

    worst = cascade.hardest(failed, [], 1.0)
    return oracles(folder, 0.0, 0.0)[-1].author().write([Commission("products", (), tuple(worst), 30)])


@pytest.mark.parametrize(("share", "ids"), [(0.01, "c"), (0.5, "ca"), (0.75, "cad"), (1.0, "cadb")])
def test_hardest_are_the_unsolved_then_the_difficult_then_by_id(share, ids):
    found = {
        name: Mistake(_task(name, difficulty), "", "") for name, difficulty in zip("abcd", (3, 1, 1, 2), strict=True)
    }
    order = cascade.hardest(list(found.values()), [found["c"]], share)
    assert [mistake.example.id for mistake in order] == list(ids)


def _task(name: str, difficulty: int) -> Example:
    return Example("math", "s", [{"role": "user", "content": name}], difficulty=difficulty, id=name)


@pytest.mark.parametrize(("mistakes", "tiers"), [(0, 2), (30, 1), (0, 0)])
def test_without_mistakes_or_with_one_tier_there_is_no_cascade(failed, tmp_path, mistakes, tiers):
    staff = oracles(tmp_path, *[0.1] * tiers) if tiers else []
    with pytest.raises(CogumiError) as caught:
        climb(failed[:mistakes], staff)
    error = caught.value
    assert error.found == f"{mistakes} failed tasks, {tiers} tiers"
    assert all((error.expected, error.why, error.fix))


# --- through endpoints


def endpoints(server: Endpoint, folder: Path, limit_usd: float) -> list[Post]:
    lists = ["weak", "strong"], [server.base_url] * 2, [0.0, 0.0], [1.0, 10.0], [1.0, 10.0]
    return posts(*lists, limit_usd=limit_usd, folder=folder, seed=1)


def sums(n: int) -> list[Mistake]:
    return [Mistake(_sum(i), "0", f"0, expected {i + i}") for i in range(1, n + 1)]


def _sum(i: int) -> Example:
    messages = [{"role": "user", "content": f"What is {i}+{i}?"}, {"role": "assistant", "content": f"{i + i}"}]
    return Example("math", "sums", messages, verifier={"kind": "number", "payload": {"answer": str(i + i)}})


def adds(body: dict, before: int):
    """`weak` is wrong about odd numbers; `strong` writes new sums and answers them, each text of one size."""
    text = body["messages"][-1]["content"]
    if wanted := re.search(r"Reply with a JSON list of (\d+) objects", text):
        tasks = [{"question": f"What is {i}+{i}?", "answer": f"{2 * i}"} for i in range(100, 100 + int(wanted[1]))]
        return completion(json.dumps(tasks), tokens_in=1500, tokens_out=2000)
    number = int(re.findall(r"\d+", text)[0])
    return completion(str(2 * number + (body["model"] == "weak" and number % 2)), tokens_in=50, tokens_out=50)


def test_endpoints_climb_as_oracles_do(tmp_path):
    with endpoint(adds) as server:
        found = climb(sums(6), endpoints(server, tmp_path, 1.0), total=7, share=0.5)
    assert counts(found) == [["tier 1", 6, 3, 3, 0, 0], ["tier 2", 5, 5, 0, 0, 0]]
    assert [m.answer for m in found.hardest] == ["0"] * 3
    assert {m.example.answer for m in found.hardest} == {"2", "6", "10"}  # 1+1, 3+3 and 5+5
    assert found.usd == pytest.approx((6 * 100 * 1 + (3500 + 5 * 100) * 10) / 1e6)
    assert found.usd_alone == pytest.approx((6 * 100 * 10 + (3500 + 5 * 100) * 10) / 1e6)


def test_out_of_budget_and_gone_on_with_is_paid_once(tmp_path):
    """What the last tier wrote leaves too little for a second answer; under a higher limit it goes on from there."""
    with endpoint(adds) as server:
        with pytest.raises(SpendingLimitReached):
            climb(sums(6), endpoints(server, tmp_path, 0.045), total=7, share=0.5)
        assert [body["model"] for body in server.bodies] == ["weak"] * 6 + ["strong"]
        found = climb(sums(6), endpoints(server, tmp_path, 1.0), total=7, share=0.5)
        assert len(server.bodies) == 12 == len({json.dumps(body, sort_keys=True) for body in server.bodies})
        spent = {p.name: p.teacher().ledger.totals()["spent_usd"] for p in endpoints(server, tmp_path, 1.0)}
    assert counts(found) == [["tier 1", 6, 3, 3, 0, 0], ["tier 2", 5, 5, 0, 0, 0]]
    assert spent == {"tier 1": pytest.approx(0.0006), "tier 2": pytest.approx(0.04)}
    assert found.usd == pytest.approx(0.005), "the second answers; the rest was in the cache"
    assert found.usd_alone == pytest.approx(0.006 + 0.04)
