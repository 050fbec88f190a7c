"""Pre-registered gates: PASS, FAIL, INCONCLUSIVE (with the n that would decide) or NOT RUN (with the reason).

The thresholds stand in `params/gates.yaml`, never in a notebook. Nothing is rounded before it is compared.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cogumi_utils import stats
from cogumi_utils.errors import CogumiError
from cogumi_utils.gate_rules import Rule, load_rules, rule_of
from cogumi_utils.stats import Interval, Paired

if TYPE_CHECKING:
    import pandas as pd

PASS, FAIL, INCONCLUSIVE, NOT_RUN = "PASS", "FAIL", "INCONCLUSIVE", "NOT RUN"
ALPHA = 1 - stats.CONFIDENCE
MEASUREMENTS = {
    "proportion": "k= and n=",
    "paired": "before= and after= (one result per item), or paired=",
    "non_inferiority": "before= and after= (one result per item), or paired=",
    "value": "value=, low=, high= and n=, or interval=",
    "exact": "value=",
}


class GateError(CogumiError):
    """A gate was given a measurement that its kind can't be judged by, or none at all."""


class GateFailed(CogumiError):
    """A gate that the profile requires failed. The stage's artifacts are kept."""


@dataclass(frozen=True, slots=True)
class Gate:
    """One verdict with all that led to it. low, high: the 95% interval; n_needed: the n that would decide."""

    name: str
    verdict: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    threshold: float | None = None
    n: int | None = None
    n_needed: int | None = None
    reason: str = ""
    claim: str = ""
    kind: str = ""
    direction: str = ""
    n_planned: int = 0
    p_value: float | None = None
    family: str = ""
    required: bool = False

    def __str__(self) -> str:
        """Such as "PASS accurate: 0.7 [0.653, 0.743] n=400, above 0.6"."""
        count = f" n={self.n}" if self.n else ""
        reason = f" ({self.reason})" if self.reason else ""
        return f"{self.verdict} {self.name}: {measured_in_words(self)}{count}, {bound_in_words(self)}{reason}"

    def _repr_markdown_(self) -> str:
        """What a notebook shows for a cell that ends with `run.gate(...)`."""
        return f"**{self.verdict}** {str(self).removeprefix(self.verdict).strip()}. {self.claim}"

    def to_dict(self) -> dict[str, Any]:
        """For the manifest: JSON's own types only."""
        return asdict(self)

    @classmethod
    def from_dict(cls, entries: dict[str, Any]) -> Gate:
        return cls(**{name: entries[name] for name in cls.__dataclass_fields__ if name in entries})


@dataclass(frozen=True, slots=True)
class _Measured:
    """An estimate; n_to_decide and p_value take the bound (only called where they are needed: they cost a search)."""

    interval: Interval
    n_to_decide: Callable[[float], int | None]
    p_value: Callable[[float], float]


def judge(name: str, profile: str = "", *, not_run: str = "", rules: Path | None = None, **measurement: Any) -> Gate:
    """Judge one gate of `params/gates.yaml` by a measurement of its kind (see `MEASUREMENTS`).

    profile chooses the bound and the planned n where they differ. not_run="why" records a gate that was not run.
    """
    rule = rule_of(name, rules)
    gate = partial(
        Gate, name=name, claim=rule.claim, kind=rule.kind, direction=rule.direction, family=rule.family,
        threshold=rule.bound(profile), n_planned=rule.planned(profile), required=profile in rule.required,
    )  # fmt: skip
    if not_run:
        return gate(verdict=NOT_RUN, reason=not_run)
    measured = _measure(rule, measurement)
    shown = asdict(measured.interval)
    shown.pop("unit")
    if rule.kind == "exact":
        return gate(**shown, verdict=PASS if _holds(rule, shown["value"], rule.bound(profile)) else FAIL)
    return gate(**shown, **_three_state(measured, rule.direction, rule.bound(profile), rule.planned(profile)))


def _three_state(measured: _Measured, direction: str, bound: float, planned: int) -> dict[str, Any]:
    """verdict, reason, n_needed and p_value. Only an interval wholly on one side of the bound decides."""
    interval, n = measured.interval, measured.interval.n or 0
    clears, misses = interval.low > bound, interval.high < bound
    if direction == "below":
        clears, misses = misses, clears
    found = {"p_value": measured.p_value(bound), "reason": "", "n_needed": None}
    if clears and n < planned:
        return {**found, "verdict": INCONCLUSIVE, "n_needed": planned, "reason": f"n={n} of the {planned} planned"}
    if clears or misses:
        return {**found, "verdict": PASS if clears else FAIL}
    needed = measured.n_to_decide(bound)
    needed = max(needed, planned) if needed else None
    reason = f"n={needed} would decide if the estimate stays" if needed else "no n decides while the estimate stays"
    return {**found, "verdict": INCONCLUSIVE, "n_needed": needed, "reason": reason}


def _holds(rule: Rule, value: float, bound: float) -> bool:
    return {"at_least": value >= bound, "at_most": value <= bound, "equal": value == bound}[rule.direction]


def _measure(rule: Rule, measurement: dict[str, Any]) -> _Measured:
    kinds = {"proportion": _proportion, "paired": _paired, "non_inferiority": _paired, "value": _value, "exact": _exact}
    try:
        measured = kinds[rule.kind](**measurement)
        if not all(math.isfinite(x) for x in (measured.interval.value, measured.interval.low, measured.interval.high)):
            raise ValueError("a number that is not finite")
    except (TypeError, ValueError) as error:
        raise GateError(
            expected=f"{rule.name} ({rule.kind}) to be judged by {MEASUREMENTS[rule.kind]}",
            found=f"{', '.join(f'{key}={value!r:.60}' for key, value in measurement.items()) or 'nothing'} ({error})",
            why="a verdict needs the measurement that was registered, with its n",
            fix=f'run.gate("{rule.name}", …) with {MEASUREMENTS[rule.kind]}, or not_run="why"',
        ) from None
    return measured


def _proportion(*, k: int, n: int) -> _Measured:
    interval = stats.wilson(k, n)
    return _Measured(
        interval, lambda bound: stats.n_to_decide(interval.value, bound), lambda bound: stats.score_p(k, n, bound)
    )


def _paired(*, before: Any = None, after: Any = None, paired: Paired | None = None, seed: int = 0) -> _Measured:
    if paired is None and (before is None or after is None):
        raise TypeError("both runs are needed")
    result = paired or stats.paired_difference(before, after, seed)
    measured = _value(value=result.value, low=result.low, high=result.high, n=result.n)
    right_or_wrong = math.isclose(result.value * result.n, result.gained - result.lost, abs_tol=1e-9)
    return _Measured(
        measured.interval,
        partial(stats.n_to_decide_paired, result) if right_or_wrong else measured.n_to_decide,
        lambda bound: measured.p_value(bound) if bound else result.p_value,
    )


def _value(
    *, value: float | None = None, low: float | None = None, high: float | None = None, n: int | None = None,
    interval: Interval | None = None,
) -> _Measured:  # fmt: skip
    if interval is None:
        if value is None or low is None or high is None:
            raise TypeError("an interval is needed")
        interval = Interval(float(value), float(low), float(high), n, "")
    return _Measured(
        interval, lambda bound: stats.n_to_decide_value(interval, bound), lambda bound: stats.normal_p(interval, bound)
    )


def _exact(*, value: float, n: int | None = None) -> _Measured:
    interval = Interval(value, value, value, n, "")
    return _Measured(interval, lambda bound: None, lambda bound: 0.0)


def apply_families(gates: Iterable[Gate], rules: Path | None = None) -> list[Gate]:
    """Holm over each family: a PASS that does not survive becomes INCONCLUSIVE.

    The family's size is the one registered in `params/gates.yaml`: gates that did not pass, or are not here, count
    as p = 1.
    """
    gates, registered = list(gates), load_rules(rules)
    for family in sorted({gate.family for gate in gates if gate.family}):
        size = sum(rule.family == family for rule in registered.values())
        passed = [place for place, gate in enumerate(gates) if gate.family == family and gate.verdict == PASS]
        p_values = [gates[place].p_value or 0.0 for place in passed]
        adjusted = stats.holm([*p_values, *[1.0] * (size - len(passed))])
        for place, p_value in zip(passed, adjusted, strict=False):
            if p_value > ALPHA:
                reason = f"passes alone; p={p_value:.3g} after Holm over the {size} gates of {family}"
                gates[place] = replace(gates[place], verdict=INCONCLUSIVE, reason=reason)
    return gates


def table(gates: Iterable[Gate]) -> pd.DataFrame:
    """One row a gate: name, verdict, measured value with interval, bound, n, reason, claim."""
    import pandas as pd

    columns = ("gate", "verdict", "measured", "bound", "n", "required", "reason", "claim")
    return pd.DataFrame([dict(zip(columns, _row(gate), strict=True)) for gate in gates], columns=columns)


def _row(gate: Gate) -> tuple[Any, ...]:
    required = "yes" if gate.required else ""
    measured, bound = measured_in_words(gate), bound_in_words(gate)
    return gate.name, gate.verdict, measured, bound, gate.n or "", required, gate.reason, gate.claim


def measured_in_words(gate: Gate) -> str:
    """Such as "0.7 [0.6534, 0.7428]"."""
    if gate.value is None:
        return "not measured"
    interval = "" if gate.low == gate.high else f" [{gate.low:.4g}, {gate.high:.4g}]"
    return f"{gate.value:.4g}{interval}"


def bound_in_words(gate: Gate) -> str:
    """Such as "above 0" or "at least 164"."""
    return f"{gate.direction.replace('_', ' ')} {gate.threshold:.4g}"
