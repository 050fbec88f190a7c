"""Session memory: writers killed by SIGKILL under load with readers beside them, and what a turn costs.

python benchmarks/session.py [--kills 500] [--quick]

Two writers a round, both killed at a random moment; two readers all the while. Each row that a writer had acknowledged
(its number printed after `remember` returned) must be there afterwards, and the database must pass SQLite's own check.
What is tested is the death of processes, not the loss of power.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import apsw
import numpy as np
import pandas as pd
import report

from cogumi_utils.route.session import SessionMemory

WRITERS, READERS, LONGEST_S = 2, 2, 0.1  # the longest time from a writer's first turn to its end
ALL = 10**6  # turns kept of a session
WRITER = """
import sys
from pathlib import Path
from cogumi_utils.route.session import SessionMemory
memory, name, n = SessionMemory(Path(sys.argv[1]), kept=int(sys.argv[3]), most=10**9), sys.argv[2], 0
while True:
    memory.remember(name, f"query {n}", "code", 0.5)
    print(n, flush=True)
    n += 1
"""
READER = """
import sys, time
from pathlib import Path
from cogumi_utils.route.session import SessionMemory
memory, reads, names = SessionMemory(Path(sys.argv[1])), 0, Path(sys.argv[2])
while not names.with_suffix(".stop").exists():
    name = names.read_text()
    turns = [int(turn.query.split()[1]) for turn in memory.recent(name)]
    assert turns == list(range(len(turns))), (name, turns)
    reads += 1
    time.sleep(0.002)
print(reads)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--turns", type=int, default=2000, help="timed, in each situation")
    parser.add_argument("--quick", action="store_true", help="25 kills and 300 timed turns")
    options = parser.parse_args()
    kills, turns = (25, 300) if options.quick else (options.kills, options.turns)
    with tempfile.TemporaryDirectory() as scratch:
        survived = killed_writers(Path(scratch) / "killed", kills)
        times = latencies(Path(scratch) / "timed", turns)
    lost = survived["acknowledged"] - survived["of them kept"]
    notes = [
        f"{survived['kills']} kills in {survived['seconds']:.0f} s: {lost} of {survived['acknowledged']} acknowledged "
        f"turns lost, {survived['damaged']} times a damaged database; {survived['reads']} reads beside it, "
        f"{survived['readers refused']} of {READERS} readers refused or misled, {survived['writers refused']} writers "
        f"that never got the lock in time.",
    ]  # fmt: skip
    report.keep("session", times, notes, survived)
    if lost or survived["damaged"] or survived["readers refused"]:
        sys.exit(1)


def killed_writers(folder: Path, kills: int) -> dict[str, float]:
    """Counts over all rounds; a reader that ends early counts as a read that was refused."""
    folder.mkdir()
    path, names, draw, start = folder / "s.db", folder / "names", random.Random(1), time.perf_counter()
    SessionMemory(path).recent("")  # the file is there before the readers
    names.write_text("w0-0")
    readers = [spawn(READER, path, names) for _ in range(READERS)]
    acknowledged, damaged = {}, 0
    for number in range(-(-kills // WRITERS)):
        acknowledged |= one_round(path, names, number, min(WRITERS, kills - number * WRITERS), draw)
        damaged += not intact(path)
    names.with_suffix(".stop").touch()
    reads = [reader.communicate()[0] for reader in readers]
    return {
        "kills": len(acknowledged), "seconds": time.perf_counter() - start, "damaged": damaged,
        "writers refused": sum(not count for count in acknowledged.values()),
        "acknowledged": sum(acknowledged.values()), "of them kept": kept(path, acknowledged),
        "reads": sum(int(text or 0) for text in reads), "readers refused": sum(r.returncode != 0 for r in readers),
    }  # fmt: skip


def one_round(path: Path, names: Path, number: int, writers: int, draw: random.Random) -> dict[str, int]:
    """{session: turns acknowledged} of writers that were killed."""
    sessions = [f"w{number}-{n}" for n in range(writers)]
    running = [spawn(WRITER, path, name, ALL) for name in sessions]
    first = [writer.stdout.readline() for writer in running]  # they work
    replace(names, sessions[0])
    time.sleep(draw.random() * LONGEST_S)
    for writer in running:
        os.kill(writer.pid, signal.SIGKILL)
    said = [begin + writer.communicate()[0] for begin, writer in zip(first, running, strict=True)]
    return {name: text.count("\n") for name, text in zip(sessions, said, strict=True)}  # the last may be half a line


def replace(names: Path, text: str) -> None:
    names.with_suffix(".new").write_text(text)
    os.replace(names.with_suffix(".new"), names)


def spawn(script: str, *arguments: Path | str | int, heard: bool = True) -> subprocess.Popen:
    """heard: through a pipe, which the process waits for once it is full."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE if heard else subprocess.DEVNULL, text=True)


def intact(path: Path) -> bool:
    connection = apsw.Connection(str(path))
    try:
        return next(connection.execute("PRAGMA quick_check"))[0] == "ok"
    finally:
        connection.close()


def kept(path: Path, acknowledged: dict[str, int]) -> int:
    """How many of the acknowledged turns are there."""
    memory, found = SessionMemory(path, kept=ALL, most=10**9), 0
    for name, count in acknowledged.items():
        there = {turn.query for turn in memory.recent(name)}
        found += sum(f"query {n}" in there for n in range(count))
    return found


def latencies(folder: Path, turns: int) -> pd.DataFrame:
    """Milliseconds of `remember` and `recent` in sessions of five turns, alone and beside a writer and a reader."""
    folder.mkdir()
    rows = []
    for beside in ("nothing", "a writer and a reader"):
        path, names = folder / f"{len(rows)}.db", folder / f"names{len(rows)}"
        memory = SessionMemory(path)
        memory.remember("s", "query 0", "code", 0.5)
        names.write_text("s")
        others = []
        if beside != "nothing":
            others = [spawn(WRITER, path, "other", memory.kept, heard=False), spawn(READER, path, names, heard=False)]
            while not memory.recent("other"):
                time.sleep(0.01)
        measured = timed(memory, turns)
        for other in others:
            other.kill()
            other.wait()
        for what, seconds in measured.items():
            p50, p99 = 1000 * np.quantile(seconds, (0.5, 0.99))
            rows.append((what, beside, turns, p50, p99, 1000 * max(seconds)))
    return pd.DataFrame(rows, columns=["call", "beside it", "calls", "p50, ms", "p99, ms", "longest, ms"])


def timed(memory: SessionMemory, turns: int) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {"remember": [], "recent": []}
    for n in range(turns):
        for what, call in (
            ("remember", lambda n=n: memory.remember(f"s{n // 5}", f"query {n} of a user", "code", 0.5)),
            ("recent", lambda n=n: memory.recent(f"s{n // 5}")),
        ):
            start = time.perf_counter()
            call()
            found[what].append(time.perf_counter() - start)
    return found


if __name__ == "__main__":
    main()
