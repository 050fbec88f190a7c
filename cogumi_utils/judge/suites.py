"""Can the sandbox be trusted? The benchmarks' own solutions must pass it, and spoiled copies of them must not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cogumi_utils.errors import CogumiError
from cogumi_utils.judge.benchmarks import broken, humaneval_program, mbpp_program
from cogumi_utils.judge.sandbox import Program, run_tests

COLUMNS = ("set", "items", "right", "named as wrong themselves", "unexplained failures", "broken copies that pass")
SUITES = {"humaneval": humaneval_program, "mbpp": mbpp_program}

# Items whose reference does not pass its own tests, each with the reason that was found by hand.
WRONG_ITEMS: dict[str, dict[str, str]] = {"humaneval": {}, "mbpp": {}}


@dataclass(frozen=True, slots=True)
class Solutions:
    """Verdicts by item: of the reference solution, and of its spoiled copy."""

    references: dict[str, bool]
    spoiled: dict[str, bool]
    wrong: dict[str, str]  # item: why its own tests are wrong

    @property
    def unexplained(self) -> list[str]:
        return [item for item, passed in self.references.items() if not passed and item not in self.wrong]


def solutions(rows: Sequence[Mapping[str, Any]], name: str, workers: int) -> Solutions:
    """Run every row's reference and its spoiled copy. Raises CogumiError for a set that has no programs."""
    if name not in SUITES:
        raise CogumiError(
            expected=f"one of {', '.join(SUITES)}",
            found=repr(name),
            why="only these sets carry tests that the sandbox can run",
            fix="mend `benchmarks` in the parameter file of 14_validation",
        )
    programs = {_item(row): SUITES[name](dict(row)) for row in rows}
    return Solutions(
        _verdicts(programs, workers),
        _verdicts({item: broken(program) for item, program in programs.items()}, workers),
        WRONG_ITEMS[name],
    )


def summary(name: str, found: Solutions) -> tuple:
    """One line of `COLUMNS`."""
    right = sum(found.references.values())
    named = [item for item in found.wrong if found.references.get(item) is False]
    return name, len(found.references), right, len(named), len(found.unexplained), sum(found.spoiled.values())


def measurements(found: Mapping[str, Solutions]) -> dict[str, dict[str, Any]]:
    """{gate: what `run.gate` takes} for every suite, those that were not read included."""
    gates: dict[str, dict[str, Any]] = {}
    for name in SUITES:
        for gate in (f"{name}_references_pass", f"{name}_broken_fail"):
            gates[gate] = {"not_run": f"{name} is not among this profile's `benchmarks`"}
    if "humaneval" in found:
        gates["humaneval_references_pass"] = {"value": sum(found["humaneval"].references.values())}
    if "mbpp" in found:
        gates["mbpp_references_pass"] = {"value": len(found["mbpp"].unexplained)}
    for name, solved in found.items():
        gates[f"{name}_broken_fail"] = {"value": sum(solved.spoiled.values())}
    return gates


def _verdicts(programs: Mapping[str, Program], workers: int) -> dict[str, bool]:
    verdicts = run_tests(list(programs.values()), workers=workers)
    return {item: verdict.passed for item, verdict in zip(programs, verdicts, strict=True)}


def _item(row: Mapping[str, Any]) -> str:
    """HumanEval/12 as it is; MBPP's number with its file, since the sanitised set repeats numbers."""
    task = str(row["task_id"])
    return task if "/" in task else f"{row.get('_file', 'mbpp')}#{task}"
