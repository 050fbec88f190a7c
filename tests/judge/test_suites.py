"""References and their spoiled copies through the real sandbox, and what the gates are told of them."""

from __future__ import annotations

import pytest

from cogumi_utils.errors import CogumiError
from cogumi_utils.gates import judge
from cogumi_utils.judge import suites
from cogumi_utils.judge.suites import Solutions, measurements, solutions, summary


def humaneval(number: int, body: str, test: str) -> dict:
    return {
        "task_id": f"HumanEval/{number}", "prompt": 'def f(x):\n    """Twice x."""\n', "entry_point": "f",
        "canonical_solution": f"    return {body}\n", "test": f"def check(candidate):\n    {test}\n",
    }  # fmt: skip


def mbpp(number: int, code: str, file: str = "mbpp/mbpp.jsonl") -> dict:
    return {"task_id": number, "code": code, "test_list": ["assert g(2) == 4", "assert g(5) == 10"], "_file": file}


ROWS = [
    humaneval(0, "2 * x", "assert candidate(3) == 6"),
    humaneval(1, "3 * x", "assert candidate(3) == 6"),  # a reference that is wrong
    humaneval(2, "2 * x", "candidate(3)"),  # a test that tests nothing
]


@pytest.fixture(scope="module")
def found() -> Solutions:
    return solutions(ROWS, "humaneval", workers=2)


def test_references_and_spoiled_copies_are_judged_by_item(found):
    assert found.references == {"HumanEval/0": True, "HumanEval/1": False, "HumanEval/2": True}
    assert found.spoiled == {"HumanEval/0": False, "HumanEval/1": False, "HumanEval/2": True}
    assert found.unexplained == ["HumanEval/1"]


def test_an_item_that_is_named_as_wrong_is_explained(found):
    named = Solutions(found.references, found.spoiled, {"HumanEval/1": "asks for twice, expects thrice"})
    assert named.unexplained == []
    assert summary("humaneval", found) == ("humaneval", 3, 2, 0, 1, 1)
    assert summary("humaneval", named) == ("humaneval", 3, 2, 1, 0, 1)
    passing = Solutions({"a": True}, {"a": False}, {"a": "mended since"})
    assert summary("mbpp", passing) == ("mbpp", 1, 1, 0, 0, 0), "an item that passes is not wrong"
    assert len(summary("mbpp", passing)) == len(suites.COLUMNS)


def test_items_of_two_files_with_one_number_are_two():
    rows = [mbpp(7, "def g(x):\n    return 2 * x"), mbpp(7, "def g(x):\n    return x", "mbpp/sanitized-mbpp.json")]
    found = solutions(rows, "mbpp", workers=1)
    assert found.references == {"mbpp/mbpp.jsonl#7": True, "mbpp/sanitized-mbpp.json#7": False}
    assert found.spoiled == {"mbpp/mbpp.jsonl#7": False, "mbpp/sanitized-mbpp.json#7": False}


def test_a_set_without_programs_is_refused():
    with pytest.raises(CogumiError) as caught:
        solutions([], "gsm8k", workers=1)
    error = caught.value
    assert error.found == "'gsm8k'" and "humaneval, mbpp" in error.expected and "benchmarks" in error.fix and error.why


def test_what_was_not_read_is_not_run():
    gates = {name: judge(name, "tiny", **measured) for name, measured in measurements({}).items()}
    assert {gate.verdict for gate in gates.values()} == {"NOT RUN"}
    assert set(gates) == {f"{name}_{what}" for name in suites.SUITES for what in ("references_pass", "broken_fail")}
    assert "not among this profile's `benchmarks`" in gates["mbpp_broken_fail"].reason


def test_measurements_are_those_that_the_gates_are_registered_for(found):
    mbpp_found = Solutions({"a": True, "b": False}, {"a": False, "b": False}, {})
    measured = measurements({"humaneval": found, "mbpp": mbpp_found})
    assert measured == {
        "humaneval_references_pass": {"value": 2}, "humaneval_broken_fail": {"value": 1},
        "mbpp_references_pass": {"value": 1}, "mbpp_broken_fail": {"value": 0},
    }  # fmt: skip
    whole = Solutions(dict.fromkeys(map(str, range(164)), True), dict.fromkeys(map(str, range(164)), False), {})
    good = {name: judge(name, "public", **one).verdict for name, one in measurements({"humaneval": whole}).items()}
    assert good["humaneval_references_pass"] == good["humaneval_broken_fail"] == "PASS"
    assert good["mbpp_references_pass"] == "NOT RUN"
    bad = {name: judge(name, "public", **one).verdict for name, one in measured.items()}
    assert bad["humaneval_references_pass"] == bad["humaneval_broken_fail"] == bad["mbpp_references_pass"] == "FAIL"
