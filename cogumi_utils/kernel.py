"""The kernel that stages run in: this interpreter, whatever kernelspecs are installed, and strict.

A failing `!command` raises, an exception in a thread stops the stage, and the kernel ends with the process that started
it, however that one ends. JupyterLab uses its usual kernel; this one is for `cogumi_utils.runner` alone.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

FAULTS_ENV = "COGUMI_FAULTS"  # the file that exceptions of threads are written to
TIE_ENV = "COGUMI_TIED"  # set by `pipeline`: every process that it starts ends when its parent does
STRICT = "--InteractiveShell.system_raise_on_error=True"


def manager_class(folder: Path) -> type:
    """A kernel manager that starts this module with this interpreter, over Unix sockets in `folder`.

    Unlike ports they can't be taken by another kernel that starts at the same time. Their path is limited to about 100
    characters, so `folder` must be short.
    """
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager

    command = [sys.executable, "-m", "cogumi_utils.kernel", "-f", "{connection_file}", STRICT]

    class ThisInterpreter(AsyncKernelManager):
        def __init__(self, **settings: Any):
            super().__init__(
                transport="ipc", ip=str(folder / "kernel-ipc"), connection_file=str(folder / "kernel.json"), **settings
            )

        @property
        def kernel_spec(self) -> KernelSpec:
            return KernelSpec(argv=command, display_name="Python 3", language="python", metadata={"debugger": False})

    return ThisInterpreter


def die_with_parent() -> None:
    """End this process when its parent ends, even by SIGKILL: the system sees to it on Linux, a thread elsewhere."""
    parent = os.getppid()
    if sys.platform == "linux":
        import ctypes

        pr_set_pdeathsig = 1
        ctypes.CDLL(None, use_errno=True).prctl(pr_set_pdeathsig, signal.SIGKILL)
    else:
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGKILL)


def stop_on_thread_failure(faults: Path) -> None:
    """An exception that ends a thread is written to `faults` and ends the kernel.

    An interrupt would be softer, but one that comes between two cells hits the kernel's own code, and may take with it
    the reply that the runner waits for.
    """
    import traceback

    def hook(failure: threading.ExceptHookArgs) -> None:
        lines = traceback.format_exception(failure.exc_type, failure.exc_value, failure.exc_traceback)
        name = failure.thread.name if failure.thread else "a thread"
        with open(faults, "a", encoding="utf-8") as stream:
            stream.write(f"in {name}:\n{''.join(lines)}")
        os._exit(1)

    threading.excepthook = hook


def main() -> None:
    die_with_parent()
    if os.environ.get(FAULTS_ENV):
        stop_on_thread_failure(Path(os.environ[FAULTS_ENV]))
    from ipykernel.kernelapp import IPKernelApp

    app = IPKernelApp.instance()
    app.initialize()
    app.shell.user_ns.update(exit=sys.exit, quit=sys.exit)  # IPython's own let the next cells run before they end it
    app.start()


if __name__ == "__main__":
    main()
