"""Run model-written code against tests, in a sandbox, and say whether the tests passed.

    run_tests([Program(code="def f(x): return x + 1", tests="assert f(1) == 2")])  →  [SandboxVerdict(passed=True, ...)]

Three processes share one sandbox, and the judge (this process) stays outside it:

    judge ── pipe ──► supervisor ──► candidate's process: the code. Answers calls with plain values.
                                └──► tests' process: the tests. Calls, compares, signs the verdict with the nonce.

**What the code under test can reach.** It has its own process to itself, and may do there as it likes: walk frames and
garbage, patch builtins, `AssertionError` or `sys.flags`, write through `ctypes`. None of that touches a verdict. The
tests, the expected values and the nonce are in a process whose memory it cannot read (no /proc, no ptrace, no
`process_vm_readv`), over a pipe that it does not hold. What it returns crosses as JSON and is rebuilt from exact
built-in types, so an object whose `__eq__` always answers True arrives as a reference that equals itself alone.
An early exit, by `sys.exit(0)`, `os._exit(0)` or a signal, is the end of a pipe, and that is a failure.

**What it cannot reach**: any file but the libraries and a private temporary folder of 64 MB; the network or a socket of
any kind; a new process; a signal to any process; more than `cpu_seconds` of CPU time (one second more if it ignores
SIGXCPU) and `memory_mb` of address space, each for code and tests; 8 MB in one file, 32 open files, 8 MB of output.
A program that waits without using the CPU for `idle_seconds` is stopped, as is one that needs 30 times its CPU limit by
the clock. These two are the only uses of the clock: on a slow or crowded machine a program takes longer and its verdict
stays. A program that touched its temporary folder takes its sandbox with it; the next one starts in a fresh one.

**What tests must keep to.** Arguments and results are copies: a function that only changes its argument in place cannot
be judged. Results that are not plain values (instances, generators, modules) are references: calls, attributes,
items, iteration, `len`, `bool`, `str` work, comparing them with a plain value is False. Functions in arguments work.

**What remains possible.** Code can look at its arguments and answer from memory: tests that ask little prove little.
A test that compares two of the candidate's own answers with each other, or asks only whether one is true, believes
them. Within CPU noise of the limit a verdict may differ from run to run. Threads are limited by address space alone.
Under sandlock a program can ask whether a file outside exists and how large it is (Landlock does not cover `stat`; it
can neither read, list nor change it), and 32 open files may grow to 256 MB beyond the folder's limit, which is checked
when a file is opened. On macOS memory is not limited. A hole in the kernel is a hole in the sandbox.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from queue import Empty, SimpleQueue

from cogumi_utils.errors import CogumiError
from cogumi_utils.judge import _backends
from cogumi_utils.judge._cell import Cell, Limits


@dataclass(frozen=True, slots=True)
class Program:
    """Code and the tests for it: statements that raise unless the code is right.

    Names that the tests use and do not define are the code's; `entry_point` is the code's even if a built-in has its
    name (MBPP has a task to write `sum`).
    """

    code: str
    tests: str
    entry_point: str = ""


@dataclass(frozen=True, slots=True)
class SandboxVerdict:
    """reason: "passed", or what went wrong. cpu_seconds: code and tests. stderr_tail: the end of its output."""

    passed: bool
    reason: str
    cpu_seconds: float
    stderr_tail: str


def check(code: str, tests: str, *, entry_point: str = "", **options) -> SandboxVerdict:
    """The verdict on one program; options as for `run_tests`."""
    return run_tests([Program(code, tests, entry_point)], **options)[0]


def run_tests(
    items: Sequence[Program],
    *,
    workers: int | None = None,
    cpu_seconds: float = 4,
    memory_mb: int = 512,
    idle_seconds: float = 10,
    using: str | None = None,
) -> list[SandboxVerdict]:
    """Verdicts in the order of `items`; `workers` sandboxes at once (default: one per core).

    cpu_seconds is rounded up to whole seconds. using: the name of a backend, by default `backend()`. Raises CogumiError
    where no sandbox works; code never runs without one.
    """
    if not items:
        return []
    limits, name = Limits(max(1, math.ceil(cpu_seconds)), memory_mb, idle_seconds), using or backend()
    queue: SimpleQueue[int] = SimpleQueue()
    for index in range(len(items)):
        queue.put(index)
    verdicts: list[SandboxVerdict | None] = [None] * len(items)
    workers = min(len(items), workers or os.cpu_count() or 1)
    with ThreadPoolExecutor(workers) as pool:
        for work in [pool.submit(_work, Cell(name, limits), items, queue, verdicts) for _ in range(workers)]:
            work.result()
    return verdicts


def _work(cell: Cell, items: Sequence[Program], queue: SimpleQueue, verdicts: list) -> None:
    """One worker: program after program until the queue is empty."""
    with cell:
        while True:
            try:
                index = queue.get_nowait()
            except Empty:
                return
            verdicts[index] = _verdict(cell, items[index])


def _verdict(cell: Cell, program: Program) -> SandboxVerdict:
    if not program.tests.strip():
        return SandboxVerdict(False, "there are no tests", 0.0, "")
    report = cell.judge(program.code, program.tests, program.entry_point)
    return SandboxVerdict(report["passed"], report["reason"], report["cpu_seconds"], report["stderr_tail"])


def backend() -> str:
    """The sandbox in use here: the first that works of bubblewrap, sandlock, sandbox-exec; CogumiError if none does."""
    reasons = {}
    for name in _backends.BACKENDS:
        reasons[name] = why_unusable(name)
        if not reasons[name]:
            return name
    raise _backends.no_backend(reasons)


@cache
def why_unusable(name: str) -> str:
    """Why a backend cannot be used on this machine, found by running a program in it once; empty if it works."""
    if absent := _backends.why_absent(name):
        return absent
    try:
        verdict = check("def one(): return 1", "assert one() == 1", using=name)
    except CogumiError as error:
        return error.found
    return "" if verdict.passed else verdict.reason
