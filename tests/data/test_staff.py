"""Who teaches: the oracle at its rates, an endpoint at its price, and what is missing said before anyone is asked."""

from __future__ import annotations

import pytest
from loopback_endpoint import completion, endpoint

from cogumi_utils.data import skills
from cogumi_utils.data.authors import EndpointAuthor, OracleAuthor
from cogumi_utils.data.commission import Commission, Mistake
from cogumi_utils.data.oracle import OracleTeacher
from cogumi_utils.data.spending import Price, SpendingLimitReached
from cogumi_utils.data.staff import KEY, Post, posts
from cogumi_utils.data.teachers import TeacherRequest, graded
from cogumi_utils.errors import CogumiError
from cogumi_utils.schema import Example

LISTS = {
    "models": ["oracle", "m"], "base_urls": ["", "http://localhost:1/v1"], "error_rates": [0.4, 0.0],
    "usd_read": [1.0, 2.0], "usd_written": [3.0, 4.0],
}  # fmt: skip


def hire(folder, **changes) -> list[Post]:
    return posts(*(LISTS | changes).values(), limit_usd=5.0, folder=folder, seed=3)


def asked() -> TeacherRequest:
    messages = [{"role": "user", "content": "1+1?"}, {"role": "assistant", "content": "2"}]
    return TeacherRequest.of(Example("math", "sum", messages, verifier={"kind": "number", "payload": {"answer": "2"}}))


def test_one_post_a_model_with_its_own_rate_price_and_place(tmp_path):
    one, two = hire(tmp_path)
    assert one == Post("tier 1", "oracle", "", 0.4, (1.0, 3.0), 5.0, tmp_path, 3)
    assert two == Post("tier 2", "m", "http://localhost:1/v1", 0.0, (2.0, 4.0), 5.0, tmp_path, 3)
    assert two.price == Price(usd_per_million_in=2.0, usd_per_million_out=4.0)


def test_the_oracle_errs_half_as_often_on_easy_tasks_and_half_again_on_hard_ones(tmp_path):
    post = hire(tmp_path, error_rates=[0.4, 0.0])[0]
    teacher, author = post.teacher(), post.author()
    assert isinstance(teacher, OracleTeacher) and isinstance(author, OracleAuthor)
    assert (teacher.name, teacher.seed, author.name, author.seed) == ("tier 1", 3, "tier 1", 3)
    assert teacher.tier == author.tier and teacher.tier.price == Price(1.0, 3.0)
    assert dict(teacher.tier.error_rate) == {1: 0.2, 2: 0.4, 3: pytest.approx(0.6)}
    assert hire(tmp_path, error_rates=[0.8, 0.0])[0].teacher().tier.error_rate[3] == 1.0  # and no more than always


def test_an_endpoint_is_asked_under_the_tier_s_name_and_pays_its_price_once(tmp_path, monkeypatch):
    monkeypatch.delenv(KEY, raising=False)
    with endpoint(lambda body, before: completion("2", tokens_in=100, tokens_out=10)) as server:
        post = hire(tmp_path, base_urls=["", server.base_url])[1]
        (first,), (again,) = post.teacher().answer([asked()]), post.teacher().answer([asked()])
        assert [body["model"] for body in server.bodies] == ["m"]
    assert (first.teacher, first.text, first.cost_usd) == ("tier 2", "2", pytest.approx((100 * 2 + 10 * 4) / 1e6))
    assert again.cached and again.cost_usd == 0.0
    assert isinstance(post.author(), EndpointAuthor) and post.author().name == "tier 2"
    assert {path.parent.name for path in tmp_path.rglob("*.sqlite")} == {"tier_2"}


@pytest.mark.parametrize("key", ["", "sk-1"])
def test_the_key_is_sent_where_there_is_one(tmp_path, monkeypatch, key):
    monkeypatch.setenv(KEY, key) if key else monkeypatch.delenv(KEY, raising=False)
    with endpoint() as server:
        hire(tmp_path, base_urls=["", server.base_url])[1].teacher().answer([asked()])
        assert ("sk-1" in server.keys[0]) == bool(key)


def test_each_tier_has_its_own_limit(tmp_path):
    with endpoint() as server:
        lists = LISTS | {"models": ["m", "m"], "base_urls": [server.base_url] * 2}
        one, two = posts(*lists.values(), limit_usd=0.003, folder=tmp_path, seed=3)
        one.teacher().answer([asked()])
        assert (one.teacher().ledger.totals()["spent_usd"], two.teacher().ledger.totals()["spent_usd"]) == (25e-6, 0)
        poor = posts(*lists.values(), limit_usd=0.0, folder=tmp_path, seed=3)[1]
        with pytest.raises(SpendingLimitReached):
            poor.teacher().answer([asked()])
        assert len(server.bodies) == 1


@pytest.mark.parametrize("error_rate", [0.0, 1.0])
def test_what_the_oracle_s_author_writes_is_as_right_as_its_rate(tmp_path, error_rate):
    skill = next(skill for skill in skills.all_skills() if skill.name == "product")
    rows = [row for row in skills.examples(skill, 12, split="validation", seed=7) if row.difficulty > 1]
    order = Commission("products", (), tuple(Mistake(row, "?", "wrong") for row in rows), 10)
    answers = hire(tmp_path, error_rates=[error_rate, 0.0])[0].author().write([order])
    hard = [answer for answer in answers if answer.request.example.difficulty > 1]
    right = graded([answer.request.example for answer in hard], [answer.text for answer in hard])
    assert len(answers) == 10 and hard and set(right) == {error_rate == 0.0}


@pytest.mark.parametrize("name", LISTS)
def test_lists_of_unequal_length_are_refused(tmp_path, name):
    with pytest.raises(CogumiError) as caught:
        hire(tmp_path, **{name: LISTS[name][:1]})
    counts = dict.fromkeys(LISTS, 2) | {name: 1}
    assert caught.value.found == ", ".join(f"{key}: {count}" for key, count in counts.items())


def test_no_tier_at_all_is_refused(tmp_path):
    with pytest.raises(CogumiError, match="one entry for each tier"):
        hire(tmp_path, **dict.fromkeys(LISTS, []))


def test_a_model_without_an_address_is_refused_before_anyone_is_asked(tmp_path):
    with pytest.raises(CogumiError) as caught:
        hire(tmp_path, base_urls=["", ""])
    assert caught.value.found == "none for m" and "address" in caught.value.expected
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("prices", [[], [1.0], [1.0, 2.0, 3.0]])
def test_a_post_needs_both_prices(tmp_path, prices):
    with pytest.raises(CogumiError) as caught:
        Post("teacher", "oracle", "", 0.1, prices, 1.0, tmp_path, 1)
    assert caught.value.found == f"{len(prices)} for teacher"


def test_a_price_below_nothing_is_refused(tmp_path):
    with pytest.raises(CogumiError, match="price of 0 dollars or more"):
        Post("teacher", "oracle", "", 0.1, [-1.0, 1.0], 1.0, tmp_path, 1).teacher()
