"""What a session asked last, and what came of it: in SQLite, bounded, gone when the user says so.

A turn that `remember` returned a number for is on disk: killed at any moment after that, the process loses none.
Forgetting overwrites: neither the file nor its log holds a word of the session afterwards. A database that is locked,
read-only or damaged is a CogumiError and stays as it is; `recall` decides without it.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cogumi_utils.data.sqlite import Database
from cogumi_utils.errors import CogumiError

if TYPE_CHECKING:
    import apsw
    import numpy as np

KEPT = 5  # turns of a session
LONGEST = 4000  # characters kept of a query
PATIENCE_S = 5.0  # for another process that is writing: a user is waiting for the route
_SCHEMA = """
PRAGMA secure_delete = ON;
CREATE TABLE IF NOT EXISTS turns(
  id INTEGER PRIMARY KEY AUTOINCREMENT, session TEXT NOT NULL, query TEXT NOT NULL, route TEXT NOT NULL,
  confidence REAL NOT NULL, success INTEGER);
CREATE INDEX IF NOT EXISTS of_session ON turns(session, id);
"""


@dataclass(frozen=True, slots=True)
class Turn:
    """number: for `judge`. confidence: of the route, 0 to 1. success: whether the answer served; None while unknown."""

    number: int
    query: str
    route: str
    confidence: float
    success: bool | None


class SessionMemory:
    """The last `kept` turns of each session, at most `most` turns of all sessions: the oldest go first.

    Threads and processes may share one file. patience_s: how long a write waits for another process that is writing.
    """

    def __init__(self, path: Path, *, kept: int = KEPT, most: int = 1_000_000, patience_s: float = PATIENCE_S):
        if kept < 1 or most < kept:
            raise CogumiError(
                expected="at least one turn a session, and room for one session",
                found=f"kept={kept}, most={most}",
                why="a memory without room remembers nothing",
                fix=f"leave them out for {KEPT} turns a session and a million in all",
            )
        self.kept, self.most, self.patience_s = kept, most, patience_s
        self._db = Database(path, _SCHEMA, "what sessions asked last", round(1000 * patience_s))

    def __repr__(self) -> str:
        return f"SessionMemory({str(self._db.path)!r}, kept={self.kept}, most={self.most})"

    def remember(self, session: str, query: str, route: str, confidence: float, success: bool | None = None) -> int:
        """Add a turn and drop what exceeds the bounds; its number, once it is on disk.

        Raises CogumiError for a session without a name, a confidence outside 0 to 1, and where nothing can be written:
        then nothing is recorded.
        """
        _check(session, confidence)
        known = None if success is None else bool(success)
        row = (_storable(session), _storable(query[:LONGEST]), str(route), float(confidence), known)
        with self._writing() as db:
            db.execute("INSERT INTO turns(session, query, route, confidence, success) VALUES (?, ?, ?, ?, ?)", row)
            number = db.last_insert_rowid()
            db.execute(
                "DELETE FROM turns WHERE session = ? AND id NOT IN"
                " (SELECT id FROM turns WHERE session = ? ORDER BY id DESC LIMIT ?)",
                (row[0], row[0], self.kept),
            )
            db.execute("DELETE FROM turns WHERE id <= ?", (number - self.most,))
        return number

    def judge(self, number: int, success: bool) -> bool:
        """Say later whether a turn's answer served. False where the turn is no longer kept."""
        with self._writing() as db:
            db.execute("UPDATE turns SET success = ? WHERE id = ?", (bool(success), number))
            return db.changes() == 1

    def recent(self, session: str) -> list[Turn]:
        """The turns of a session that are kept, oldest first."""
        with self._spoken():
            rows = self._connection().execute(
                "SELECT id, query, route, confidence, success FROM turns WHERE session = ? ORDER BY id",
                (_storable(session),),
            )
            return [Turn(*row[:4], None if row[4] is None else bool(row[4])) for row in rows]

    def recall(self, session: str) -> tuple[list[Turn], CogumiError | None]:
        """`recent`, or no turns and why: a query is routed without its past rather than not at all."""
        try:
            return self.recent(session), None
        except CogumiError as error:
            return [], error

    def forget(self, session: str) -> int:
        """Erase a session; the number of turns that were kept.

        Raises CogumiError where a reader keeps the log from being emptied: the turns are gone, their words not yet.
        """
        with self._writing() as db:
            db.execute("DELETE FROM turns WHERE session = ?", (_storable(session),))
            erased = db.changes()
        with self._spoken():
            held, *_ = next(self._connection().execute("PRAGMA wal_checkpoint(TRUNCATE)"))  # the log holds old pages
        if held:
            raise self._refused("a reader holds the log, which still has old pages", "forget it again")
        return erased

    def close(self) -> None:
        """Close this thread's connection; the next use opens another."""
        self._db.close()

    def _connection(self) -> apsw.Connection:
        connection = self._db.connection
        connection.set_busy_handler(_waiting(self.patience_s))
        return connection

    @contextmanager
    def _writing(self) -> Iterator[apsw.Connection]:
        with self._spoken():
            self._connection()
            with self._db.writing() as db:
                yield db

    @contextmanager
    def _spoken(self) -> Iterator[None]:
        """SQLite's errors as CogumiErrors."""
        import apsw

        try:
            yield
        except (apsw.BusyError, apsw.LockedError) as error:
            raise self._refused(f"it is locked: {error}", "end the process that holds it, or try again") from None
        except apsw.ReadOnlyError as error:
            raise self._refused(
                f"it is read-only: {error}", "give the server write access to the file and its folder"
            ) from None
        except (apsw.Error, OSError) as error:
            raise self._refused(
                f"{type(error).__name__}: {error}",
                "restore it from a copy, or move it away to begin with an empty one",
            ) from None

    def _refused(self, found: str, fix: str) -> CogumiError:
        return CogumiError(
            expected=f"a database that can be read and written, at {self._db.path}",
            found=found,
            why="what sessions asked last is recorded there",
            fix=fix,
        )


def features(turns: Sequence[Turn], routes: Sequence[str], kept: int = KEPT) -> np.ndarray:
    """A session's past as numbers for the next decision, float [2 * routes + 3], all 0 for a session without a past.

    For each route the share of the turns that it answered and that did not fail, then for each the share that failed;
    mean confidence; share of successes among the turns whose success is known; turns kept, as a share of `kept`.
    Routes that are not among `routes` (an older router's) count for the last three alone.
    """
    import numpy as np

    found, number = np.zeros(2 * len(routes) + 3), {name: i for i, name in enumerate(routes)}
    if not turns:
        return found
    for turn in turns:
        if turn.route in number:
            found[number[turn.route] + (len(routes) if turn.success is False else 0)] += 1 / len(turns)
    known = [turn.success for turn in turns if turn.success is not None]
    confidence = sum(turn.confidence for turn in turns) / len(turns)
    found[-3:] = confidence, sum(known) / len(known) if known else 0.0, min(1.0, len(turns) / kept)
    return found


def _waiting(patience_s: float) -> Callable[[int], bool]:
    """Ask for the lock every millisecond or so. SQLite's own waiting sleeps for up to 100 ms at a time, and meanwhile a
    process that writes without a pause takes the lock again and again."""
    start = 0.0

    def again(tries: int) -> bool:
        nonlocal start
        start = start if tries else time.monotonic()
        time.sleep(random.uniform(0.0002, 0.001))
        return time.monotonic() - start < patience_s

    return again


def _storable(text: str) -> str:
    """Without halves of surrogate pairs, which no file can hold."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _check(session: str, confidence: float) -> None:
    if not session or not 0 <= confidence <= 1:
        raise CogumiError(
            expected="a session's name and a confidence between 0 and 1",
            found=f"session {session!r}, confidence {confidence!r}",
            why="turns are found by their session, and confidences are features of the next decision",
            fix="pass the session's identifier and the router's probability",
        )
