"""Work in folders: done once, in any number of processes, whatever was killed on the way."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from cogumi_utils import artifacts
from cogumi_utils.errors import CogumiError
from cogumi_utils.model import workers


@dataclass(frozen=True)
class Task:
    key: str
    folder: Path
    then: str = ""


def write(task: Task) -> None:
    """Leaves its process id, and how often it was called."""
    folder = task.folder / task.key
    folder.mkdir(exist_ok=True)
    with open(task.folder / f"{task.key}.calls", "a") as stream:
        stream.write("x")
    (folder / "pid").write_text(str(os.getpid()))
    if task.then == "refuse":
        raise CogumiError(expected="four", found="parts", why="of one", fix="error")
    if task.then == "die" and (task.folder / f"{task.key}.calls").read_text() == "x":
        os.kill(os.getpid(), signal.SIGKILL)
    artifacts.write_manifest(folder, {"outputs": artifacts.describe(folder, ["pid"])})


def pids(tasks: dict[Path, Task]) -> list[int]:
    return [int((folder / "pid").read_text()) for folder in tasks]


def calls(tasks: dict[Path, Task]) -> list[int]:
    return [len(folder.with_name(f"{folder.name}.calls").read_text()) for folder in tasks]


def tasks_in(folder: Path, *keys: str, then: str = "") -> dict[Path, Task]:
    return workers.in_folders(folder, [Task(key, folder, then) for key in keys])


def test_each_task_has_a_folder_in_their_order(tmp_path):
    assert [folder.relative_to(tmp_path).as_posix() for folder in tasks_in(tmp_path, "b", "a")] == ["b", "a"]


def test_two_tasks_of_one_key_are_refused(tmp_path):
    with pytest.raises(CogumiError) as caught:
        tasks_in(tmp_path, "b", "a", "b", "c", "c")
    assert caught.value.found == "b, c more than once"


def test_one_worker_is_this_process_and_two_are_others(tmp_path):
    alone, together = tasks_in(tmp_path, "a", "b"), tasks_in(tmp_path, "c", "d", "e")
    workers.finish(write, alone)
    workers.finish(write, together, workers=2)
    assert set(pids(alone)) == {os.getpid()} and os.getpid() not in pids(together)
    assert all(map(workers.finished, [*alone, *together])) and calls(alone) == [1, 1] and calls(together) == [1, 1, 1]


def test_the_processes_are_kept_until_the_environment_changes(tmp_path, monkeypatch):
    first, second, third = (tasks_in(tmp_path, *keys) for keys in (("a", "b", "c"), ("d", "e"), ("f", "g")))
    workers.finish(write, first, workers=2)
    workers.finish(write, second, workers=2)
    monkeypatch.setenv("COGUMI_DATA", str(tmp_path))
    workers.finish(write, third, workers=2)
    assert not set(pids(third)) & set(pids(first) + pids(second))
    assert len(set(pids(first) + pids(second))) <= 2


def test_what_is_finished_is_not_done_again_and_what_is_damaged_is(tmp_path):
    tasks = tasks_in(tmp_path, "a", "b", "c")
    workers.finish(write, tasks)
    (tmp_path / "b" / "pid").write_text("another")
    (tmp_path / "c" / artifacts.MANIFEST).unlink()
    assert list(map(workers.finished, tasks)) == [True, False, False]
    workers.finish(write, tasks)
    assert calls(tasks) == [1, 2, 2] and all(map(workers.finished, tasks))


@pytest.mark.parametrize("count", [1, 2])
def test_an_error_arrives_in_its_four_parts(tmp_path, count):
    with pytest.raises(CogumiError) as caught:
        workers.finish(write, tasks_in(tmp_path, "a", "b", then="refuse"), workers=count)
    assert (caught.value.expected, caught.value.found) == ("four", "parts")


def test_a_killed_process_is_told_and_the_rest_is_done_next_time(tmp_path):
    tasks = tasks_in(tmp_path, "a", "b", then="die")
    with pytest.raises(CogumiError, match="killed from outside"):
        workers.finish(write, tasks, workers=2)
    assert not any(map(workers.finished, tasks))
    for folder in tasks:  # one of the two may not have come to be called at all
        folder.with_name(f"{folder.name}.calls").write_text("x")
    workers.finish(write, tasks, workers=2)
    assert all(map(workers.finished, tasks))


def test_an_interrupted_process_ends_without_a_word(tmp_path, capfd):
    tasks = tasks_in(tmp_path, "a", "b")
    workers.finish(write, tasks, workers=2)
    for number in set(pids(tasks)):
        os.kill(number, signal.SIGINT)
    with pytest.raises(CogumiError, match="killed from outside"):  # of those that are kept, some are gone
        for _ in range(200):
            time.sleep(0.05)
            workers.finish(write, tasks_in(tmp_path, f"c{_}", f"d{_}"), workers=2)
    workers.finish(write, tasks_in(tmp_path, "e", "f"), workers=2)
    assert "Traceback" not in capfd.readouterr().err
