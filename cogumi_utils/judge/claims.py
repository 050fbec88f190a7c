"""The brief's numbers, checked: `params/claims.yaml`, its arithmetic done anew, and our own measurements beside it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cogumi_utils.artifacts import MANIFEST, read_manifest
from cogumi_utils.errors import CogumiError
from cogumi_utils.judge import recompute as arithmetic
from cogumi_utils.paths import outputs_dir, params_dir
from cogumi_utils.stats import Interval
from cogumi_utils.yaml_lines import read_yaml

if TYPE_CHECKING:
    import pandas as pd

CANNOT_HOLD = ("impossible", "wrong", "sums wrong", "size wrong", "contradicts itself", "defect")
_SENTENCES = ("recomputed", "further", "verdict", "instead")


@dataclass(frozen=True, slots=True)
class Claim:
    """One row of `params/claims.yaml`, whose head explains the fields."""

    id: str
    claim: str
    brief: str
    recomputed: str
    published: str
    verdict: str
    instead: str
    numbers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    further: str = ""
    measured: Mapping[str, Any] = field(default_factory=dict)
    corrects: Mapping[str, str] = field(default_factory=dict)

    @property
    def possible(self) -> bool:
        """False where arithmetic or a published fact forbids the claim; True also where it is open."""
        return not self.verdict.startswith(CANNOT_HOLD)


def load_claims(path: Path | None = None) -> dict[str, Claim]:
    """{id: Claim}, in the file's order. Every function and argument that it names must exist."""
    path = path or params_dir() / "claims.yaml"
    rows, lines = read_yaml(path)
    claims = {}
    for name, row in rows.items():
        try:
            claims[name] = Claim(id=name, **row)
        except TypeError as error:
            raise _bad_claim(path, lines[name], f"{name}: {error}") from None
        for number, call in claims[name].numbers.items():
            _check_call(call, f"{path}:{lines[name]}, number {number}")
    return claims


def _check_call(call: Mapping[str, Any], where: str) -> None:
    """Refuse a number whose function doesn't exist or doesn't take these arguments."""
    arguments = {name: value for name, value in call.items() if name != "of"}
    function = getattr(arithmetic, str(call.get("of")), None)
    try:
        inspect.signature(function).bind(**arguments)
    except TypeError as error:
        raise CogumiError(
            expected="a function of cogumi_utils/judge/recompute.py with the arguments that it takes",
            found=f"{where}: {dict(call)} ({error})",
            why="a claim's number must be computed, never typed in",
            fix="correct the name or the arguments, or add the function",
        ) from None


def _bad_claim(path: Path, line: int, found: str) -> CogumiError:
    return CogumiError(
        expected="claim, brief, recomputed, published, verdict, instead; maybe numbers, further, measured, corrects",
        found=f"{path}:{line}: {found}",
        why="a claim without its recomputation, published neighbour and verdict is only an opinion",
        fix=f"mend the row at {path}:{line}",
    )


def recompute(name: str) -> dict[str, float]:
    """The numbers of one claim, computed now: {name in the file: value}. An argument may name an earlier number."""
    claims = load_claims()
    if name not in claims:
        raise CogumiError(
            expected=f"a claim among {', '.join(claims)}",
            found=name,
            why="only claims of params/claims.yaml have a recomputation",
            fix="use one of these ids, or add a row",
        )
    return dict(_numbers(claims[name]))


def _numbers(claim: Claim) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, call in claim.numbers.items():
        arguments = {key: _resolve(value, found) for key, value in call.items() if key != "of"}
        found[name] = _evaluate(call["of"], repr(arguments), arguments)
    return found


def _resolve(value: Any, found: Mapping[str, float]) -> Any:
    """An earlier number for its name, also inside a list; anything else as it is."""
    if isinstance(value, list):
        return [_resolve(item, found) for item in value]
    return found.get(value, value) if isinstance(value, str) else value


_memory: dict[tuple[str, str], float] = {}


def _evaluate(function: str, key: str, arguments: Mapping[str, Any]) -> float:
    """The function's value; a pure function with the same arguments is called once (the ECE noise takes a second)."""
    if (function, key) not in _memory:
        _memory[function, key] = getattr(arithmetic, function)(**arguments)
    return _memory[function, key]


def sentences(claim: Claim) -> dict[str, str]:
    """The claim's sentences (recomputed, further, verdict, instead) with its numbers filled in."""
    numbers = _numbers(claim)
    return {name: getattr(claim, name).format_map(numbers) for name in _SENTENCES}


def measurement(claim: Claim, profile: str | None) -> str:
    """Our own numbers for the claim, from the stage's manifest; else why there are none.

    A manifest that exists but doesn't verify raises: a table of evidence must not quote a changed file.
    """
    if not claim.measured:
        return "not a measurement"
    stage, names = claim.measured["stage"], claim.measured["metrics"]
    folder = outputs_dir(profile) / stage if profile else None
    if folder is None or not (folder / MANIFEST).is_file():
        return f"not measured yet (stage {stage})"
    metrics = read_manifest(folder)["metrics"]
    told = [f"{name} {_show(metrics[name])}" for name in names if name in metrics]
    return f"{'; '.join(told)} ({profile})" if told else f"not measured by stage {stage} ({profile})"


def _show(metric: Mapping[str, Any]) -> str:
    """A manifest's metric as text, with its interval and n where it has them."""
    value, low, high, unit = metric["value"], metric.get("low"), metric.get("high"), metric.get("unit") or ""
    if value is None:
        return "undefined"
    if low is not None and high is not None:
        return str(Interval(value, low, high, metric.get("n"), unit))
    return f"{100 * value:.1f}%" if unit == "%" else f"{value:.4g} {unit}".rstrip()


def claims_table(profile: str | None = None) -> pd.DataFrame:
    """One row per claim: what the brief says, the arithmetic, the nearest published result, our measurement, the
    verdict, and what we state instead. profile: whose manifests to quote; None quotes none."""
    import pandas as pd

    rows = []
    for claim in load_claims().values():
        said = sentences(claim)
        rows.append(
            {
                "id": claim.id,
                "claim": f"{claim.claim} ({claim.brief})",
                "recomputed": f"{said['recomputed']}. {said['further']}".rstrip(". ") + ".",
                "nearest published": claim.published,
                "our measurement": measurement(claim, profile),
                "verdict": said["verdict"],
                "what we state instead": said["instead"],
                "possible": claim.possible,
            }
        )
    return pd.DataFrame(rows)


def summary(table: pd.DataFrame) -> str:
    """Two sentences that count the verdicts of a `claims_table`."""
    impossible = int((~table["possible"]).sum())
    measured = int((~table["our measurement"].str.startswith("not ")).sum())
    return (
        f"{len(table)} claims of the brief: {impossible} cannot hold, by arithmetic, published facts or their own "
        f"figures; {len(table) - impossible} are open or depend on what is left unsaid. "
        f"{measured} stand beside a measurement of ours."
    )
