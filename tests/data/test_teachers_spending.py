"""The ledger never lets more be spent than its limit: threads, processes, crashes, and exact sums."""

from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cogumi_utils.data.spending import PICO, Ledger, Price, SpendingLimitReached, UnknownPrice, price_of, to_pico
from cogumi_utils.errors import CogumiError

CENT = to_pico(0.01)


def test_prices_give_exact_costs_rounded_up():
    price = Price(usd_per_million_in=0.15, usd_per_million_out=0.6)
    assert price.cost_pico(1, 0) == 150_000 and price.cost_pico(0, 1) == 600_000
    assert price.cost_pico(1_000_000, 1_000_000) == 750_000_000_000  # 0.75 dollars
    assert Price(0.000_000_15, 0).cost_pico(1, 0) == 1  # less than a picodollar still costs one
    assert Price(0, 0).cost_pico(10**9, 10**9) == 0


@given(
    st.decimals(0, 1000, places=6), st.decimals(0, 1000, places=6),
    st.integers(0, 10**7), st.integers(0, 10**7),
)  # fmt: skip
def test_a_cost_is_never_below_the_exact_fraction(usd_in, usd_out, tokens_in, tokens_out):
    exact = (Fraction(usd_in) * tokens_in + Fraction(usd_out) * tokens_out) * PICO / 10**6
    cost = Price(float(usd_in), float(usd_out)).cost_pico(tokens_in, tokens_out)
    assert exact <= cost < exact + 1


@pytest.mark.parametrize("bad", [-1, float("nan"), float("inf"), "0.1", None])
def test_a_price_or_limit_that_is_no_amount_is_refused(tmp_path, bad):
    with pytest.raises(CogumiError, match="0 dollars or more"):
        Price(bad, 0)
    with pytest.raises(CogumiError, match="0 dollars or more"):
        Ledger(tmp_path / "l.sqlite", bad)


def test_a_model_without_a_price_is_refused():
    with pytest.raises(UnknownPrice) as caught:
        price_of("new-model", {"old-model": Price(1, 2)})
    assert "new-model" in caught.value.fix and "old-model" in caught.value.found


def test_a_call_is_reserved_in_full_and_settled_once(tmp_path):
    ledger = Ledger(tmp_path / "l.sqlite", 0.10)
    call = ledger.reserve("r", "m", 6 * CENT)
    assert ledger.totals()["open_usd"] == 0.06 and ledger.totals()["left_usd"] == 0.04
    with pytest.raises(SpendingLimitReached):
        ledger.reserve("r", "m", 5 * CENT)
    ledger.pay(call, 2 * CENT)
    ledger.pay(call, 9 * CENT)  # a second settlement changes nothing, whoever makes it
    ledger.free(call)
    ledger.uncertain(call)
    assert ledger.totals() == {
        "limit_usd": 0.10, "spent_usd": 0.02, "open_usd": 0.0, "uncertain_usd": 0.0, "left_usd": 0.08,
    }  # fmt: skip
    ledger.uncertain(ledger.reserve("r", "m", 5 * CENT))
    ledger.free(ledger.reserve("r", "m", 3 * CENT))
    assert ledger.totals()["uncertain_usd"] == 0.05 and ledger.totals()["left_usd"] == 0.03
    assert ledger.count() == {"free": 1, "paid": 1, "uncertain": 1}


def test_the_limit_can_be_met_to_the_last_picodollar_and_not_passed(tmp_path):
    ledger = Ledger(tmp_path / "l.sqlite", 0.01)
    ledger.reserve("r", "m", CENT - 1)
    ledger.reserve("r", "m", 1)
    with pytest.raises(SpendingLimitReached, match=r"\$0\.000000 of \$0\.01 left") as caught:
        ledger.reserve("r", "m", 1)
    assert "raise the limit and run again" in caught.value.fix


def test_a_real_cost_above_the_reservation_is_recorded_and_ends_spending(tmp_path):
    ledger = Ledger(tmp_path / "l.sqlite", 0.02)
    ledger.pay(ledger.reserve("r", "m", CENT), 3 * CENT)
    assert ledger.totals()["spent_usd"] == 0.03 and ledger.totals()["left_usd"] == 0
    with pytest.raises(SpendingLimitReached):
        ledger.reserve("r", "m", 1)


def test_what_earlier_runs_spent_counts_under_a_new_limit(tmp_path):
    first = Ledger(tmp_path / "l.sqlite", 0.02)
    first.pay(first.reserve("r", "m", 2 * CENT), 2 * CENT)
    with pytest.raises(SpendingLimitReached):
        Ledger(tmp_path / "l.sqlite", 0.02).reserve("r", "m", 1)
    Ledger(tmp_path / "l.sqlite", 0.03).reserve("r", "m", CENT)


def test_eight_threads_racing_for_the_last_cents_never_pass_the_limit(tmp_path):
    ledger = Ledger(tmp_path / "l.sqlite", 1.00)
    start = threading.Barrier(8)

    def race(seed: int) -> int:
        taken = 0
        start.wait()
        for i in range(60):
            try:
                call = ledger.reserve(f"{seed}/{i}", "m", (seed + 1) * CENT)
            except SpendingLimitReached:
                continue
            taken += (seed + 1) * CENT
            if i % 3 == 0:  # some come back, so that the race goes on at the limit
                ledger.free(call)
                taken -= (seed + 1) * CENT
        return taken

    with ThreadPoolExecutor(8) as pool:
        taken = sum(pool.map(race, range(8)))
    assert taken / PICO == ledger.totals()["open_usd"] <= 1.00
    with pytest.raises(SpendingLimitReached):
        for _ in range(101):
            ledger.reserve("rest", "m", CENT)
    assert ledger.totals()["open_usd"] == 1.00  # nothing was lost in the race either


def test_a_new_file_is_opened_by_many_threads_at_once(tmp_path):
    start = threading.Barrier(8)

    def first_use(ledger: Ledger) -> int:
        start.wait()
        return ledger.reserve("r", "m", CENT)

    with ThreadPoolExecutor(8) as pool:
        for i in range(60):  # one file meets the race now and then only
            ledger = Ledger(tmp_path / f"{i}.sqlite", 1.00)
            assert len(set(pool.map(first_use, [ledger] * 8))) == 8


RACER = """
import sys
from pathlib import Path
from cogumi_utils.data.spending import Ledger, SpendingLimitReached
ledger, taken = Ledger(Path(sys.argv[1]), 0.5), 0
try:
    while True:
        ledger.reserve("r", "m", 7_000_000_000)
        taken += 1
except SpendingLimitReached:
    print(taken)
"""


def test_processes_share_one_limit(tmp_path):
    racers = [
        subprocess.Popen([sys.executable, "-c", RACER, str(tmp_path / "l.sqlite")], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    assert sum(int(racer.communicate(timeout=120)[0]) for racer in racers) == 71  # 71 times 0.007 dollars fit into 0.5


def test_a_process_killed_between_reserving_and_settling_leaves_its_reservation_counted(tmp_path):
    script = """
import os, signal, sys
from pathlib import Path
from cogumi_utils.data.spending import Ledger
ledger = Ledger(Path(sys.argv[1]), 0.05)
ledger.pay(ledger.reserve("first", "m", 10_000_000_000), 4_000_000_000)
ledger.reserve("second", "m", 30_000_000_000)
os.kill(os.getpid(), signal.SIGKILL)
"""
    killed = subprocess.run([sys.executable, "-c", script, str(tmp_path / "l.sqlite")], timeout=60)
    assert killed.returncode == -9
    ledger = Ledger(tmp_path / "l.sqlite", 0.05)
    assert ledger.totals()["spent_usd"] == 0.004 and ledger.totals()["open_usd"] == 0.03
    assert ledger.count() == {"open": 1, "paid": 1}
    with pytest.raises(SpendingLimitReached, match="reserved by calls that are not settled"):
        ledger.reserve("third", "m", to_pico(0.017))
    ledger.reserve("third", "m", to_pico(0.016))


STEPS = st.tuples(st.sampled_from(["reserve", "pay", "free", "uncertain", "reopen"]), st.integers(0, 40))


@settings(max_examples=25, deadline=None)
@given(st.lists(STEPS, max_size=40))
def test_whatever_happens_the_totals_are_the_sums_over_the_calls(tmp_path_factory, steps):
    path = tmp_path_factory.mktemp("ledger") / "l.sqlite"
    limit, ledger, calls = 100, Ledger(path, 100 / PICO), []
    assert ledger.count() == {}
    for step, amount in steps:
        if step == "reopen":
            ledger = Ledger(path, 100 / PICO)
        elif step == "reserve":
            try:
                calls.append((ledger.reserve("r", "m", amount), amount))
            except SpendingLimitReached:
                pass
        elif calls:
            call, reserved = calls[amount % len(calls)]
            getattr(ledger, step)(call, *([min(amount, reserved)] if step == "pay" else []))
        reserved, spent = next(apsw.Connection(str(path)).execute("SELECT reserved, spent FROM totals"))
        by_call = "SELECT coalesce(sum(reserved) FILTER (WHERE state = 'open'), 0), coalesce(sum(spent), 0) FROM calls"
        assert (reserved, spent) == next(apsw.Connection(str(path)).execute(by_call))
        assert reserved + spent <= limit


def test_a_file_that_is_no_database_is_refused_in_four_parts(tmp_path):
    (tmp_path / "l.sqlite").write_text("this is not a database, and long enough to be taken for one" * 20)
    with pytest.raises(CogumiError) as caught:
        Ledger(tmp_path / "l.sqlite", 1).reserve("r", "m", 1)
    assert "l.sqlite" in caught.value.expected and "restore the file" in caught.value.fix


def test_a_full_disk_is_an_error_and_loses_nothing(tmp_path):
    ledger = Ledger(tmp_path / "l.sqlite", 1)
    ledger.reserve("kept", "m", CENT)
    pages = next(ledger._db.connection.execute("PRAGMA page_count"))[0]
    ledger._db.connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(CogumiError, match="space left"):
        for _ in range(1000):
            ledger.reserve("x" * 1000, "m", 1)
    again = Ledger(tmp_path / "l.sqlite", 1)
    counted = next(apsw.Connection(str(tmp_path / "l.sqlite")).execute("SELECT count(*), sum(reserved) FROM calls"))
    assert counted[0] >= 1 and again.totals()["open_usd"] == counted[1] / PICO
