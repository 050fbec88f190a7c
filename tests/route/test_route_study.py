"""Batteries and routers beside each other, on verdicts that are known."""

from __future__ import annotations

import numpy as np
import pytest

from cogumi_utils.data.skills import specialist
from cogumi_utils.route import answers, study


@pytest.fixture(scope="module")
def rows():
    return answers.tasks(["code"], 2, split="validation", seed=1)[:40]


@pytest.fixture(scope="module")
def known(rows):
    """The base is right on everything but code, the adapter on code alone; nobody on the first task."""
    code = np.array([row.domain == "code" for row in rows])
    first = np.arange(len(rows)) == 0
    return study.Battery(["base", "code"], rows, np.stack([~code & ~first, code & ~first], axis=1).astype(float))


def knowing(known):
    """A router that sends each query where it belongs."""
    place = dict(zip(known.texts, known.own, strict=True))
    return lambda texts: np.eye(2)[[place[text] for text in texts]]


def test_a_battery_holds_prompts_and_the_domains_own_routes(rows, known):
    assert known.texts == [row.prompt[0]["content"] for row in rows]
    assert known.own == [int(row.domain == "code") for row in rows]


def test_what_a_router_can_learn_from(rows):
    right = np.array([[1.0, 1.0, 1.0], [0.0, 1.0, 1.0], [0.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    some = [next(row for row in rows if row.domain == name) for name in ("code", "code", "chat", "reasoning")]
    one = study.Battery(["base", "code", "reasoning"], some, right)
    targets = one.targets()
    assert targets[study.CHEAPEST].tolist() == [[1, 0, 0, 0], [0, 0.5, 0.5, 0], [0, 0, 0, 1], [0, 0, 1, 0]]
    assert targets[study.EVERY][0].tolist() == pytest.approx([1 / 3, 1 / 3, 1 / 3, 0])
    assert targets[study.EVERY][2].tolist() == [0, 0, 0, 1]
    assert targets[study.DOMAINS].tolist() == [[0, 1, 0, 0], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0]]
    assert targets[study.BOTH][0].tolist() == [0.5, 0.5, 0, 0]


def test_routers_learn_what_their_targets_say(known):
    routers = study.trained(known, seed=1)
    assert [one.routes for one in routers.values()] == [("base", "code", "teacher")] * 4
    found = study.judged({name: one.probabilities for name, one in routers.items()}, known, known)
    assert found[study.DOMAINS].domain.value == 1 and found[study.CHEAPEST].closed.value == 1


def test_references_have_the_same_face(known):
    asked = study.references(known, ["best single route", "TF-IDF + logistic regression"], seed=1)
    found = study.judged(asked, known, known)
    assert found["best single route"].gain.value == 0
    assert found["TF-IDF + logistic regression"].closed.value > 0.9


def test_shares_by_domain_and_of_all(known):
    table = known.shares().set_index("domain")
    code = table.loc["code"]
    assert table["queries"].sum() == 80 and table.loc["all", "queries"] == 40
    assert code["base"] == 0 and code["code"] == code["any of them"]
    assert table.loc["all", "any of them"] == 39 / 40


def test_a_knowing_router_closes_the_gap_and_the_single_route_is_the_one_of_the_queries_to_fit_on(known):
    other = study.Battery(known.names, known.rows, known.right[:, ::-1])
    found = study.judged({"knows": knowing(known), "base": lambda texts: np.eye(2)[[0] * len(texts)]}, other, known)
    alone = known.right.mean(0)
    assert list(found["knows"].answers)[1] == "best single route (code)"  # of `other`, where the columns are swapped
    assert found["knows"].closed.value == 1 and found["knows"].domain.value == 1 and found["knows"].regret.value == 0
    assert found["base"].gain.value == pytest.approx(alone[0] - alone[1])
    assert study.gap(found["knows"]) == {"interval": found["knows"].closed}
    table = study.table(found)
    assert list(table["router"]) == ["knows", "base"] and table.loc[0, "right answers"].startswith("97.5%")


def test_a_confidence_that_is_right_is_calibrated_and_the_dear_route_is_no_choice(known):
    sure = np.hstack([knowing(known)(known.texts), np.ones((40, 1))])
    found = study.calibration(sure, known)
    assert found.plain.value == pytest.approx(1 / 40) and found.brier.value == pytest.approx(1 / 40)  # the first task
    assert study.calibration(sure * 0.5, known).plain.value == pytest.approx(39 / 40 - 0.5)


def test_queries_of_domains_without_an_adapter_should_fall_to_the_base(known):
    class Knows:
        routes = ("base", "code", "teacher")

        def probabilities(self, texts):
            return np.array([[0.4, 0.6, 0] if text in own else [0.9, 0.1, 0] for text in texts])

    own = {text for text, route in zip(known.texts, known.own, strict=True) if route == 1}
    table = study.abstention(Knows(), known, 1, seed=1).set_index("threshold")
    assert list(table.index) == list(study.FALLS_BELOW) and len(own) > 3
    assert all(text.startswith("100.0%") for text in table["of no domain, to the base"])
    falls = list(table["of a domain, to the base"])
    assert [text.split("%")[0] for text in falls] == ["0.0", "0.0", "100.0", "100.0", "100.0"]
    everybody = study.Battery(["base", *specialist.DOMAINS], known.rows, known.right)
    assert not len(study.abstention(Knows(), everybody, 1, seed=1))


def test_int8_decides_like_float32_on_what_was_learned(known):
    assert study.alike(study.trained(known, seed=1)[study.DOMAINS], known) == 1


def test_surprises_are_sure_and_wrong_and_another_route_was_right(known):
    swapped = 1 - knowing(known)(known.texts)
    given = np.hstack([swapped * np.linspace(0.5, 1, 40)[:, None], np.zeros((40, 1))])
    table = study.surprises(known, given, 3)
    assert list(table["query"]) == known.texts[:-4:-1] and list(table["confidence"]) == pytest.approx(
        [1, 0.987, 0.974], abs=1e-3
    )
    assert all(table["sent to"] != table["right"])
    assert not len(study.surprises(known, knowing(known)(known.texts), 3))


def test_batteries_of_two_splits(base, tmp_path):
    ways = answers.routes({})
    found, graded = study.batteries(base, ways, [1, 1], tmp_path, 1, max_new_tokens=2)
    assert [{row.split for row in one.rows} for one in found] == [{"validation"}, {"test"}]
    assert [len(frame) for frame in graded.values()] == [len(one.rows) for one in found]
    assert set(graded["test"]["route"]) == {"base"}


def test_where_nobody_is_right_there_is_no_gap(rows):
    nobody = study.Battery(["base", "code"], rows, np.zeros((len(rows), 2)))
    found = study.judged({"any": lambda texts: np.eye(2)[[0] * len(texts)]}, nobody, nobody)
    assert list(study.gap(found["any"])) == ["not_run"] and study.table(found)["gap closed"].item() == "no gap"
    assert nobody.targets()[study.CHEAPEST][:, -1].all()


def test_by_eye():
    assert study.by_eye().splitlines()[4:] == [
        "decided: 'Define h(x) to retrun x.' -> code", "decided: 'hi! I am Zoe' -> base", "decided: '' -> base"
    ]  # fmt: skip
