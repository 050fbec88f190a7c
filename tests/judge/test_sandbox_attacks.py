"""Programs that try to get out of the sandbox, or to pass without solving the task. None of them may.

They are kept as text in `attacks/`, a file a family: `### name`, then the program.
"""

from __future__ import annotations

import os
import re
import socket
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from cogumi_utils.judge.sandbox import Program, run_tests

FOLDER = Path(__file__).parent / "attacks"
SQUARE = "assert f(3) == 9\nassert f(4) == 16\nassert f(-5) == 25"
ESCAPED = 'assert f() == "escaped"'
WORD = "gicma:7f0c2d"
HIDDEN = f'WORD = "{WORD}"\nassert f() == WORD'
SECRET = "the-secret-word"
LIBC = """import ctypes, gc, linecache, os, re, resource, socket, subprocess, sys
libc = ctypes.CDLL(None, use_errno=True)
"""
NEEDLE = 'NEEDLE = re.compile(bytes(reversed(b":amcig")) + b"[0-9a-f]{6}")\n'  # the program must not find itself


def read(family: str) -> dict[str, str]:
    """name → program."""
    _, *entries = re.split(r"^### ", (FOLDER / f"{family}.txt").read_text(), flags=re.MULTILINE)
    return {head.strip(): body for head, _, body in (entry.partition("\n") for entry in entries)}


BOMBS = {name.partition(" | ")[0]: (name.partition(" | ")[2], code) for name, code in read("bombs").items()}
REFUSED = [*read("system"), *read("reads")]


def attempt(action: str) -> str:
    lines = "\n    ".join(action.strip().splitlines())
    return f"{LIBC}\ndef f():\n    {lines}\n    return 'escaped'\n"


def programs(world: SimpleNamespace) -> dict[str, Program]:
    """All attacks, each under its own name."""
    found = {}
    for family in ("early_ends", "pretenders", "patches", "forgeries"):
        found |= {name: Program(code, SQUARE) for name, code in read(family).items()}
    found |= {name: Program(code, SQUARE) for name, (_, code) in BOMBS.items()}
    found |= {name: Program(attempt(filled(action, world)), ESCAPED) for name, action in read("system").items()}
    found |= {name: Program(filled(code, world), f"assert f() == {SECRET!r}") for name, code in read("reads").items()}
    return found | {name: Program(LIBC + NEEDLE + code, HIDDEN) for name, code in read("peeking").items()}


def filled(code: str, world: SimpleNamespace) -> str:
    values = {"port": world.port, "pid": os.getpid(), "outside": str(world.outside), "secret": str(world.secret)}
    for name, value in values.items():
        code = code.replace(f"{{{name}}}", repr(value))
    return code


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """What an escape would touch: a secret file, its folder, a listening port, an environment variable."""
    outside = tmp_path_factory.mktemp("outside")
    secret = outside / SECRET  # its name is secret too
    secret.write_text(SECRET)
    server = socket.create_server(("127.0.0.1", 0))
    connections: list[object] = []
    threading.Thread(target=accept, args=(server, connections), daemon=True).start()
    os.environ["COGUMI_TEST_SECRET"] = SECRET
    yield SimpleNamespace(outside=outside, secret=secret, port=server.getsockname()[1], connections=connections)
    del os.environ["COGUMI_TEST_SECRET"]
    server.close()


def accept(server: socket.socket, connections: list) -> None:
    while True:
        try:
            connections.append(server.accept())
        except OSError:
            return


@pytest.fixture(scope="module")
def outcome(world, sandbox_name):
    """The verdicts on all attacks, and the folder outside before and after them."""
    items, before = programs(world), state(world.outside)
    verdicts = run_tests(list(items.values()), using=sandbox_name, cpu_seconds=3, memory_mb=256, idle_seconds=2)
    return SimpleNamespace(verdicts=dict(zip(items, verdicts, strict=True)), before=before, after=state(world.outside))


def state(folder: Path) -> dict[str, tuple]:
    return {path.name: (path.stat().st_mode, path.stat().st_mtime_ns, path.read_text()) for path in folder.iterdir()}


NAMES = list(programs(SimpleNamespace(port=1, outside="/o", secret="/o/s")))


@pytest.mark.parametrize("name", NAMES)
def test_does_not_pass(outcome, name):
    assert not outcome.verdicts[name].passed, outcome.verdicts[name]


@pytest.mark.parametrize("name", list(BOMBS))
def test_is_stopped_for_the_right_reason(outcome, name):
    assert re.search(BOMBS[name][0], outcome.verdicts[name].reason), outcome.verdicts[name]


@pytest.mark.parametrize("name", REFUSED)
def test_the_system_refused(outcome, name):
    """The attempt failed where it was made, not by a slip of the program."""
    reason = outcome.verdicts[name].reason
    assert re.search("PermissionError|FileNotFoundError|OSError|gaierror|ValueError|KeyError|wrong answer", reason), (
        reason
    )


def test_nothing_outside_has_changed(outcome, world):
    assert outcome.after == outcome.before
    assert not world.connections


def test_the_families_are_large():
    assert len(NAMES) >= 120
    assert len(NAMES) == sum(len(read(path.stem)) for path in FOLDER.iterdir()), "two attacks with one name"
