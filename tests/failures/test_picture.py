"""Near failures lie near each other on the page, twice in the same place; a large set is sampled."""

from __future__ import annotations

import numpy as np
import pytest

from cogumi_utils.errors import CogumiError
from cogumi_utils.failures import picture


def points(groups: int = 3, each: int = 20) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(0)
    truth = np.repeat(np.arange(groups), each)
    return 5 * draw.normal(size=(groups, 6))[truth] + draw.normal(size=(len(truth), 6)) * 0.1, truth


def test_groups_stay_together_and_the_picture_is_the_same_twice():
    vectors, truth = points()
    rows, places = picture.coordinates(vectors, points=1_000, seed=3)
    assert rows.tolist() == list(range(60)) and places.shape == (60, 2)
    centres = np.array([places[truth == number].mean(axis=0) for number in range(3)])
    nearest = np.linalg.norm(places[:, None] - centres, axis=2).argmin(axis=1)
    assert (nearest == truth).all()
    assert picture.coordinates(vectors, points=1_000, seed=3)[1].tobytes() == places.tobytes()


def test_a_sample_is_drawn_by_the_seed():
    vectors, _ = points()
    rows, places = picture.coordinates(vectors, points=12, seed=1)
    assert len(rows) == len(places) == 12 and (np.diff(rows) > 0).all()
    assert rows.tolist() != picture.coordinates(vectors, points=12, seed=2)[0].tolist()


def test_too_few_points_are_refused():
    with pytest.raises(CogumiError, match="at least 5 failures to draw"):
        picture.coordinates(np.zeros((4, 3)), points=10, seed=0)


def test_groups_are_named_in_the_order_of_the_patterns():
    places = np.arange(8.0).reshape(4, 2)
    found = picture.groups(places, [1, 0, 1, 1], ["sums", "lights", "empty"])
    assert {name: [list(side) for side in sides] for name, sides in found.items()} == {
        "sums": [[2.0], [3.0]], "lights": [[0.0, 4.0, 6.0], [1.0, 5.0, 7.0]], "empty": [[], []],
    }  # fmt: skip
