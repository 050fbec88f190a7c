"""Does a router know content or one set's manner of speaking? Accuracy with one whole set of prompts left out.

An ordinary split asks how well known sources are told apart; a set that was never seen asks what happens in service.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cogumi_utils.route.forms import MADE
from cogumi_utils.route.prompts import BASE, JUDGED, ROUTES, clean, leave_one_out
from cogumi_utils.stats import Interval, wilson

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

Fit = Callable[..., Any]  # fit(texts, targets, routes, seed, weights=...) to an object with probabilities(texts)
RESAMPLES = 2_000


@dataclass(frozen=True)
class HeldOut:
    """predictions: source, text, route, detail, predicted, confidence, right, one row a prompt, and a column a route.

    table: set, route, n, accuracy, low, high (Wilson), lost to (the route that most errors went to). macro: mean over
    sets, bootstrapped over sets and over the prompts in each. worst: the lowest accuracy of a set.
    """

    predictions: pd.DataFrame
    table: pd.DataFrame
    macro: Interval
    worst: float


def targets(frame: pd.DataFrame) -> np.ndarray:
    """[prompts, routes]: 1 for the route that the prompt belongs to, columns as `ROUTES`."""
    import numpy as np

    return (frame["route"].to_numpy()[:, None] == np.array(ROUTES)).astype(float)


def balance(frame: pd.DataFrame) -> np.ndarray:
    """[prompts], mean 1: every route weighs the same, and in a route every group, however many prompts it has."""
    groups = frame.groupby(["route", "group"])["text"].transform("size")
    each = 1.0 / groups
    weight = (each / each.groupby(frame["route"]).transform("sum")).to_numpy()
    return weight / weight.mean()


def leave_one_set_out(
    frame: pd.DataFrame, fit: Fit, *, seed: int, judged: Sequence[str] = JUDGED, threshold: float = 0.0
) -> HeldOut:
    """Train on all other sets and judge on one, for each of `judged`. frame: prompts, with made forms or not.

    threshold: confidence below which a prompt goes to `base`.
    """
    import pandas as pd

    parts = []
    for _, training, held_out in leave_one_out(frame, judged):
        parts.append(_predict(frame, fit, training, held_out, seed, threshold))
    return _judged(pd.concat(parts, ignore_index=True), seed)


def ordinary_split(
    frame: pd.DataFrame, fit: Fit, *, seed: int, share: float = 0.2, judged: Sequence[str] = JUDGED,
    threshold: float = 0.0,
) -> HeldOut:  # fmt: skip
    """Train on the rest and judge on a random `share` of the prompts of `judged`; their near-copies are left out."""
    import numpy as np

    made = frame["detail"].str.startswith(MADE).to_numpy()
    of_sets = np.flatnonzero(frame["source"].isin(list(judged)).to_numpy() & ~made)
    drawn = np.random.default_rng(seed).permutation(of_sets)
    held_out = np.sort(drawn[: round(share * len(drawn))])
    rest = np.setdiff1d(np.arange(len(frame)), held_out)
    training = rest[clean(frame["text"].tolist(), rest, held_out)]
    return _judged(_predict(frame, fit, training, held_out, seed, threshold), seed)


def _predict(
    frame: pd.DataFrame, fit: Fit, training: np.ndarray, held_out: np.ndarray, seed: int, threshold: float
) -> pd.DataFrame:
    import numpy as np

    known, asked = frame.iloc[training], frame.iloc[held_out]
    fitted = fit(known["text"].tolist(), targets(known), ROUTES, seed, weights=balance(known))
    chances = np.asarray(fitted.probabilities(asked["text"].tolist()))
    confidence = chances.max(axis=1)
    predicted = np.where(confidence < threshold, BASE, np.array(ROUTES)[chances.argmax(axis=1)])
    right = predicted == asked["route"].to_numpy()
    columns = asked[["source", "text", "route", "detail"]].reset_index(drop=True)
    columns = columns.assign(predicted=predicted, confidence=confidence, right=right)
    return columns.assign(**{route: chances[:, column] for column, route in enumerate(ROUTES)})


def _judged(predictions: pd.DataFrame, seed: int) -> HeldOut:
    import pandas as pd

    rows = []
    for name in dict.fromkeys(predictions["source"]):
        of = predictions[predictions["source"] == name]
        share = wilson(int(of["right"].sum()), len(of))
        wrong = of.loc[~of["right"], "predicted"].mode()
        rows.append((name, of["route"].iloc[0], len(of), share.value, share.low, share.high, "".join(wrong[:1])))
    table = pd.DataFrame(rows, columns=["set", "route", "n", "accuracy", "low", "high", "lost to"])
    return HeldOut(predictions, table, macro(predictions, seed), float(table["accuracy"].min()))


def macro(predictions: pd.DataFrame, seed: int) -> Interval:
    """Mean over sets of the share that is right, with its percentile bootstrap interval: sets drawn, then prompts."""
    import numpy as np

    rng = np.random.default_rng(seed)
    sets = predictions.groupby("source")["right"].agg(["mean", "size"])
    drawn = rng.integers(0, len(sets), (RESAMPLES, len(sets)))
    shares, sizes = sets["mean"].to_numpy(), sets["size"].to_numpy()
    # how many of n prompts drawn with replacement are right is binomial: no need to draw them one by one
    means = (rng.binomial(sizes[drawn], shares[drawn]) / sizes[drawn]).mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(float(shares.mean()), float(low), float(high), len(predictions))
