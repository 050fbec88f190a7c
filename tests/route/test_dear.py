"""A teacher beside the cheap routes: its verdicts, the router's confidence, and what both cost."""

from __future__ import annotations

import numpy as np
import pytest

from cogumi_utils.data.staff import Post
from cogumi_utils.route import answers, dear, study


@pytest.fixture(scope="module")
def rows():
    return [row for row in answers.tasks(["code"], 2, split="test", seed=1) if row.domain == "chat"][:12]


@pytest.fixture(scope="module")
def test(rows):
    first = np.arange(len(rows)) < 6
    return study.Battery(["base", "code"], rows, np.stack([first, ~first], axis=1).astype(float))


def post(folder, error_rate: float) -> Post:
    return Post("teacher", "oracle", "", error_rate, [1.0, 10.0], 1.0, folder, 1)


def test_the_cheap_choice_its_confidence_and_the_teachers_verdict(tmp_path, test):
    given = np.tile([0.5, 0.2, 0.3], (12, 1))
    given[:3] = [0.1, 0.2, 0.7]  # for the dear route: the cheap one it would take is the adapter
    found = dear.traffic(test, given, post(tmp_path, 0.0), [0.1, 1.0])
    assert found.confidence.tolist() == [0.2] * 3 + [0.5] * 9
    assert found.right.tolist() == [0] * 3 + [1] * 3 + [0] * 6  # the base is right on the first six
    assert found.fallback.tolist() == [1] * 12
    assert found.fallback_cost == pytest.approx(10 * found.cost) and found.cost > 0


def test_a_teacher_that_errs_is_graded(tmp_path, test):
    given = np.tile([0.5, 0.2, 0.3], (12, 1))
    found = dear.traffic(test, given, post(tmp_path, 1.0), [0.1, 1.0])
    assert found.fallback.tolist() == [0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 0]  # easy ones at half the rate: two are right
