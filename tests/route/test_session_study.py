"""What a session's past is worth: much where topics stay and queries say little, nothing where they are independent."""

from __future__ import annotations

import numpy as np
import pytest

from cogumi_utils.data.skills.base import exact
from cogumi_utils.errors import CogumiError
from cogumi_utils.route import session_study
from cogumi_utils.route.session import SessionMemory
from cogumi_utils.route.study import Battery
from cogumi_utils.schema import Example

ROUTES = ["base", "code", "maths"]


def pools(part: str, vague: float) -> dict[str, list[str]]:
    """40 queries a route; a share of them names no route."""
    return {
        name: [f"{part} {n} " + ("and that?" if n < 40 * vague else name) + f" {name[0]}" for n in range(40)]
        for name in ROUTES
    }


def router(texts: list[str]) -> np.ndarray:
    """Sure where a route is named, and knows nothing else."""
    found = np.array([[1.0 + 20 * (name in text) for name in ROUTES] for text in texts])
    return found / found.sum(1, keepdims=True)


def test_topics_stay_as_often_as_stated():
    for persistence in (0.0, 0.8):
        made = session_study.sessions(pools("fit", 0), 400, 8, persistence, seed=1)
        topics = [[topic for _, topic in session] for session in made]
        stays = np.mean([a == b for session in topics for a, b in zip(session, session[1:], strict=False)])
        assert stays == pytest.approx(persistence + (1 - persistence) / 3, abs=0.03)
        assert {len(session) for session in made} == {8}
        assert all(text in pools("fit", 0)[topic] for session in made for text, topic in session)
    assert made == session_study.sessions(pools("fit", 0), 400, 8, 0.8, seed=1)


def test_the_past_helps_where_topics_stay_and_not_where_queries_are_independent():
    found = session_study.worth(
        router, ROUTES, pools("fit", 0.5), pools("judge", 0.5), persistence=(0.0, 0.9), n=100, seed=0
    )
    independent, staying = found
    assert independent.difference.low < 0 < independent.difference.high and abs(independent.difference.value) < 0.03
    assert staying.difference.low > 0.1 and staying.with_past.value > staying.with_others.value
    # half of the turns say nothing: one in three of these is right by chance
    assert independent.with_others.value == pytest.approx(0.5 + 0.5 / 3, abs=0.05)
    frame = session_study.table(found)
    assert frame["topic stays"].tolist() == ["0%", "90%"] and "points" in frame["difference"][0]


@pytest.mark.parametrize(
    ("fit", "judge", "said"),
    [
        (pools("a", 0), pools("a", 0), "120 shared queries"),
        (pools("a", 0), {"base": ["q"]}, "code, maths"),
        (pools("a", 0), {**pools("b", 0), "code": []}, "without queries: code"),
        ({"other": ["q"]}, {"other": ["r"]}, "other"),
    ],
)
def test_parts_that_do_not_fit_are_refused(fit, judge, said):
    with pytest.raises(CogumiError, match=said):
        session_study.worth(router, ROUTES, fit, judge)


def battery(texts: list[str], domains: list[str]) -> Battery:
    rows = [
        Example(
            domain=domain, skill="s", difficulty=1, messages=[{"role": "user", "content": text}],
            verifier=exact("x"), teacher="t", source="s", licence="l", quality=1.0, split="test",
        )
        for text, domain in zip(texts, domains, strict=True)
    ]  # fmt: skip
    return Battery(["base", "code"], rows, np.ones((len(texts), 2)))


def test_follow_ups_are_ends_of_queries_none_in_both_parts():
    fit = battery(["write me a poem", "sing me a poem", "define f of x"], ["chat", "chat", "code"])
    judge = battery(["tell me a poem", "say me a tale", "define g of y"], ["chat", "chat", "code"])
    assert session_study.follow_ups(fit, judge, 2) == (
        {"base": ["a poem"], "code": ["of x"]}, {"base": ["a tale"], "code": ["of y"]}
    )  # fmt: skip


def test_a_forgotten_session_leaves_nothing_behind(tmp_path, monkeypatch):
    texts = [f"secret {n} of mine" for n in range(9)]
    assert session_study.left_behind(tmp_path / "a", texts) == []
    monkeypatch.setattr(SessionMemory, "forget", lambda self, session: 0)
    assert "sessions.db-wal" in session_study.left_behind(tmp_path / "b", texts)


def test_the_truth_of_earlier_turns_is_not_remembered():
    """Routes taken by one that knows nothing, and no word about success: topics stay, and the past says nothing."""

    def blind(texts: list[str]) -> np.ndarray:
        return np.tile([0.4, 0.3, 0.3], (len(texts), 1))

    [found] = session_study.worth(
        blind, ROUTES, pools("fit", 0), pools("judge", 0), persistence=(0.9,), n=60, told=0.0, seed=0
    )
    assert found.difference.low <= 0 <= found.difference.high and abs(found.difference.value) < 0.05
