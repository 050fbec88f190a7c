"""The machine under a run: device and why, cores, memory, versions, git commit, disk space, compiler, peak FLOP/s."""

from __future__ import annotations

import functools
import os
import platform
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from cogumi_utils.errors import CogumiError
from cogumi_utils.paths import repo_root

PACKAGES = (
    "torch", "transformers", "peft", "trl", "datasets", "bitsandbytes", "accelerate", "llmcompressor", "gguf",
    "llama-cpp-python", "vllm", "rensa", "numpy", "pandas", "pyarrow", "scipy", "scikit-learn", "statsmodels",
)  # fmt: skip
COMPILERS = ("c++", "g++", "clang++")


class HardwareError(CogumiError):
    """The machine lacks something that the stage needs."""


@dataclass(frozen=True, slots=True)
class Device:
    """kind: "cpu" or "cuda"; why: one clause that says how it was decided."""

    kind: str
    why: str


def choose_device() -> Device:
    """CUDA where torch can use it, else the CPU. torch is imported only where the machine shows an NVIDIA device."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible in ("", "-1"):
        return Device("cpu", f"CUDA_VISIBLE_DEVICES={visible!r} hides every GPU")
    if "torch" not in sys.modules and not nvidia_present():
        return Device("cpu", "no NVIDIA device on this machine")
    import torch

    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        return Device("cuda", f"{torch.cuda.get_device_name()}, {free / 1e9:.0f} of {total / 1e9:.0f} GB free")
    reason = "torch was built without CUDA" if torch.version.cuda is None else "torch finds no usable CUDA device"
    return Device("cpu", reason if nvidia_present() else "no NVIDIA device on this machine")


def nvidia_present() -> bool:
    """Whether a driver or its tool is installed; says nothing about torch."""
    return Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None


def cpu_cores() -> int:
    """Cores that this process may use (a container's or `taskset`'s share, not the machine's)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@functools.cache
def cpu_model() -> str:
    """The processor's name as the system gives it."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line for line in lines if line.startswith("model name")]
    return names[0].split(":", 1)[1].strip() if names else platform.processor() or platform.machine()


def memory_bytes() -> int:
    """Physical memory, or the container's limit where that is smaller."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        text = Path(limit).read_text().strip() if Path(limit).exists() else "max"
        total = min(total, int(text)) if text.isdigit() else total
    return total


def peak_memory_bytes() -> int:
    """Largest resident memory of this process so far plus that of its largest finished child."""
    import resource

    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux KiB
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit
    status = Path("/proc/self/status")
    # ru_maxrss of a program that was started by a larger one begins with the larger one's peak; VmHWM does not
    marks = [line for line in status.read_text().splitlines() if line.startswith("VmHWM:")] if status.exists() else []
    own = int(marks[0].split()[1]) * 1024 if marks else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return own + children


def peak_device_memory_bytes() -> int:
    """Largest CUDA memory that torch has allocated; 0 without torch or CUDA."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available() or not torch.cuda.is_initialized():
        return 0
    return int(sum(torch.cuda.max_memory_allocated(index) for index in range(torch.cuda.device_count())))


def versions() -> dict[str, str]:
    """{package: version} of the packages that decide numbers, as far as they are installed, and of Python."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def git_commit() -> str:
    """The checkout's commit, with `+dirty` when tracked files differ from it; "" outside a git checkout."""
    commit = _git("rev-parse", "HEAD")
    return commit + ("+dirty" if commit and _git("status", "--porcelain", "--untracked-files=no") else "")


def _git(*words: str) -> str:
    try:
        done = subprocess.run(["git", "-C", str(repo_root()), *words], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def require_disk(path: Path, needed_bytes: int) -> None:
    """Raise HardwareError unless the disk that holds `path` has `needed_bytes` free."""
    folder = Path(path).resolve()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free < needed_bytes:
        raise no_space(path, f"{needed_bytes / 1e9:.2f} GB", f"{free / 1e9:.2f} GB free on the disk of {folder}")


def no_space(path: Path, needed: str, found: str) -> HardwareError:
    return HardwareError(
        expected=f"{needed} of free disk for {path}",
        found=f"no space left: {found}",
        why="a stage that runs out of space half-way loses its work",
        fix="free some space, or set COGUMI_OUTPUTS to a folder on a larger disk",
    )


def require_compiler() -> str:
    """Path of a C++ compiler; HardwareError with the install line where there is none."""
    wanted = [os.environ["CXX"]] if os.environ.get("CXX") else list(COMPILERS)
    for name in wanted:
        if found := shutil.which(name):
            return found
    raise HardwareError(
        expected="a C++ compiler",
        found=f"none of {', '.join(wanted)} on the PATH",
        why="llama-cpp-python comes as source and is built on this machine",
        fix="Debian, Ubuntu: apt-get install g++ · macOS: xcode-select --install · conda: conda install cxx-compiler",
    )


def matmul_peak_flops(dtype: str = "float32", seconds: float = 1.0, size: int = 1024, device: str = "cpu") -> float:
    """Measured FLOP/s of square `size` matmuls in `dtype` ("float32", "bfloat16", ...): the best of many short runs.

    This is the ceiling that training throughput is compared with, under this process's own thread count.
    """
    import torch

    left, right = (torch.randn(size, size, device=device).to(getattr(torch, dtype)) for _ in range(2))
    out, wait = torch.empty_like(left), torch.cuda.synchronize if device == "cuda" else lambda: None
    torch.matmul(left, right, out=out)  # the first call picks kernels and allocates
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        wait()
        begun = time.perf_counter()
        torch.matmul(left, right, out=out)
        wait()
        best = min(best, time.perf_counter() - begun)
    return 2 * size**3 / best
