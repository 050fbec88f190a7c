"""`params/gates.yaml`: what each gate claims and which bound it must clear, written down before the run.

    name_of_the_gate:
      stage: 02_qlora                  # the stage that judges it
      claim: one sentence that the verdict is about
      kind: paired                     # proportion, paired, non_inferiority, value or exact
      direction: above                 # above or below; for exact: at_least, at_most or equal
      threshold: 0.0                   # a number; non_inferiority has `margin` (> 0) in its place
      n: {tiny: 600, h100: 2000}       # optional: items planned; fewer than these never give PASS
      required: [tiny, public, h100]   # profiles that end with an error when it fails
      family: domains                  # optional: judged together with the others of this name (Holm)

`threshold`, `margin` and `n` are one number for all profiles, or a map from profile to number, with an optional
`default`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from cogumi_utils.errors import CogumiError
from cogumi_utils.paths import params_dir
from cogumi_utils.yaml_lines import read_yaml

DIRECTIONS = {
    "proportion": ("above", "below"),
    "paired": ("above", "below"),
    "non_inferiority": ("above", "below"),
    "value": ("above", "below"),
    "exact": ("at_least", "at_most", "equal"),
}
Number = float | int | dict[str, float]


class GateRuleError(CogumiError):
    """`params/gates.yaml` has a fault, or a gate was asked for that it doesn't hold."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One pre-registered gate."""

    name: str
    stage: str
    claim: str
    kind: str
    direction: str
    threshold: Number | None = None
    margin: Number | None = None
    n: Number | None = None
    required: tuple[str, ...] = ()
    family: str = ""
    line: int = field(default=0, compare=False)

    def bound(self, profile: str) -> float:
        """The number that the interval must clear; for non-inferiority the margin, on the worse side of 0."""
        if self.kind != "non_inferiority":
            return _of_profile(self.threshold, profile, self, "threshold")
        margin = _of_profile(self.margin, profile, self, "margin")
        return -margin if self.direction == "above" else margin

    def planned(self, profile: str) -> int:
        """Items planned for this profile; 0 where none were."""
        if isinstance(self.n, dict):
            return int(self.n.get(profile, self.n.get("default", 0)))
        return int(self.n or 0)


def gates_file() -> Path:
    return params_dir() / "gates.yaml"


def load_rules(path: Path | None = None) -> dict[str, Rule]:
    """All gates of `params/gates.yaml`, checked; every fault is listed in one GateRuleError."""
    path = path or gates_file()
    if not path.is_file():
        return {}  # a repository without gates; a gate that is asked for is then unknown
    values, lines = read_yaml(path)
    faults = [f"{path}:{lines[name]}: {fault}" for name, entry in values.items() for fault in rule_faults(entry)]
    if faults:
        raise GateRuleError(
            expected="every gate to say stage, claim, kind, direction and its bound",
            found="\n          ".join(faults),
            why="a gate whose rule is unclear can be argued into a PASS afterwards",
            fix=f"mend the lines above in {path}",
        )
    return {name: _rule(name, entry, lines[name]) for name, entry in values.items()}


def rules_of_stage(stage: str, path: Path | None = None) -> dict[str, Rule]:
    """The gates that `stage` must judge."""
    return {name: rule for name, rule in load_rules(path).items() if rule.stage == stage}


def rule_of(name: str, path: Path | None = None) -> Rule:
    """The rule of one gate; an unknown name is refused with the nearest right one."""
    rules = load_rules(path)
    if name not in rules:
        near = nearest(name, rules)
        raise GateRuleError(
            expected="the name of a gate in params/gates.yaml",
            found=repr(name),
            why="a gate must be written down before it is judged",
            fix=near.strip(" ()") if near else f"add {name!r} to {path or gates_file()}",
        )
    return rules[name]


def reference_faults(stages: Iterable[str], profiles: Iterable[str]) -> list[str]:
    """Stages and profiles that `params/gates.yaml` names and that don't exist, each with its line."""
    stages, known, faults = list(stages), {*profiles, "default"}, []
    for rule in load_rules().values():
        maps = [number for number in (rule.threshold, rule.margin, rule.n) if isinstance(number, dict)]
        unknown = sorted({*rule.required, *(name for number in maps for name in number)} - known)
        wrong = [] if rule.stage in stages else [f"no notebook {rule.stage!r}{nearest(rule.stage, stages)}"]
        wrong += [f"no profile {name!r}{nearest(name, known)}" for name in unknown]
        faults += [f"params/gates.yaml:{rule.line}: {rule.name}: {fault}" for fault in wrong]
    return faults


def nearest(name: str, known: Iterable[str]) -> str:
    """ " (did you mean 'steps'?)" for a misspelled name, "" where none comes near."""
    near = difflib.get_close_matches(name, list(known), 1, 0.5)
    return f" (did you mean {near[0]!r}?)" if near else ""


def rule_faults(entry: Any) -> list[str]:
    """What is wrong with one entry of the file, in words; empty when nothing is."""
    if not isinstance(entry, dict):
        return ["a gate is a mapping of stage, claim, kind, direction and so on"]
    known = {item.name for item in fields(Rule)} - {"name", "line"}
    faults = [f"unknown key {key!r}" for key in entry if key not in known]
    faults += [f"no {key}" for key in ("stage", "claim", "kind", "direction") if not entry.get(key)]
    kind, direction = entry.get("kind"), entry.get("direction")
    if kind and kind not in DIRECTIONS:
        faults.append(f"kind {kind!r} is none of {', '.join(DIRECTIONS)}")
    elif kind and direction and direction not in DIRECTIONS[kind]:
        faults.append(f"direction {direction!r} of kind {kind} is none of {', '.join(DIRECTIONS[kind])}")
    return faults + _bound_faults(entry)


def _bound_faults(entry: dict[str, Any]) -> list[str]:
    wanted, other = ("margin", "threshold") if entry.get("kind") == "non_inferiority" else ("threshold", "margin")
    faults = [f"{other} does not belong to kind {entry.get('kind')}"] if other in entry else []
    faults += [] if wanted in entry else [f"no {wanted}"]
    for key in ("threshold", "margin", "n"):
        values = entry.get(key, 1)
        for value in values.values() if isinstance(values, dict) else [values]:
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                faults.append(f"{key} {value!r} is not a number")
            elif key != "threshold" and not value > 0:
                faults.append(f"{key} {value!r} is not above 0")
    if not isinstance(entry.get("required", []), list):
        faults.append("required is a list of profiles, such as [tiny, h100]")
    return faults


def _rule(name: str, entry: dict[str, Any], line: int) -> Rule:
    return Rule(name=name, line=line, **{**entry, "required": tuple(entry.get("required", ()))})


def _of_profile(number: Number | None, profile: str, rule: Rule, what: str) -> float:
    if not isinstance(number, dict):
        return float(number)
    if profile not in number and "default" not in number:
        raise GateRuleError(
            expected=f"a {what} of {rule.name} for the profile {profile!r}, or a `default`",
            found=f"values for {', '.join(number)}",
            why="without it the gate has nothing to be compared with",
            fix=f"add `{profile}:` or `default:` to {what} in {gates_file()}:{rule.line}",
        )
    return float(number.get(profile, number.get("default")))
