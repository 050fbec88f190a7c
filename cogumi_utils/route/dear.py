"""The dear route: what a teacher answers to the same queries, what either way costs, and how sure the router is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cogumi_utils.data.spending import PICO, Price
from cogumi_utils.data.staff import Post
from cogumi_utils.data.teachers import TeacherAnswer, TeacherRequest, graded
from cogumi_utils.route import evaluate
from cogumi_utils.route.study import Battery
from cogumi_utils.route.threshold import Traffic

if TYPE_CHECKING:
    import numpy as np


def traffic(test: Battery, probabilities: np.ndarray, post: Post, usd_per_million: Sequence[float]) -> Traffic:
    """The battery's queries with the cheap route that a router chose for each, and with the teacher's answers.

    probabilities: [queries, routes and then the dear one]: the confidence of a choice is what the router says of the
    cheap route that it takes. usd_per_million: of the cheap routes, for tokens read and written. Costs are dollars for
    1,000 queries, all by the teacher's count of tokens. A query that the teacher fails to answer counts as wrong.
    """
    import numpy as np

    cheap = probabilities[:, : len(test.names)]
    told = post.teacher().answer([TeacherRequest.of(row) for row in test.rows])
    right = np.array(graded(list(test.rows), [one.text for one in told]), dtype=float)
    own, dear = (_usd_per_thousand(told, price) for price in (Price(*usd_per_million), post.price))
    return Traffic(cheap.max(1), evaluate.of_chosen(cheap.argmax(1), test.right), right, own, dear)


def _usd_per_thousand(told: Sequence[TeacherAnswer], price: Price) -> float:
    """At these prices, whether or not an answer came from the cache this time."""
    return 1000 * sum(price.cost_pico(one.tokens_in, one.tokens_out) for one in told) / PICO / len(told)
