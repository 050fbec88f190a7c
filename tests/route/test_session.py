"""A session's memory: bounded, shared, erased on request, and nothing acknowledged is lost by kill -9."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import apsw
import numpy as np
import pytest

from cogumi_utils.errors import CogumiError
from cogumi_utils.route.session import LONGEST, SessionMemory, Turn, features

KILLS = 25  # 500 in benchmarks/session.py
WRITER = """
import sys
from pathlib import Path
from cogumi_utils.route.session import SessionMemory
memory, name = SessionMemory(Path(sys.argv[1]), kept=10**6, most=10**9), sys.argv[2]
n = 0
while True:
    number = memory.remember(name, f"query {n}", "code", 0.5)
    print(number, n, flush=True)
    n += 1
"""


@pytest.fixture
def memory(tmp_path) -> SessionMemory:
    return SessionMemory(tmp_path / "sessions.db")


def test_the_last_five_turns_of_a_session_oldest_first(memory):
    numbers = [memory.remember("a", f"q{n}", "code", n / 10) for n in range(7)]
    memory.remember("b", "other", "base", 1.0, success=False)
    assert memory.recent("a") == [Turn(numbers[n], f"q{n}", "code", n / 10, None) for n in range(2, 7)]
    assert [(turn.query, turn.success) for turn in memory.recent("b")] == [("other", False)]
    assert memory.recent("nobody") == []


def test_success_is_known_later(memory):
    first, second = memory.remember("a", "q", "code", 0.9), memory.remember("a", "r", "base", 0.2)
    assert memory.judge(first, True) and memory.judge(second, False)
    assert [turn.success for turn in memory.recent("a")] == [True, False]
    assert not memory.judge(10**6, True)


def test_all_sessions_together_are_bounded(tmp_path):
    memory = SessionMemory(tmp_path / "s.db", kept=2, most=10)
    for n in range(100):
        memory.remember(f"s{n}", "q", "code", 0.5)
    left = [n for n in range(100) if memory.recent(f"s{n}")]
    assert left == list(range(90, 100))


def test_long_queries_are_cut(memory):
    memory.remember("a", "x" * (LONGEST + 1), "code", 0.5)
    assert memory.recent("a")[0].query == "x" * LONGEST


def test_forgetting_leaves_no_word_behind(memory, tmp_path):
    for n in range(200):
        memory.remember("secret" if n % 2 else "other", f"mygreatsecret {n}" if n % 2 else f"plain {n}", "code", 0.5)
    assert any(b"mygreatsecret" in file.read_bytes() for file in tmp_path.iterdir())
    assert memory.forget("secret") == 5 and memory.recent("secret") == []
    assert not any(b"mygreatsecret" in file.read_bytes() for file in tmp_path.iterdir())
    assert len(memory.recent("other")) == 5 and memory.forget("secret") == 0


def test_threads_share_one_file(tmp_path):
    memory = SessionMemory(tmp_path / "s.db", kept=1000)
    with ThreadPoolExecutor(8) as pool:
        numbers = list(pool.map(lambda n: memory.remember(f"s{n % 4}", str(n), "code", 0.5), range(200)))
    assert len(set(numbers)) == 200 and sum(len(memory.recent(f"s{n}")) for n in range(4)) == 200


def test_nothing_acknowledged_is_lost(tmp_path):
    """Two writers under load, each killed at a random moment, again and again."""
    path, acknowledged, draw = tmp_path / "s.db", set(), random.Random(1)
    for number in range(KILLS):
        names = [f"w{number}-{n}" for n in range(2)]
        writers = [
            subprocess.Popen([sys.executable, "-c", WRITER, str(path), name], stdout=subprocess.PIPE) for name in names
        ]
        for writer in writers:
            writer.stdout.readline()  # it works
        time.sleep(draw.random() / 20)
        for writer, name in zip(writers, names, strict=True):
            os.kill(writer.pid, signal.SIGKILL)
            lines = writer.communicate()[0].decode().split("\n")[:-1]  # the last may be half a line
            acknowledged |= {(name, line.split()[1]) for line in lines}
    memory = SessionMemory(path, kept=10**6, most=10**9)
    kept = {(name, turn.query.split()[1]) for n in range(KILLS) for name in (f"w{n}-0", f"w{n}-1")
            for turn in memory.recent(name)}  # fmt: skip
    assert acknowledged and acknowledged <= kept


@pytest.mark.parametrize(("session", "confidence"), [("", 0.5), ("a", 1.5), ("a", float("nan"))])
def test_what_is_no_turn_is_refused(memory, session, confidence):
    with pytest.raises(CogumiError, match="a session's name and a confidence"):
        memory.remember(session, "q", "code", confidence)


def test_a_memory_without_room_is_refused(tmp_path):
    with pytest.raises(CogumiError, match="remembers nothing"):
        SessionMemory(tmp_path / "s.db", kept=0)


def test_what_is_no_database_is_refused_and_left_alone(tmp_path):
    path = Path(tmp_path, "s.db")
    path.write_text("notes of mine, in a file of more than one hundred bytes: " + "x" * 200)
    before = path.read_bytes()
    with pytest.raises(CogumiError, match="what sessions asked last are recorded there"):
        SessionMemory(path).recent("a")
    assert path.read_bytes() == before


# ---- what a router may hand over ----
@pytest.mark.parametrize("query", ["", "a\0b", "half a pair \ud800", "שלום 你好 \u202e", "x" * 10**6])
def test_any_query_is_remembered(memory, query):
    memory.remember("a", query, "code", 0.5)
    kept = memory.recent("a")[0].query
    assert kept == query[:LONGEST].replace("\ud800", "?") and len(kept) == min(len(query), LONGEST)


def test_numbers_of_numpy_are_numbers(memory):
    number = memory.remember("a", "q", np.str_("code"), np.float32(0.5), np.bool_(False))
    assert memory.recent("a") == [Turn(number, "q", "code", 0.5, False)]
    assert memory.judge(number, np.bool_(True)) and memory.recent("a")[0].success is True


# ---- a database that is locked, read-only or damaged: said in four parts, nothing lost ----
def test_a_locked_database_is_read_and_the_write_is_refused_in_time(tmp_path):
    memory = SessionMemory(tmp_path / "s.db", patience_s=0.1)
    number = memory.remember("a", "q", "code", 0.5)
    holder = apsw.Connection(str(tmp_path / "s.db"))
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(CogumiError, match="it is locked"):
        memory.remember("a", "r", "code", 0.5)
    with pytest.raises(CogumiError, match="it is locked"):
        memory.judge(number, True)
    assert memory.recall("a") == (memory.recent("a"), None) and len(memory.recent("a")) == 1
    holder.execute("COMMIT")
    memory.remember("a", "s", "code", 0.5)
    assert [turn.query for turn in memory.recent("a")] == ["q", "s"], "what was refused was not half written"


def test_a_database_that_another_process_has_to_itself_is_decided_without(tmp_path):
    with_past = SessionMemory(tmp_path / "s.db")
    with_past.remember("a", "q", "code", 0.5)
    with_past.close()
    holder = apsw.Connection(str(tmp_path / "s.db"))
    holder.execute("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE; COMMIT").fetchall()
    memory = SessionMemory(tmp_path / "s.db", patience_s=0.1)
    turns, error = memory.recall("a")
    assert turns == [] and "it is locked" in error.found and features(turns, ["code"]).tolist() == [0] * 5
    holder.close()
    turns, error = memory.recall("a")
    assert [turn.query for turn in turns] == ["q"] and error is None


def test_one_that_waits_gets_the_lock_from_one_that_writes_without_pause(tmp_path):
    """SQLite's own waiting would sleep while the lock is free for a moment, and give up after seconds."""
    memory = SessionMemory(tmp_path / "s.db", patience_s=30)
    memory.recent("a")
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path / "s.db"), "b"], stdout=subprocess.DEVNULL)
    try:
        while not memory.recent("b"):
            time.sleep(0.01)
        for n in range(20):
            memory.remember("a", f"q{n}", "code", 0.5)
        assert len(memory.recent("a")) == 5 and writer.poll() is None
    finally:
        writer.kill()
        writer.wait()


def as_nobody(act: Callable[[], object]) -> str:
    """What `act` returns or raises where permissions hold: in a child without root's rights."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if os.geteuid() == 0:
                os.setgid(65534)
                os.setuid(65534)
            said = repr(act())
        except BaseException as error:  # whatever it is, the test wants to see it
            said = f"{type(error).__name__}: {error}"
        os.write(write, said.encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    return said


@pytest.mark.parametrize("folder_too", [False, True])
def test_a_read_only_database_is_said_and_kept(folder_too):
    with tempfile.TemporaryDirectory() as folder:  # pytest's own folders are closed to others
        path = Path(folder, "s.db")
        memory = SessionMemory(path)
        memory.remember("a", "q", "code", 0.5)
        memory.close()
        before = path.read_bytes()
        path.chmod(0o444)
        Path(folder).chmod(0o555 if folder_too else 0o777)
        said = as_nobody(lambda: memory.remember("a", "r", "code", 0.5))
        assert said.startswith("CogumiError: expected:") and "fix:" in said
        turns = as_nobody(lambda: memory.recall("a"))
        assert turns.startswith("([Turn(") or turns.startswith("([], CogumiError(")
        Path(folder).chmod(0o777)
        assert path.read_bytes() == before and [turn.query for turn in memory.recent("a")] == ["q"]


def test_a_folder_that_cannot_be_made_is_said():
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o555)
        said = as_nobody(lambda: SessionMemory(Path(folder, "sub", "s.db")).remember("a", "q", "code", 0.5))
        assert said.startswith("CogumiError: expected:") and "PermissionError" in said
        Path(folder).chmod(0o777)


@pytest.mark.parametrize("harm", ["header", "pages", "half"])
def test_a_damaged_database_is_said_and_left_as_it_is(tmp_path, harm):
    path = tmp_path / "s.db"
    memory = SessionMemory(path, kept=1000)
    for n in range(400):
        memory.remember("a", f"query {n} " + "x" * 100, "code", 0.5)
    memory.close()
    whole = path.read_bytes()
    assert len(whole) > 40_000
    damage = {
        "header": bytes(100) + whole[100:], "pages": whole[:8192] + b"\xa5" * (len(whole) - 8192),
        "half": whole[: len(whole) // 2],
    }  # fmt: skip
    path.write_bytes(damage[harm])
    turns, error = SessionMemory(path, kept=1000).recall("a")
    assert turns == [] and "restore" in error.fix and str(path) in error.expected
    with pytest.raises(CogumiError):
        SessionMemory(path, kept=1000).remember("a", "q", "code", 0.5)
    assert path.read_bytes() == damage[harm]


def test_forgetting_says_where_a_reader_keeps_the_words(tmp_path):
    memory = SessionMemory(tmp_path / "s.db", patience_s=0.1)
    memory.remember("secret", "mygreatsecret", "code", 0.5)
    reader = apsw.Connection(str(tmp_path / "s.db"))
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM turns").fetchall()
    with pytest.raises(CogumiError, match="still has old pages"):
        memory.forget("secret")
    assert memory.recent("secret") == []
    reader.execute("COMMIT")
    assert memory.forget("secret") == 0
    assert not any(b"mygreatsecret" in file.read_bytes() for file in tmp_path.iterdir())


# ---- the past as features ----
def test_features_of_a_session():
    turns = [
        Turn(1, "q", "code", 0.9, True), Turn(2, "q", "code", 0.7, False), Turn(3, "q", "base", 0.5, None),
        Turn(4, "q", "gone", 0.3, True),
    ]  # fmt: skip
    found = features(turns, ["base", "code", "maths"])
    assert found.tolist() == pytest.approx([0.25, 0.25, 0, 0, 0.25, 0, 0.6, 2 / 3, 0.8])
    assert features([], ["base", "code"]).tolist() == [0] * 7
    assert features(turns[2:3], ["base"]).tolist() == pytest.approx([1, 0, 0.5, 0, 0.2])
