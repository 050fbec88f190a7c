"""What teachers cost: prices, and a ledger that reserves money before a call and settles after it.

Amounts are whole picodollars (1e-12 $) inside, so that sums are exact; dollars outside.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from pathlib import Path

from cogumi_utils.data.sqlite import Database
from cogumi_utils.errors import CogumiError

PICO = 10**12
_SCHEMA = """
CREATE TABLE IF NOT EXISTS totals(
  one INTEGER PRIMARY KEY CHECK (one = 1), reserved INTEGER NOT NULL CHECK (reserved >= 0), spent INTEGER NOT NULL);
INSERT OR IGNORE INTO totals VALUES (1, 0, 0);
CREATE TABLE IF NOT EXISTS calls(
  id INTEGER PRIMARY KEY, request TEXT NOT NULL, model TEXT NOT NULL, state TEXT NOT NULL, reserved INTEGER NOT NULL,
  spent INTEGER NOT NULL DEFAULT 0, opened TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP, closed TEXT);
"""


class SpendingLimitReached(CogumiError):
    """The next call could cost more than is left. `answers`: what was answered so far, in the order of the requests."""

    answers: list


class UnknownPrice(CogumiError):
    """No price is known for a model, so no limit could be kept."""


@dataclass(frozen=True, slots=True)
class Price:
    """Dollars for a million tokens in and out. 0 for an endpoint of one's own."""

    usd_per_million_in: float
    usd_per_million_out: float

    def __post_init__(self):
        for value in (self.usd_per_million_in, self.usd_per_million_out):
            if not (isinstance(value, int | float) and math.isfinite(value) and value >= 0):
                raise CogumiError(
                    expected="a price of 0 dollars or more for a million tokens",
                    found=repr(value),
                    why="the spending limit is kept by it",
                    fix="write for example Price(usd_per_million_in=0.15, usd_per_million_out=0.60)",
                )

    def cost_pico(self, tokens_in: int, tokens_out: int) -> int:
        """Picodollars, rounded up: a dollar a million tokens is 1e6 picodollars a token."""
        dollars = (
            Decimal(str(self.usd_per_million_in)) * tokens_in + Decimal(str(self.usd_per_million_out)) * tokens_out
        )
        return int((dollars * 10**6).to_integral_value(ROUND_CEILING))


def price_of(model: str, prices: Mapping[str, Price]) -> Price:
    """The price of `model`. Raises UnknownPrice: a guessed price would make the limit a guess."""
    if model not in prices:
        raise UnknownPrice(
            expected=f"a price for the model {model}",
            found=f"prices for {', '.join(sorted(prices)) or 'no model'}",
            why="a spending limit cannot be kept for calls whose price is unknown",
            fix=f"pass prices={{{model!r}: Price(usd_per_million_in=..., usd_per_million_out=...)}}, 0 for your own",
        )
    return prices[model]


def to_pico(usd: float) -> int:
    """Dollars → whole picodollars, rounded down: a limit is never raised by rounding."""
    return int((Decimal(str(usd)) * PICO).to_integral_value(ROUND_FLOOR))


class Ledger:
    """A hard spending limit over everything recorded in one file, also by other threads and processes.

    A call is `open` from its reservation on and counts in full until it is closed: `paid` with its real cost, `free`,
    or `uncertain` with the whole reservation. A process that dies in between leaves the call open, that is counted.
    """

    def __init__(self, path: Path, limit_usd: float):
        if not (isinstance(limit_usd, int | float) and math.isfinite(limit_usd) and limit_usd >= 0):
            raise CogumiError(
                expected="a spending limit of 0 dollars or more",
                found=repr(limit_usd),
                why="calls are made only as long as they fit under it",
                fix="pass limit_usd=, for example 5.00",
            )
        self.limit_usd = limit_usd
        self._limit = to_pico(limit_usd)
        self._db = Database(path, _SCHEMA)

    def __repr__(self) -> str:
        return f"Ledger({str(self._db.path)!r}, limit_usd={self.limit_usd})"

    def reserve(self, request: str, model: str, amount: int) -> int:
        """Set `amount` picodollars aside for a call; its number. Raises SpendingLimitReached and changes nothing.

        One guarded UPDATE decides, so that no two callers can both take the last cents.
        """
        with self._db.writing() as db:
            db.execute(
                "UPDATE totals SET reserved = reserved + :amount WHERE spent + reserved + :amount <= :limit",
                {"amount": amount, "limit": self._limit},
            )
            if db.changes() == 0:
                raise self._reached(amount)
            db.execute(
                "INSERT INTO calls(request, model, state, reserved) VALUES (?, ?, 'open', ?)", (request, model, amount)
            )
            return db.last_insert_rowid()

    def pay(self, call: int, amount: int) -> None:
        """Close a call that was answered: its real cost takes the place of what was reserved."""
        self._close(call, "paid", amount)

    def free(self, call: int) -> None:
        """Close a call that cost nothing: it never left, or the endpoint refused it."""
        self._close(call, "free", 0)

    def uncertain(self, call: int) -> None:
        """Close a call whose answer never came: it may have been charged, so all of it counts."""
        self._close(call, "uncertain", None)

    def _close(self, call: int, state: str, amount: int | None) -> None:
        with self._db.writing() as db:
            db.execute(
                "UPDATE calls SET state = :state, spent = coalesce(:amount, reserved), closed = CURRENT_TIMESTAMP "
                "WHERE id = :call AND state = 'open'",
                {"state": state, "amount": amount, "call": call},
            )
            if db.changes() == 1:  # a call is settled once, whoever settles it
                db.execute(
                    "UPDATE totals SET (reserved, spent) = "
                    "(SELECT totals.reserved - calls.reserved, totals.spent + calls.spent FROM calls WHERE id = ?)",
                    (call,),
                )

    def totals(self) -> dict[str, float]:
        """Dollars: limit_usd, spent_usd (settled), open_usd (reserved, not settled), uncertain_usd, left_usd."""
        reserved, spent = next(self._db.connection.execute("SELECT reserved, spent FROM totals"))
        (uncertain,) = next(
            self._db.connection.execute("SELECT coalesce(sum(spent), 0) FROM calls WHERE state = 'uncertain'")
        )
        left = max(0, self._limit - spent - reserved)
        amounts = {"spent": spent, "open": reserved, "uncertain": uncertain, "left": left}
        return {"limit_usd": self.limit_usd, **{f"{name}_usd": amount / PICO for name, amount in amounts.items()}}

    def count(self) -> dict[str, int]:
        """Number of calls by state."""
        return dict(self._db.connection.execute("SELECT state, count(*) FROM calls GROUP BY state ORDER BY state"))

    def _reached(self, amount: int) -> SpendingLimitReached:
        now = self.totals()
        error = SpendingLimitReached(
            expected=f"at least ${amount / PICO:.6f} left for the next call at its worst",
            found=f"${now['left_usd']:.6f} of ${self.limit_usd} left (${now['spent_usd']:.6f} spent, "
            f"${now['open_usd']:.6f} reserved by calls that are not settled)",
            why="a call is made only if it cannot exceed the limit",
            fix="raise the limit and run again: what was answered is kept and is not paid for twice",
        )
        error.answers = []
        return error
