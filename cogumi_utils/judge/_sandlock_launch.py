"""Run as a script by `judge/_backends.py`: start a command under sandlock with this process's own streams.

A process of its own, because sandlock forks from, and supervises in a thread of, the process that calls it: not a
thing to do in a process that has loaded torch. Arguments: a private folder, then the command.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2]))


def main(folder: str, command: list[str]) -> int:
    import sandlock

    from cogumi_utils.judge import _backends

    work, storage = os.path.join(folder, "work"), os.path.join(folder, "storage")
    os.makedirs(work), os.makedirs(storage)
    sandbox = sandlock.Sandbox(
        fs_readable=[*_backends.readable_paths(), "/dev/urandom"],
        fs_writable=[work, "/dev/null"],
        workdir=work,
        cwd=work,
        fs_storage=storage,
        max_disk=_backends.TMP_BYTES,
        on_exit=sandlock.BranchAction.ABORT,
        on_error=sandlock.BranchAction.ABORT,
        clean_env=True,
        env=_backends.ENVIRONMENT,
        max_processes=8,
    )
    with sandbox.popen(command) as process:
        return process.wait().exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
