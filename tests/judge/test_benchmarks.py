"""HumanEval's and MBPP's own solutions pass, and none of their broken copies does."""

from __future__ import annotations

import gzip
import json
from collections import Counter

import pytest

from cogumi_utils import paths
from cogumi_utils.judge.benchmarks import broken, humaneval_program, mbpp_program
from cogumi_utils.judge.sandbox import Program, SandboxVerdict, run_tests

ROW = {
    "task_id": "Test/0",
    "prompt": 'import math\n\ndef helper(x):\n    return x + 1\n\ndef double(x):\n    """Twice x."""\n',
    "entry_point": "double",
    "canonical_solution": "    return 2 * x\n",
    "test": "def check(candidate):\n    assert candidate(3) == 6\n    assert candidate(helper(1)) == 4\n",
}


def local(name: str) -> bytes:
    folder = paths.data_dir()
    if folder is None:
        pytest.skip(f"{paths.DATA_ENV} is not set: {name} cannot be read")
    return (folder / name).read_bytes()


@pytest.fixture(scope="module")
def humaneval() -> list[dict]:
    return [json.loads(line) for line in gzip.decompress(local("humaneval/HumanEval.jsonl.gz")).splitlines()]


@pytest.fixture(scope="module")
def mbpp() -> list[dict]:
    return [json.loads(line) for line in local("mbpp/mbpp.jsonl").splitlines()]


@pytest.fixture(scope="module")
def sanitized() -> list[dict]:
    return json.loads(local("mbpp/sanitized-mbpp.json"))


def passed(programs: list[Program], **options) -> int:
    return sum(found.passed for found in judged(programs, **options))


def judged(programs: list[Program], **options) -> list[SandboxVerdict]:
    """MBPP/123 asks for 2 to 3 CPU seconds on an idle core: on a crowded one the usual limit of 4 would decide."""
    return run_tests(programs, cpu_seconds=30, **options)


def test_humaneval_references_pass(humaneval, sandbox_name):
    assert passed([humaneval_program(row) for row in humaneval], using=sandbox_name) == 164


def test_broken_humaneval_references_fail(humaneval, sandbox_name):
    verdicts = judged([broken(humaneval_program(row)) for row in humaneval], using=sandbox_name)
    assert [found.reason[:12] for found in verdicts] == ["wrong answer"] * 164


def test_mbpp_references_pass(mbpp, sanitized):
    programs = [mbpp_program(row) for row in mbpp]
    assert (passed(programs), len(programs)) == (974, 974)
    assert passed([mbpp_program(row) for row in sanitized]) == len(sanitized) == 427


def test_broken_mbpp_references_fail(mbpp, sanitized):
    verdicts = judged([broken(mbpp_program(row)) for row in (*mbpp, *sanitized)])
    assert Counter(found.reason[:12] for found in verdicts) == {"wrong answer": 974 + 427}


def test_weak_tests_are_known(humaneval, mbpp):
    """Items whose own tests cannot tell the solution from its first answer, given again and again."""
    rows = [*humaneval, *mbpp]
    programs = [*map(humaneval_program, humaneval), *map(mbpp_program, mbpp)]
    verdicts = judged([stuck(program) for program in programs])
    weak = [row["task_id"] for row, found in zip(rows, verdicts, strict=True) if found.passed]
    assert weak == ["HumanEval/34", 37, 203, 339, 667, 674, 816, 899]


def stuck(program: Program) -> Program:
    name = program.entry_point
    code = f"_f, _first = {name}, []\ndef {name}(*a):\n    _first or _first.append(_f(*a))\n    return _first[0]\n"
    return Program(f"{program.code}\n{code}", program.tests, name)


def test_a_completion_and_a_whole_function_are_one_program(sandbox_name):
    completion = humaneval_program(ROW, "    return x + x\n")
    whole = humaneval_program(ROW, "def double(x):\n    return x + x\n")
    wrong = humaneval_program(ROW, "    return x * x\n")
    verdicts = run_tests([humaneval_program(ROW), completion, whole, wrong], using=sandbox_name)
    assert [found.passed for found in verdicts] == [True, True, True, False]


def test_an_answer_cannot_redefine_what_the_prompt_defines(sandbox_name):
    """Whoever replaces `helper` by something easier has not solved the task."""
    easier = "    return 4 if x == 0 else 6\n\ndef helper(x):\n    return 0\n"
    assert passed([humaneval_program(ROW, easier)], using=sandbox_name) == 0


def test_mbpp_setup_builds_on_classes_of_the_answer(sandbox_name):
    row = {
        "code": "class Node:\n    def __init__(self, v): self.v = v\ndef value(n): return n.v",
        "test_setup_code": "root = Node(5)\r\nroot.v = 6",
        "test_list": ["assert value(root) == 6"],
    }
    assert mbpp_program(row).entry_point == "value"
    other = mbpp_program(row, "class Node:\n    def __init__(self, v): pass\ndef value(n): return 5")
    assert [
        passed([program], using=sandbox_name) for program in (mbpp_program(row), broken(mbpp_program(row)), other)
    ] == [1, 0, 0]


def test_broken_recursion_does_not_mend_itself(sandbox_name):
    """Two wrongs of an even depth would make a right if the broken function called itself."""
    even = Program("def even(n): return n == 0 or not even(n - 1)", "assert even(3) is False", "even")
    assert passed([even], using=sandbox_name) == 1
    assert passed([broken(even)], using=sandbox_name) == 0


VALUES = (
    "None", "True", "False", "0", "-1", "0.0", "1e308", "float('inf')", "float('nan')", "1j", "''", "'a'", "b'a'", "[]",
    "()", "{}", "set()", "{'?'}", "frozenset()", "{'?': 0}", "object", "-0.5",
)  # fmt: skip


def test_spoiled_answers_differ_from_the_right_ones(sandbox_name):
    programs = [Program(f"def f(): return {v}", f"v = f()\nassert v == {v} or v != v", "f") for v in VALUES]
    assert passed(programs, using=sandbox_name) == len(VALUES)
    assert passed([broken(program) for program in programs], using=sandbox_name) == 0
