"""The first process in the sandbox: for each program it starts a candidate's and a tests' process, watches, reports.

It reads programs from standard input and writes one verdict per program to standard output. Neither is open in the
candidate's process. It never holds the tests nor the nonce: the tests' process reads them itself, after the
candidate's process has been started and has closed its copy of standard input.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import select
import signal
import time

from . import candidate, tester
from .codec import read_exactly, receive, send
from .hardening import Hardening, close_all_but

OUTPUT_BYTES, TAIL_BYTES = 8 << 20, 2000
_POLL_SECONDS, _WORKING_SECONDS = 0.25, 0.02
_BROKEN = 70  # exit code of a process whose pipe to the other one failed
# Imported once here, so that programs find them loaded: the standard modules that short programs use most.
_PRELOADED = (
    "array base64 bisect calendar cmath collections contextlib copy dataclasses datetime decimal enum fractions "
    "functools hashlib heapq inspect itertools json math numbers operator queue random re statistics string struct "
    "textwrap threading time typing unicodedata uuid"
)


def main() -> None:
    hardening = Hardening()
    hardening.prepare()
    for name in _PRELOADED.split():
        importlib.import_module(name)
    gc.collect()
    gc.freeze()
    send(1, {"ready": True})
    untouched, retired = _fingerprint(), False
    with contextlib.suppress(EOFError):
        while not retired:
            header = receive(0)
            report = Trial(header, read_exactly(0, header["code_bytes"]), hardening).verdict()
            retired = _fingerprint() != untouched  # a program that touched files takes its sandbox with it
            send(1, {**report, "retired": retired})


def _fingerprint() -> tuple[int, list[str]]:
    return os.stat(".").st_mtime_ns, os.listdir(".")


class Trial:
    """One program: its two processes, the pipes between them, and the limits they run under."""

    def __init__(self, header: dict, code: bytes, hardening: Hardening):
        self.header, self.hardening = header, hardening
        self.written, self.tail = 0, b""
        requests, replies, output, verdict = (os.pipe() for _ in range(4))
        streams = {1: output[1], 2: output[1], 3: requests[0], 4: replies[1]}
        self.candidate = self._start(streams, self._be_candidate, code)
        self.tester = self._start({0: 0, 3: requests[1], 4: replies[0], 5: verdict[1]}, self._be_tester)
        self.output, self.signed = output[0], verdict[0]
        for fd in (*requests, *replies, output[1], verdict[1]):
            os.close(fd)

    def _start(self, kept: dict[int, int], role, *args) -> int:
        pid = os.fork()
        if pid:
            return pid
        try:
            close_all_but(kept)
            role(*args)
        except BaseException:
            os._exit(_BROKEN)
        os._exit(0)

    def _be_candidate(self, code: bytes) -> None:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        self._confine()
        program = candidate.Candidate(3, 4)
        program.load(code.decode())
        program.serve()

    def _be_tester(self) -> None:
        program = read_exactly(0, self.header["tests_bytes"])
        for fd in (0, 1, 2):
            os.dup2(os.open(os.devnull, os.O_RDWR), fd)
        self._confine()
        tester.main(program, 3, 4, 5)

    def _confine(self) -> None:
        self.hardening.confine(self.header["cpu_seconds"], self.header["memory_mb"] << 20)

    def verdict(self) -> dict:
        """What the tests' process signed, or why there is nothing signed; CPU seconds of both processes."""
        stopped, signed = self._watch()
        program, tests = self._end()
        stopped = stopped or self._too_much()
        if stopped or signed is None:
            report = {"passed": False, "reason": stopped or self._ended("the tests", tests)}
        elif signed["gone"]:
            report = {**signed, "reason": self._ended("the program", program)}
        else:
            report = signed
        cpu_seconds = round(program[1] + tests[1], 4)
        return {**report, "cpu_seconds": cpu_seconds, "stderr_tail": self.tail.decode(errors="replace")}

    def _end(self) -> tuple[tuple[int, float], tuple[int, float]]:
        """End both processes, take the rest of the output; exit status and CPU seconds of each."""
        for pid in (self.candidate, self.tester):
            os.kill(pid, signal.SIGKILL)
        while self._drain():
            pass
        os.close(self.output), os.close(self.signed)
        return _reap(self.candidate), _reap(self.tester)

    def _watch(self) -> tuple[str, dict | None]:
        """Wait for the signed verdict: ("", verdict), or the reason for stopping the program before."""
        started = busy_at = time.monotonic()
        used, waiting = 0.0, [self.output, self.signed]
        while True:
            ready, _, _ = select.select(waiting, [], [], _POLL_SECONDS)
            if self.signed in ready:
                return self._collect()
            if self.output in ready and not self._drain():
                waiting = [self.signed]
            if self._too_much():
                return self._too_much(), None
            now, cpu = time.monotonic(), _cpu_seconds(self.candidate) + _cpu_seconds(self.tester)
            if cpu - used > _WORKING_SECONDS:
                busy_at, used = now, cpu
            if now - busy_at > self.header["idle_seconds"]:
                return "waits for something that never comes", None
            if now - started > self.header["wall_seconds"]:
                return f"not finished after {self.header['wall_seconds']} s by the clock", None

    def _collect(self) -> tuple[str, dict | None]:
        try:
            return "", receive(self.signed)
        except EOFError:
            return "", None

    def _drain(self) -> bool:
        """Take what the program has written, keep the tail; False at the end of the stream."""
        chunk = os.read(self.output, 1 << 16)
        self.written += len(chunk)
        self.tail = (self.tail + chunk)[-TAIL_BYTES:]
        return bool(chunk)

    def _too_much(self) -> str:
        return f"wrote more than {OUTPUT_BYTES >> 20} MB" if self.written > OUTPUT_BYTES else ""

    def _ended(self, who: str, end: tuple[int, float]) -> str:
        status, cpu = end
        limit, ended_by = self.header["cpu_seconds"], os.WTERMSIG(status)
        # A program may ignore SIGXCPU and meets SIGKILL a second later. The kernel counts in ticks: a few per cent off.
        if ended_by == signal.SIGXCPU or (ended_by == signal.SIGKILL and cpu > 0.9 * limit):
            return f"{who} used more than {limit} s of CPU time"
        if ended_by == signal.SIGKILL or os.WEXITSTATUS(status) == _BROKEN:  # whichever came first, ours or its own
            return f"{who} broke off the connection"
        if os.WIFSIGNALED(status):
            return f"{who} died of signal {ended_by}"
        return f"{who} ended before the verdict, with exit code {os.WEXITSTATUS(status)}"


def _cpu_seconds(pid: int) -> float:
    """CPU time of another process so far (its POSIX clock), 0 where the system has no such clock."""
    try:
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:
        return 0.0


def _reap(pid: int) -> tuple[int, float]:
    _, status, usage = os.wait4(pid, 0)
    return status, usage.ru_utime + usage.ru_stime
