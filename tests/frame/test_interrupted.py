"""kill -9 in the middle of a stage: no process lives on, no finished stage is lost, the same command goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[2]
WAIT = """
import os, pathlib, time
while not pathlib.Path(os.environ["TOY_GO"]).exists(): time.sleep(0.05)
"""
LEFT: list[psutil.Process] = []
PATIENCE = 120  # seconds until a test gives up; nothing waits that long unless it is broken


@pytest.fixture
def waiting(checkout, tmp_path):
    """A checkout whose stage 02 waits for a file."""
    checkout.environment["TOY_GO"] = str(tmp_path / "go")
    checkout.add("02_sum", "numbers = run.input('01_numbers/rows.txt')", WAIT, "run.finish(headline='went on')")
    (checkout.root / "params/gates.yaml").write_text("")
    yield checkout
    for process in LEFT:  # of a test that failed half-way; a number that the system gave away again is not killed
        if process.is_running():
            process.kill()
    LEFT.clear()


def until(true, what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.05)


def start_and_reach_stage_02(checkout) -> tuple[psutil.Process, list[psutil.Process]]:
    """The pipeline's process and all below it: Snakemake, the runner, the kernel."""
    process = psutil.Process(checkout.start().pid)
    runs = checkout.root.parent / "runs.txt"
    until(lambda: runs.exists() and "02_sum" in runs.read_text(), "stage 02")
    assert checkout.ran() == ["01_numbers", "02_sum"]
    below = process.children(recursive=True)
    LEFT.extend([process, *below])
    assert any("cogumi_utils.kernel" in " ".join(child.cmdline()) for child in below)
    return process, below


def go_on(checkout) -> None:
    """Let stage 02 pass, run again: stage 01 must not."""
    (checkout.root.parent / "go").touch()
    done = checkout.run_all()
    assert done.returncode == 0, done.stderr
    assert checkout.ran() == ["02_sum", "03_words"]
    assert checkout.manifest("02_sum")["headline"] == "went on"


@pytest.mark.parametrize("victim", ["pipeline", "snakemake", "runner"])
def test_kill_9_leaves_no_process_and_the_next_run_does_only_the_rest(waiting, victim):
    pipeline, below = start_and_reach_stage_02(waiting)
    second = waiting.run_all()
    assert second.returncode == 2 and "no other run of the profile tiny" in second.stderr
    marks = {"pipeline": "cogumi_utils.pipeline", "snakemake": "-m snakemake", "runner": "cogumi_utils.runner 02_sum"}
    (target,) = [process for process in (pipeline, *below) if marks[victim] in " ".join(process.cmdline())]
    kernel = next(process for process in below if "cogumi_utils.kernel" in " ".join(process.cmdline()))
    os.kill(target.pid, signal.SIGKILL)
    until(lambda: not kernel.is_running() or kernel.status() == psutil.STATUS_ZOMBIE, "the kernel's end")
    if victim == "runner":  # Snakemake goes on with what doesn't depend on it
        until(lambda: waiting.out("03_words/manifest.json").exists(), "stage 03")
    _, alive = psutil.wait_procs([pipeline, *below], PATIENCE)
    assert alive == [] and not waiting.out("02_sum/manifest.json").exists()
    if victim == "runner":
        waiting.ran()
        (waiting.root.parent / "go").touch()
        assert waiting.run_all().returncode == 0 and waiting.ran() == ["02_sum"]
    else:
        go_on(waiting)


def test_ctrl_c_ends_all_and_the_next_run_does_only_the_rest(waiting):
    pipeline, below = start_and_reach_stage_02(waiting)
    os.killpg(pipeline.pid, signal.SIGINT)  # what a terminal does
    _, alive = psutil.wait_procs([pipeline, *below], PATIENCE)
    assert alive == []
    go_on(waiting)


def test_a_stage_that_sleeps_through_its_interrupt_is_ended_all_the_same(waiting):
    pipeline, below = start_and_reach_stage_02(waiting)
    pipeline.send_signal(signal.SIGINT)  # to it alone: Snakemake, the runner and the kernel hear nothing
    _, alive = psutil.wait_procs([pipeline, *below], PATIENCE)
    assert alive == []
    go_on(waiting)


@pytest.mark.parametrize("platform", ["linux", "darwin"])
def test_a_process_ends_with_its_parent_on_both_systems(platform):
    if platform == "linux" and sys.platform != "linux":
        platform = sys.platform
    child = (
        f"import sys, time; sys.platform = {platform!r}\n"
        "from cogumi_utils.kernel import die_with_parent; die_with_parent()\n"
        "print('tied', flush=True)\nwhile True: time.sleep(0.1)"
    )
    parent_code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    parent = psutil.Popen([sys.executable, "-c", parent_code], stdout=subprocess.PIPE, cwd=ROOT)
    assert parent.stdout.readline() == b"tied\n"
    (tied,) = parent.children()
    parent.kill()
    parent.wait()
    until(lambda: not tied.is_running() or tied.status() == psutil.STATUS_ZOMBIE, "the child's end")
