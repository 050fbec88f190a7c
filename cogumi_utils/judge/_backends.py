"""Ways to start a command that sees no file of the user's and no network, and which of them work on this machine."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from collections.abc import Callable
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

from cogumi_utils.errors import CogumiError

TMP_BYTES = 64 << 20
ENVIRONMENT = {"PYTHONHASHSEED": "0", "LANG": "C.UTF-8", "HOME": "/nonexistent", "MALLOC_ARENA_MAX": "1"}
_PYTHON = os.path.realpath(sys.executable)
_BOOT = """import sys, types
inside = sys.modules["inside"] = types.ModuleType("inside")
inside.__path__ = []
for name, source in {sources!r}.items():
    module = sys.modules["inside." + name] = types.ModuleType("inside." + name)
    module.__package__ = "inside"
    setattr(inside, name, module)
    exec(compile(source, name, "exec"), module.__dict__)
module.main()
"""


def interpreter_command() -> list[str]:
    """Python without site packages, user settings or the current folder on its path; the harness as an argument.

    Not `-I`, which would ignore PYTHONHASHSEED: the environment is ours and holds `ENVIRONMENT` alone.
    """
    from cogumi_utils.judge.inside import LOAD_ORDER

    folder = files("cogumi_utils.judge.inside")
    sources = {name: (folder / f"{name}.py").read_text(encoding="utf-8") for name in LOAD_ORDER}
    return [_PYTHON, "-s", "-S", "-P", "-B", "-c", _BOOT.format(sources=sources)]


def readable_paths() -> list[str]:
    """What the interpreter needs to start and to import the standard library: no home, no checkout, no settings."""
    prefixes = {Path(sys.base_prefix), Path(sys.base_exec_prefix), Path("/usr"), Path("/")}  # of no virtual environment
    wanted = [_PYTHON, sysconfig.get_path("stdlib"), "/etc/ld.so.cache"]
    wanted += [prefix / name for prefix in prefixes for name in ("lib", "lib64")]
    present = sorted({str(path) for path in wanted if Path(path).exists()})
    return [path for path in present if not any(path.startswith(f"{other}/") for other in present)]


def bubblewrap(folder: Path) -> list[str]:
    """Namespaces of its own for everything; a root that holds `readable_paths` and a small private /tmp."""
    command = ["bwrap", "--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL", "--clearenv"]
    command += ["--uid", "65534", "--gid", "65534", "--hostname", "sandbox"]
    for path in readable_paths():
        command += ["--ro-bind", path, path]
    for device in ("/dev/null", "/dev/urandom"):
        command += ["--dev-bind", device, device]
    for name, value in ENVIRONMENT.items():
        command += ["--setenv", name, value]
    command += ["--size", str(TMP_BYTES), "--tmpfs", "/tmp", "--chdir", "/tmp", "--remount-ro", "/"]
    return [*command, "--", *interpreter_command()]


def sandlock(folder: Path) -> list[str]:
    """Landlock and seccomp from PyPI: started by a small interpreter of its own, which supervises the system calls."""
    launcher = str(Path(__file__).with_name("_sandlock_launch.py"))
    return [sys.executable, "-P", launcher, str(folder), *interpreter_command()]


def sandbox_exec(folder: Path) -> list[str]:
    """macOS. Memory is not limited there (the system ignores RLIMIT_AS) and a program may hold what it can allocate."""
    readable = " ".join(f'(subpath "{path}")' for path in [*readable_paths(), "/System", "/usr", "/dev"])
    profile = f"""(version 1)(deny default)(allow process-fork)(allow signal (target same-sandbox))(allow sysctl-read)
    (allow process-exec (literal "{_PYTHON}"))(allow file-read-metadata)(allow file-read* {readable} (literal "/"))
    (allow file-read* file-write* (subpath "{folder.resolve()}") (literal "/dev/null"))"""
    return ["sandbox-exec", "-p", profile, *interpreter_command()]


BACKENDS: dict[str, Callable[[Path], list[str]]] = {
    "bubblewrap": bubblewrap,
    "sandlock": sandlock,
    "sandbox-exec": sandbox_exec,
}


def why_absent(name: str) -> str:
    """Why a backend cannot even be tried here; empty if it can."""
    if name == "sandbox-exec":
        return "" if sys.platform == "darwin" and shutil.which(name) else "only macOS has it"
    if sys.platform != "linux":
        return "only for Linux"
    installed = shutil.which("bwrap") if name == "bubblewrap" else find_spec("sandlock")
    return "" if installed else "not installed"


def no_backend(reasons: dict[str, str]) -> CogumiError:
    return CogumiError(
        expected="a working sandbox: bubblewrap or sandlock (Linux), sandbox-exec (macOS)",
        found="; ".join(f"{name}: {reason}" for name, reason in reasons.items()),
        why="model-written code is never run outside a sandbox",
        fix="apt-get install bubblewrap, or: pip install sandlock (Linux 6.12 or newer, with Landlock)",
    )
