"""Confidences that mean what they say: temperature, Platt and isotonic, fitted on some answers and judged on others."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from cogumi_utils.errors import CogumiError
from cogumi_utils.judge import ece as error
from cogumi_utils.stats import Interval

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

Features = Mapping[str, Sequence[float]] | None  # {name: [n]}
METHODS = ("temperature", "platt", "isotonic")
UNCALIBRATED = "uncalibrated"
TEMPERATURES = (1e-2, 1e2)  # bounds of the search


@dataclass(frozen=True, slots=True)
class Calibrator:
    """A map from confidence to confidence, as plain numbers. n: answers that it was fitted on.

    weights: the temperature; or intercept, slope of the logit, slopes of the logits of `features` (Platt). knots:
    (confidence, calibrated) of the isotonic steps, straight lines between them.
    """

    method: str
    n: int
    weights: tuple[float, ...] = ()
    features: tuple[str, ...] = ()
    knots: tuple[tuple[float, float], ...] = ()

    def __call__(self, confidence: Sequence[float], features: Features = None) -> np.ndarray:
        """Calibrated confidences, [n]. Raises CogumiError where features are not those that it was fitted with."""
        import numpy as np
        from scipy.special import expit

        given, _ = error.checked(confidence, np.zeros(len(confidence)))
        columns = _columns(given, features)
        if tuple(features or ()) != self.features:
            raise _other_features(self.features, tuple(features or ()))
        if self.method == "temperature":
            return expit(columns[:, 0] / self.weights[0])
        if self.method == "platt":
            return expit(self.weights[0] + columns @ np.array(self.weights[1:]))
        x, y = np.array(self.knots).T
        least = 1 / (self.n + 2)  # n answers cannot tell that one is surer than that
        return np.interp(given, x, y).clip(least, 1 - least)

    def to_dict(self) -> dict[str, Any]:
        """JSON's own types."""
        return {name: list(map(list, value)) if name == "knots" else list(value) if isinstance(value, tuple) else value
                for name, value in asdict(self).items()}  # fmt: skip

    @classmethod
    def from_dict(cls, entries: Mapping[str, Any]) -> Calibrator:
        """What `to_dict` gave. Raises CogumiError for anything else."""
        try:
            found = cls(
                str(entries["method"]), int(entries["n"]), tuple(map(float, entries["weights"])),
                tuple(map(str, entries["features"])), tuple((float(x), float(y)) for x, y in entries["knots"]),
            )  # fmt: skip
        except (KeyError, TypeError, ValueError) as fault:
            raise _no_calibrator(repr(fault)) from None
        wanted = {"temperature": 1, "platt": 2 + len(found.features), "isotonic": 0}.get(found.method)
        if wanted != len(found.weights) or (found.method == "isotonic") != bool(found.knots):
            raise _no_calibrator(f"method {found.method!r}, {len(found.weights)} weights, {len(found.knots)} knots")
        return found


def fit(
    method: str, confidence: Sequence[float], right: Sequence[bool],
    features: Features = None,
) -> Calibrator:  # fmt: skip
    """The calibrator of least NLL (isotonic: of least squares) on these answers.

    features: further confidences for Platt, {name: [n]}. Raises CogumiError for an unknown method, faulty
    confidences, and answers all right or all wrong.
    """
    fitting = {"temperature": _temperature, "platt": _platt, "isotonic": _isotonic}.get(method)
    if fitting is None or (features and method != "platt"):
        raise CogumiError(
            expected=f"a method of {', '.join(METHODS)}; further features with platt only",
            found=f"{method!r} with {len(features or ())} features",
            why="each method is another map from confidence to confidence",
            fix='fit("platt", confidence, right, features=...)',
        )
    given, truth = error.checked(confidence, right)
    error.both_kinds(truth)
    return Calibrator(method, len(given), features=tuple(features or ()), **fitting(given, truth, features))


def _columns(given: np.ndarray, features: Features) -> np.ndarray:
    """Logits of the confidence and of the further features, [n, 1 + features]."""
    import numpy as np
    from scipy.special import logit

    columns = [given, *(error.checked(one, np.zeros(len(given)))[0] for one in (features or {}).values())]
    return logit(np.stack(columns, 1).clip(error.EPSILON, 1 - error.EPSILON))


def _temperature(given: np.ndarray, truth: np.ndarray, _: object) -> dict[str, tuple]:
    import numpy as np
    from scipy.optimize import minimize_scalar
    from scipy.special import expit

    logits = _columns(given, None)[:, 0]

    def loss(log_t: float) -> float:
        return error.nll_losses(expit(logits / np.exp(log_t)), truth).mean()

    found = minimize_scalar(loss, bounds=tuple(np.log(TEMPERATURES)), method="bounded", options={"xatol": 1e-6})
    return {"weights": (float(np.exp(found.x)),)}


def _platt(given: np.ndarray, truth: np.ndarray, features: Features) -> dict[str, tuple]:
    import numpy as np
    from sklearn.linear_model import LogisticRegression

    fitted = LogisticRegression(C=np.inf, max_iter=1000, tol=1e-8).fit(_columns(given, features), truth)
    return {"weights": (float(fitted.intercept_[0]), *map(float, fitted.coef_[0]))}


def _isotonic(given: np.ndarray, truth: np.ndarray, _: object) -> dict[str, tuple]:
    from sklearn.isotonic import IsotonicRegression

    fitted = IsotonicRegression().fit(given, truth)
    return {"knots": tuple(zip(map(float, fitted.X_thresholds_), map(float, fitted.y_thresholds_), strict=True))}


def fit_all(confidence: Sequence[float], right: Sequence[bool]) -> dict[str, Calibrator]:
    """{method: its calibrator} on these answers."""
    return {method: fit(method, confidence, right) for method in METHODS}


def calibrated(calibrators: Mapping[str, Calibrator], confidence: Sequence[float]) -> dict[str, np.ndarray]:
    """{"uncalibrated": the confidences, method: calibrated ones}, as `table` takes it."""
    given, _ = error.checked(confidence, [0.0] * len(confidence))
    return {UNCALIBRATED: given, **{name: one(given) for name, one in calibrators.items()}}


def least_nll(candidates: Mapping[str, Sequence[float]], right: Sequence[bool]) -> str:
    """The candidate confidence of least NLL on these answers: such as the token temperature of `sequence_at_T`."""
    if not candidates:
        raise CogumiError(
            expected="at least one candidate", found="none", why="there is nothing to choose from",
            fix="pass {name: confidences}",
        )  # fmt: skip
    return min(candidates, key=lambda name: error.nll_losses(candidates[name], right).mean())


def table(
    judged: Mapping[str, Sequence[float]], right: Sequence[bool], *, bins: int = error.BINS, seed: int = 0,
    clusters: Sequence | None = None,
) -> pd.DataFrame:  # fmt: skip
    """A row a confidence, numbers only, on answers that none was fitted on; the first row is what others changed from.

    method, n, ece (plug-in), floor, floor_high, ece_debiased, brier, nll, auroc each with _low and _high; brier_change
    and nll_change: paired differences to the first row, above 0 is worse. All resamples are the same for all rows.
    clusters: a name for each answer, where several belong to one question.
    """
    import pandas as pd

    if not judged:
        least_nll({}, right)
    weights = error.resampled(len(right), seed, clusters)
    first, rows = next(iter(judged.values())), []
    for name, confidence in judged.items():
        floor = error.noise_floor(confidence, bins=bins, seed=seed, rounds=200)
        found = _measures(confidence, first, right, bins, weights)
        flat = {name + end: getattr(one, end[1:] or "value") for name, one in found.items()
                for end in ("", "_low", "_high")}  # fmt: skip
        rows.append({"method": name, "n": len(right), "floor": floor.value, "floor_high": floor.high, **flat})
    return pd.DataFrame(rows)


def _measures(
    confidence: Sequence[float], first: Sequence[float], right: Sequence[bool], bins: int, weights: np.ndarray
) -> dict[str, Interval]:
    losses = {"brier": error.brier_losses, "nll": error.nll_losses}
    changes = {f"{name}_change": loss(confidence, right) - loss(first, right) for name, loss in losses.items()}
    means = {**{name: loss(confidence, right) for name, loss in losses.items()}, **changes}
    return {
        "ece": error.ece(confidence, right, bins=bins, debiased=False, weights=weights),
        "ece_debiased": error.ece(confidence, right, bins=bins, weights=weights),
        **{name: error.mean_of(values, weights=weights) for name, values in means.items()},
        "auroc": _auroc(confidence, right, weights),
    }


def separation(candidates: Mapping[str, Sequence[float]], right: Sequence[bool]) -> dict[str, Interval]:
    """{name: AUROC}, best first: which feature tells right answers from wrong ones; for `plots.bars`.

    All NaN where the answers are all right or all wrong.
    """
    found = {name: _auroc(values, right) for name, values in candidates.items()}
    return dict(sorted(found.items(), key=lambda item: -item[1].value))


def _auroc(confidence: Sequence[float], right: Sequence[bool], weights: np.ndarray | None = None) -> Interval:
    """NaN where no pair of a right and a wrong answer can be compared: the other measures of such answers are sound."""
    if len(set(map(bool, right))) < 2:
        return Interval(math.nan, math.nan, math.nan, len(right), "")
    return error.auroc(confidence, right, weights=weights)


def _other_features(wanted: tuple[str, ...], found: tuple[str, ...]) -> CogumiError:
    return CogumiError(
        expected=f"the features {', '.join(wanted) or 'none'}",
        found=", ".join(found) or "none",
        why="each has the weight that it was fitted with",
        fix="pass the same features, in the same order, as to fit",
    )


def _no_calibrator(found: str) -> CogumiError:
    return CogumiError(
        expected="method, n, weights, features and knots as Calibrator.to_dict writes them",
        found=found,
        why="a calibrator that is read wrongly gives confidences that mean nothing",
        fix="write it again from the stage that fitted it",
    )
