"""Pieces of work that have a folder each, some at a time in processes of their own; what is finished stays finished."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, TypeVar

from cogumi_utils import artifacts, kernel
from cogumi_utils.errors import CogumiError


class Keyed(Protocol):
    """key: the name of its folder."""

    @property
    def key(self) -> str: ...


Task = TypeVar("Task", bound=Keyed)


def in_folders(folder: Path, tasks: Sequence[Task]) -> dict[Path, Task]:
    """{its folder below `folder`: task}, in their order. Raises CogumiError for two of one key."""
    keys = [task.key for task in tasks]
    twice = sorted({key for key in keys if keys.count(key) > 1})
    if twice:
        raise CogumiError(
            expected="pieces of work that differ in name or seed",
            found=f"{', '.join(twice)} more than once",
            why="each has a folder of its own",
            fix="give each its own name or seed",
        )
    return {folder / key: task for key, task in zip(keys, tasks, strict=True)}


def finish(work: Callable[[Task], None], tasks: Mapping[Path, Task], *, workers: int = 1) -> None:
    """Call `work` with each task ({its folder: task}) that is not finished, `workers` at a time.

    `work` writes the folder, its manifest last of all; killed before that, it is started again next time. With more
    than one worker a new process must be able to import it, and results must not hang on what else a process did. An
    error in one of them is raised here as it was; a process that was killed, as CogumiError.
    """
    todo = [task for folder, task in tasks.items() if not finished(folder)]
    if workers == 1 or len(todo) < 2:
        list(map(work, todo))
        return
    with _processes(workers) as pool:
        try:
            list(pool.map(work, todo))
        except BrokenProcessPool as error:
            raise CogumiError(
                expected="processes that end with their work done",
                found=f"one of {workers} was killed from outside",
                why="most often because together they need more memory than there is",
                fix="set workers to 1 and start again: what is finished is kept",
            ) from error


_kept: dict[tuple, ProcessPoolExecutor] = {}  # at most one


@contextmanager
def _processes(count: int) -> Iterator[ProcessPoolExecutor]:
    """So many processes; the next call takes the same ones, since importing torch and what stands on it takes seconds.

    Others are started where the environment has changed since, and after an error, which ends them.
    """
    key = (count, tuple(sys.path), tuple(sorted(os.environ.items())))
    if key not in _kept:
        _end()
        context = multiprocessing.get_context("spawn")  # a forked child would share torch's threads and locks
        _kept[key] = ProcessPoolExecutor(count, mp_context=context, initializer=_begin)
    try:
        yield _kept[key]
    except BaseException:
        _end()
        raise


def _begin() -> None:
    """In each process: end with the parent, and at once when interrupted: a waiting one would show a traceback."""
    kernel.die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _end() -> None:
    while _kept:
        _kept.popitem()[1].shutdown(cancel_futures=True)


def finished(folder: Path) -> bool:
    """Whether there is a manifest in `folder` and everything that it lists is as it says."""
    try:
        artifacts.verify(folder)
    except artifacts.ArtifactError:
        return False
    return True
