"""SQLite through `apsw`, set up so that what was committed is on disk: WAL, synchronous FULL."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_random

from cogumi_utils.errors import CogumiError

if TYPE_CHECKING:
    import apsw

BUSY_MILLISECONDS = 60_000  # another process may be writing; give up only when it hangs


class Database:
    """A database file whose `schema` (`CREATE ... IF NOT EXISTS` statements) exists after the first use.

    holds: what would be lost with the file, for messages. busy_milliseconds: that are waited for another's lock.
    """

    def __init__(
        self, path: Path, schema: str, holds: str = "money that was spent and answers that were paid for",
        busy_milliseconds: int = BUSY_MILLISECONDS,
    ):  # fmt: skip
        self.path, self._schema, self._holds, self._busy = Path(path), schema, holds, busy_milliseconds
        self._here = threading.local()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.path)!r})"

    @property
    def connection(self) -> apsw.Connection:
        """This thread's connection, opened at first use; a forked process opens its own."""
        if getattr(self._here, "pid", None) != os.getpid():
            self._here.connection, self._here.pid = self._open(), os.getpid()
        return self._here.connection

    @contextmanager
    def writing(self) -> Iterator[apsw.Connection]:
        """One transaction that holds the write lock from its first statement; rolled back on any error."""
        import apsw

        connection = self.connection
        try:
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")
        except (apsw.FullError, apsw.IOError, apsw.ReadOnlyError) as error:
            raise self._unusable("a disk that can be written to, with space left", error) from None
        finally:
            if connection.in_transaction:  # SQLite itself has rolled back after some errors
                connection.execute("ROLLBACK")

    def close(self) -> None:
        """Close this thread's connection; the next use opens another."""
        if getattr(self._here, "pid", None) == os.getpid():
            self._here.connection.close()
        self._here.pid = None

    def _open(self) -> apsw.Connection:
        import apsw

        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            connection = apsw.Connection(str(self.path))
            connection.set_busy_timeout(self._busy)
            for attempt in _while_busy(self._busy):
                with attempt:
                    connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute(self._schema).fetchall()  # a pragma's answer stops what follows it until it is read
        except (apsw.NotADBError, apsw.CorruptError, apsw.CantOpenError) as error:
            raise self._unusable("a SQLite database, or no file yet", error) from None
        return connection

    def _unusable(self, expected: str, error: Exception) -> CogumiError:
        return CogumiError(
            expected=f"{expected}, at {self.path}",
            found=str(error),
            why=f"{self._holds} are recorded there",
            fix="free the disk or restore the file from a copy; move the file away only to begin with an empty one",
        )


def _while_busy(milliseconds: int) -> Retrying:
    """Tries again while another connection turns the new file to WAL: SQLite answers BUSY there without waiting."""
    import apsw

    return Retrying(
        retry=retry_if_exception_type(apsw.BusyError),
        wait=wait_random(0.001, 0.01),
        stop=stop_after_delay(milliseconds / 1000),
        reraise=True,
    )
