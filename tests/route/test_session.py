"""A session's memory: bounded, shared, erased on request, and nothing acknowledged is lost by kill -9."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cogumi_utils.errors import CogumiError
from cogumi_utils.route.session import LONGEST, SessionMemory, Turn

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
