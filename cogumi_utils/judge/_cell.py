"""One running sandbox as the judge sees it: programs go in, signed verdicts come out."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import select
import signal
import subprocess
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from cogumi_utils.errors import CogumiError
from cogumi_utils.judge import _backends
from cogumi_utils.judge.inside import codec

_START_SECONDS, _GRACE_SECONDS, _STOP_SECONDS = 60.0, 60.0, 5.0
_WALL_FACTOR = 30


@dataclass(frozen=True, slots=True)
class Limits:
    cpu_seconds: int
    memory_mb: int
    idle_seconds: float

    @property
    def wall_seconds(self) -> int:
        """The backstop for programs that sleep a little, work a little, and so stay under every other limit."""
        return _WALL_FACTOR * self.cpu_seconds


class _Lost(Exception):
    """The sandbox as a whole ended or fell silent."""


class Cell:
    """Started when first needed, and again after a program has used it up (it wrote files) or broken it."""

    def __init__(self, backend: str, limits: Limits):
        self._backend, self._limits = backend, limits
        self._process: subprocess.Popen | None = None

    def __enter__(self) -> Cell:
        return self

    def __exit__(self, *_) -> None:
        self._stop()

    def judge(self, code: str, tests: str, entry_point: str) -> dict:
        """{"passed", "reason", "cpu_seconds", "stderr_tail"}; CogumiError if no sandbox can be started."""
        for _ in range(2):  # a sandbox lost through no fault of the program must not decide its verdict
            try:
                return self._ask(code, tests, entry_point)
            except _Lost:
                self._stop()
        return {"passed": False, "reason": "the program ended its sandbox", "cpu_seconds": 0.0, "stderr_tail": ""}

    def _ask(self, code: str, tests: str, entry_point: str) -> dict:
        nonce = secrets.token_hex(16)
        source = code.encode(errors="replace")
        signed = json.dumps({"tests": tests, "entry_point": entry_point, "nonce": nonce}).encode()
        header = {"code_bytes": len(source), "tests_bytes": len(signed), "wall_seconds": self._limits.wall_seconds}
        report = self._exchange({**header, **asdict(self._limits)}, source + signed)
        genuine = secrets.compare_digest(str(report.get("nonce")).encode(), nonce.encode())
        return {**report, "passed": report["passed"] is True and genuine}

    def _exchange(self, header: dict, body: bytes) -> dict:
        if self._process is None:
            self._start()
        try:
            codec.send(self._process.stdin.fileno(), header)
            codec.write_all(self._process.stdin.fileno(), body)
        except OSError:
            raise _Lost from None
        report = self._receive(self._limits.wall_seconds + _GRACE_SECONDS)
        if report["retired"]:
            self._stop()
        return report

    def _receive(self, seconds: float) -> dict:
        stream = self._process.stdout.fileno()
        try:
            if not select.select([stream], [], [], seconds)[0]:
                raise _Lost
            return codec.receive(stream)
        except (EOFError, ValueError):
            raise _Lost from None

    def _start(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="cogumi-sandbox-", ignore_cleanup_errors=True)
        self._log = tempfile.TemporaryFile()
        command = _backends.BACKENDS[self._backend](Path(self._folder.name))
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=self._log, start_new_session=True, bufsize=0
        )
        try:
            self._receive(_START_SECONDS)
        except _Lost:
            raise self._did_not_start() from None

    def _did_not_start(self) -> CogumiError:
        self._process.kill()
        self._log.seek(0)
        words = self._log.read().decode(errors="replace").strip().splitlines()[-1:] or ["no message"]
        self._stop()
        return CogumiError(
            expected=f"a {self._backend} sandbox that starts",
            found=words[0],
            why="model-written code is never run outside a sandbox",
            fix="allow user namespaces (bubblewrap) or Landlock (sandlock) on this machine, or install the other one",
        )

    def _stop(self) -> None:
        if self._process is None:
            return
        self._process.stdin.close()  # the supervisor leaves when there is nothing more to read
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._process.stdout.close()
        self._process = None
        self._log.close()
        self._folder.cleanup()
