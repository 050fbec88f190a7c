"""What the sandbox lets honest programs do, how it reports, and that its verdicts do not waver."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from cogumi_utils.errors import CogumiError
from cogumi_utils.judge import _backends, sandbox
from cogumi_utils.judge._cell import Cell, Limits
from cogumi_utils.judge.sandbox import Program, check, run_tests, why_unusable

FOLDER = Path(__file__).parent / "programs"


def read(name: str) -> dict[str, Program]:
    """name → Program, from a file of `### name`, code, a line of dashes, tests."""
    _, *entries = re.split(r"^### ", (FOLDER / f"{name}.txt").read_text(), flags=re.MULTILINE)
    parts = (entry.partition("\n") for entry in entries)
    return {head: Program(*re.split(r"^---\n", body, flags=re.MULTILINE)) for head, _, body in parts}


HONEST, FAILING = read("honest"), read("failing")


@pytest.fixture(scope="module")
def honest(sandbox_name):
    verdicts = run_tests(list(HONEST.values()), using=sandbox_name)
    return dict(zip(HONEST, verdicts, strict=True))


@pytest.mark.parametrize("name", list(HONEST))
def test_honest_programs_pass(honest, name):
    assert honest[name].passed, honest[name]


def test_reasons_are_exact(sandbox_name):
    verdicts = run_tests(list(FAILING.values()), using=sandbox_name, cpu_seconds=1, idle_seconds=2)
    assert [found.reason for found in verdicts] == list(FAILING)
    assert not any(found.passed for found in verdicts)


def test_code_that_is_no_text_and_tests_that_are_none(sandbox_name):
    null, none = run_tests([Program("x\0", "f()"), Program("def f(): pass", " \n")], using=sandbox_name)
    assert null.reason == "did not load: SyntaxError: source code string cannot contain null bytes"
    assert none.reason == "there are no tests"
    assert not null.passed and not none.passed


def test_the_entry_point_may_have_the_name_of_a_builtin(sandbox_name):
    code, tests = "def sum(a, b): return a + b", "assert sum(10, 15) == 25\nassert max(1, 2) == 2"
    assert check(code, tests, entry_point="sum", using=sandbox_name).passed
    assert not check(code, tests, using=sandbox_name).passed


def test_swallowed_ends_still_fail(sandbox_name):
    """A test that catches everything cannot turn the end of the program into a pass."""
    tests = "try:\n    f(1)\nexcept BaseException:\n    pass"
    ends = ["import os\ndef f(x): os._exit(0)", "def f(x): raise SystemExit"]
    found = run_tests([Program(code, tests) for code in ends], using=sandbox_name)
    assert [verdict.reason for verdict in found] == [
        "the program ended before the verdict, with exit code 0",
        "stopped by SystemExit",
    ]


def test_programs_do_not_meet(sandbox_name):
    """Nothing that one program leaves behind is there for the next one in the same worker."""
    litter = "import os, sys\nopen('left', 'w').write('x')\nsys.left = 1\nos.environ['LEFT'] = '1'\ndef f(): return 1"
    look = "import os, sys\ndef f(): return os.listdir('.'), hasattr(sys, 'left'), 'LEFT' in os.environ"
    clean = Program(look, "assert f() == ([], False, False)")
    verdicts = run_tests([clean, Program(litter, "assert f() == 1"), clean, clean], using=sandbox_name, workers=1)
    assert [found.reason for found in verdicts] == ["passed"] * 4


def test_sets_of_texts_have_one_order(sandbox_name):
    """Text hashes differ from process to process unless told not to, and with them the order of a set."""
    code = "import sys\nprint(hash('x'), file=sys.stderr)\ndef f(): return 1"
    assert len({check(code, "f()", using=sandbox_name).stderr_tail for _ in range(2)}) == 1


def test_arguments_are_copies(sandbox_name):
    found = check("def f(v): v.append(1)", "v = []\nf(v)\nassert v == []", using=sandbox_name)
    assert found.passed, found


def test_output_is_kept_by_its_end(sandbox_name):
    code = "import sys\ndef f():\n    print('start' + '.' * 5000 + 'end', file=sys.stderr)\n    return 1"
    found = check(code, "assert f() == 1", using=sandbox_name)
    assert found.stderr_tail == "." * 1996 + "end\n"


def test_cpu_seconds_count_code_and_tests(sandbox_name):
    burn = "import time\ndef {name}():\n    while time.process_time() < 0.3: pass\n    return 1\n"
    found = check(burn.format(name="f"), burn.format(name="g") + "g()\nassert f() == 1", using=sandbox_name)
    assert found.passed
    assert 0.5 < found.cpu_seconds < 2


def test_memory_limit_is_the_one_asked_for(sandbox_name):
    code = "def f(): return len(bytearray(300 << 20))"
    small, large = (check(code, "assert f() == 300 << 20", using=sandbox_name, memory_mb=mb) for mb in (200, 600))
    assert "MemoryError" in small.reason
    assert large.passed


def test_order_and_number_of_workers_do_not_matter(sandbox_name):
    programs = [Program(f"def f(): return {i}", f"assert f() == {i} and {i} % 3") for i in range(40)]
    one, four = (run_tests(programs, using=sandbox_name, workers=workers) for workers in (1, 4))
    assert [found.passed for found in one] == [found.passed for found in four] == [bool(i % 3) for i in range(40)]


def test_nothing_to_do():
    assert run_tests([]) == []


SLOW = re.compile("CPU time|waits")  # a second of each core, every time
SPIN = "import time\nend = time.monotonic() + 120\nwhile time.monotonic() < end: pass"


def test_verdicts_do_not_waver_under_load(sandbox_name):
    """Ten times the same verdicts and reasons, with every core busy with something else."""
    programs = [*HONEST.values(), *(program for reason, program in FAILING.items() if not SLOW.search(reason))]
    load = [subprocess.Popen([sys.executable, "-c", SPIN]) for _ in range(os.cpu_count())]
    try:
        runs = [[(found.passed, found.reason) for found in run_tests(programs, using=sandbox_name)] for _ in range(10)]
    finally:
        for process in load:
            process.kill()
            process.wait()
    assert all(run == runs[0] for run in runs)
    assert sum(passed for passed, _ in runs[0]) == len(HONEST)


def test_a_forged_verdict_is_refused(sandbox_name, monkeypatch):
    """Only the nonce of this very program counts, whatever else arrives where verdicts are read."""
    from cogumi_utils.judge import _cell

    asked = _cell.Cell._exchange
    monkeypatch.setattr(
        _cell.Cell, "_exchange", lambda self, header, body: {**asked(self, header, body), "nonce": "0" * 32}
    )
    assert not check("def f(): return 1", "assert f() == 1", using=sandbox_name).passed


class Hurried(Limits):
    wall_seconds = 1


def test_a_program_that_dawdles_meets_the_clock(sandbox_name):
    """A little work, a little sleep: too busy to count as waiting, too idle to use up its CPU time."""
    dawdle = "import time\ndef f():\n    while True:\n        sum(range(300_000))\n        time.sleep(0.1)"
    with Cell(sandbox_name, Hurried(4, 512, 10)) as cell:
        assert cell.judge(dawdle, "f()", "")["reason"] == "not finished after 1 s by the clock"


def test_a_lost_sandbox_is_tried_again_and_then_fails(sandbox_name):
    """The kernel lets a program signal its parent through a pipe's owner: that ends the sandbox, not the batch."""
    kill = (
        "import fcntl, os\ndef f():\n    r, w = os.pipe()\n    fcntl.fcntl(r, fcntl.F_SETOWN, os.getppid())\n"
        "    fcntl.fcntl(r, 10, 9)\n    fcntl.fcntl(r, fcntl.F_SETFL, os.O_ASYNC)\n    os.write(w, b'x')\n    return 1"
    )
    good = Program("def f(): return 1", "assert f() == 1")
    verdicts = run_tests([good, Program(kill, "assert f() == 2"), good], using=sandbox_name, workers=1)
    assert [found.passed for found in verdicts] == [True, False, True]


def test_the_first_backend_that_works_is_used(monkeypatch):
    monkeypatch.setattr(sandbox, "why_unusable", lambda name: "" if name == "sandlock" else "not installed")
    assert sandbox.backend() == "sandlock"


def test_without_a_sandbox_nothing_runs(monkeypatch, tmp_path):
    marker = tmp_path / "ran"
    monkeypatch.setattr(sandbox, "why_unusable", lambda name: "not installed")
    with pytest.raises(CogumiError) as caught:
        check(f"open({str(marker)!r}, 'w')", "assert True")
    assert not marker.exists()
    assert "bubblewrap: not installed; sandlock: not installed" in caught.value.found
    assert "apt-get install bubblewrap" in caught.value.fix
    assert "pip install sandlock" in caught.value.fix


def test_a_sandbox_that_cannot_start_says_why(monkeypatch):
    monkeypatch.setitem(
        _backends.BACKENDS, "broken", lambda folder: [sys.executable, "-c", "raise SystemExit('no room')"]
    )
    with pytest.raises(CogumiError, match="no room"):
        check("def f(): return 1", "assert f() == 1", using="broken")
    monkeypatch.setattr(_backends, "why_absent", lambda name: "")
    assert why_unusable("broken") == "no room"


def test_one_sandbox_at_least_works_here():
    assert sandbox.backend() in _backends.BACKENDS


def test_the_sandbox_sees_no_checkout_and_no_home():
    """Only the interpreter and the libraries are readable: no site-packages of this environment, no settings."""
    paths = _backends.readable_paths()
    assert not [path for path in paths if path in ("/", "/home", "/root", "/etc", os.path.expanduser("~"))]
    assert not [path for path in paths if path.startswith(sys.prefix + "/") and sys.prefix != sys.base_prefix]
