"""What the machine is found to be, and the errors where it lacks something."""

import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cogumi_utils import hardware
from cogumi_utils.hardware import HardwareError


def test_hidden_gpus_give_the_cpu_with_the_reason(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert hardware.choose_device() == hardware.Device("cpu", "CUDA_VISIBLE_DEVICES='' hides every GPU")


def test_the_device_is_what_torch_can_use(monkeypatch):
    import torch

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    device = hardware.choose_device()
    assert device.kind == ("cuda" if torch.cuda.is_available() else "cpu") and device.why


def test_without_an_nvidia_device_torch_is_not_loaded_to_find_out():
    script = "import sys; from cogumi_utils import hardware; hardware.nvidia_present = lambda: False;"
    script += "print(hardware.choose_device().why, 'torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60,
        env={name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"},
    )  # fmt: skip
    assert done.stdout == "no NVIDIA device on this machine False\n", done.stderr


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="macOS can't pin a process to a core")
def test_cores_are_those_this_process_may_use():
    script = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))});"
    script += "from cogumi_utils import hardware; print(hardware.cpu_cores())"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.stdout == "1\n", done.stderr
    assert 1 <= hardware.cpu_cores() <= os.cpu_count()


def test_peak_memory_counts_this_process_and_its_children():
    """In a fresh process that fills 100 MB, and waits for a child that fills 200 MB."""
    script = """
import subprocess, sys
from cogumi_utils import hardware
small = hardware.peak_memory_bytes()
block = bytearray(b"x") * 100_000_000
own = hardware.peak_memory_bytes()
del block
subprocess.run([sys.executable, "-c", "bytearray(b'x') * 200_000_000"], check=True)
print((own - small) // 10**6, (hardware.peak_memory_bytes() - own) // 10**6)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    own, children = map(int, done.stdout.split())
    assert 90 <= own <= 130 and 190 <= children <= 250


def test_memory_is_at_least_what_runs_here():
    assert 2**28 < hardware.memory_bytes() < 2**50


def test_versions_are_those_installed():
    import numpy

    found = hardware.versions()
    assert found["numpy"] == numpy.__version__ and found["python"].startswith(f"3.{sys.version_info.minor}.")
    assert all(isinstance(version, str) for version in found.values())


def test_git_commit_and_uncommitted_changes(repo):
    def git(*words: str) -> str:
        options = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
        return subprocess.run(["git", *options, *words], check=True, capture_output=True, text=True).stdout.strip()

    assert hardware.git_commit() == ""
    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "first")
    commit = git("rev-parse", "HEAD")
    assert len(commit) == 40 and hardware.git_commit() == commit
    (repo / "untracked.txt").write_text("x")
    assert hardware.git_commit() == commit
    (repo / "pyproject.toml").write_text("changed")
    assert hardware.git_commit() == f"{commit}+dirty"


def test_disk_space_is_asked_of_the_disk_that_will_be_written(tmp_path):
    hardware.require_disk(tmp_path / "not/yet/made", 1)
    with pytest.raises(HardwareError) as caught:
        hardware.require_disk(tmp_path / "not/yet/made", 10**18)
    assert caught.value.expected == f"1000000000.00 GB of free disk for {tmp_path / 'not/yet/made'}"
    assert caught.value.found.startswith("no space left: ") and "COGUMI_OUTPUTS" in caught.value.fix


def test_the_compiler(tmp_path, monkeypatch):
    compiler = tmp_path / "g++"
    compiler.write_text("#!/bin/sh\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    assert hardware.require_compiler() == str(compiler)
    monkeypatch.setenv("CXX", "/nowhere/icpx")
    with pytest.raises(HardwareError) as caught:
        hardware.require_compiler()
    assert "/nowhere/icpx" in caught.value.found and "apt-get install g++" in caught.value.fix


def test_matmul_peak_counts_two_operations_a_product(monkeypatch):
    """Under a clock that moves by a millisecond a look, one matmul of 64 takes 1 ms: 2 * 64**3 operations in it."""
    ticks = itertools.count()
    monkeypatch.setattr(hardware.time, "perf_counter", lambda: next(ticks) / 1000)
    assert hardware.matmul_peak_flops("bfloat16", 0.05, 64) == pytest.approx(2 * 64**3 / 0.001)


def test_no_work_at_import():
    script = "import sys, cogumi_utils.hardware; print('torch' in sys.modules, 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.stdout == "False False\n"


def test_cpu_model_is_a_name():
    assert hardware.cpu_model() and "\n" not in hardware.cpu_model()
    assert Path("/proc/cpuinfo").exists() is False or hardware.cpu_model() in Path("/proc/cpuinfo").read_text()
