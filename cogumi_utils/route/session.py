"""What a session asked last, and what came of it: in SQLite, bounded, gone when the user says so.

A turn that `remember` returned a number for is on disk: killed at any moment after that, the process loses none.
Forgetting overwrites: neither the file nor its log holds a word of the session afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cogumi_utils.data.sqlite import Database
from cogumi_utils.errors import CogumiError

KEPT = 5  # turns of a session
LONGEST = 4000  # characters kept of a query
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

    Threads and processes may share one file.
    """

    def __init__(self, path: Path, *, kept: int = KEPT, most: int = 1_000_000):
        if kept < 1 or most < kept:
            raise CogumiError(
                expected="at least one turn a session, and room for one session",
                found=f"kept={kept}, most={most}",
                why="a memory without room remembers nothing",
                fix=f"leave them out for {KEPT} turns a session and a million in all",
            )
        self.kept, self.most = kept, most
        self._db = Database(path, _SCHEMA, "what sessions asked last")

    def __repr__(self) -> str:
        return f"SessionMemory({str(self._db.path)!r}, kept={self.kept}, most={self.most})"

    def remember(self, session: str, query: str, route: str, confidence: float, success: bool | None = None) -> int:
        """Add a turn and drop what exceeds the bounds; its number, once it is on disk.

        Raises CogumiError for a session without a name and a confidence outside 0 to 1.
        """
        _check(session, confidence)
        row = (session, query[:LONGEST], route, confidence, success)
        with self._db.writing() as db:
            db.execute("INSERT INTO turns(session, query, route, confidence, success) VALUES (?, ?, ?, ?, ?)", row)
            number = db.last_insert_rowid()
            db.execute(
                "DELETE FROM turns WHERE session = ? AND id NOT IN"
                " (SELECT id FROM turns WHERE session = ? ORDER BY id DESC LIMIT ?)",
                (session, session, self.kept),
            )
            db.execute("DELETE FROM turns WHERE id <= ?", (number - self.most,))
        return number

    def judge(self, number: int, success: bool) -> bool:
        """Say later whether a turn's answer served. False where the turn is no longer kept."""
        with self._db.writing() as db:
            db.execute("UPDATE turns SET success = ? WHERE id = ?", (success, number))
            return db.changes() == 1

    def recent(self, session: str) -> list[Turn]:
        """The turns of a session that are kept, oldest first."""
        rows = self._db.connection.execute(
            "SELECT id, query, route, confidence, success FROM turns WHERE session = ? ORDER BY id", (session,)
        )
        return [Turn(*row[:4], None if row[4] is None else bool(row[4])) for row in rows]

    def forget(self, session: str) -> int:
        """Erase a session; the number of turns that were kept."""
        with self._db.writing() as db:
            db.execute("DELETE FROM turns WHERE session = ?", (session,))
            erased = db.changes()
        self._db.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # the log holds old pages
        return erased

    def close(self) -> None:
        """Close this thread's connection; the next use opens another."""
        self._db.close()


def _check(session: str, confidence: float) -> None:
    if not session or not 0 <= confidence <= 1:
        raise CogumiError(
            expected="a session's name and a confidence between 0 and 1",
            found=f"session {session!r}, confidence {confidence!r}",
            why="turns are found by their session, and confidences are features of the next decision",
            fix="pass the session's identifier and the router's probability",
        )
