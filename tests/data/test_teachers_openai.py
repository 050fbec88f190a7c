"""The OpenAI-compatible teacher against a real HTTP server on loopback that answers well, badly, late or not at all."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from loopback_endpoint import Reply, completion, echo, endpoint, error

from cogumi_utils.data.openai_teacher import EndpointRefused, OpenAITeacher
from cogumi_utils.data.spending import Price, SpendingLimitReached, UnknownPrice
from cogumi_utils.data.teachers import TeacherRequest
from cogumi_utils.errors import CogumiError
from cogumi_utils.schema import Example

KEY = "sk-test-9f8e7d6c5b4a39281706"
SOON = {"retry_after_ms": "5"}  # so that the SDK's own backoff of half a second and more is not waited for


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("TEACHER_KEY", KEY)


def teacher(base_url: str, folder: Path, **options) -> OpenAITeacher:
    usual = {
        "prices": {"m": Price(1.0, 2.0)}, "limit_usd": 1.0, "folder": folder, "api_key_env": "TEACHER_KEY",
        "timeout_seconds": 10.0, "max_retries": 3, "concurrency": 4,
    }  # fmt: skip
    return OpenAITeacher("m", base_url=base_url, **usual | options)


def ask(*texts: str, **options) -> list[TeacherRequest]:
    return [TeacherRequest([{"role": "user", "content": text}], **{"max_tokens": 20} | options) for text in texts]


# --- answers, cache, prices


def test_answers_come_in_order_with_their_tokens_and_costs(tmp_path):
    with endpoint() as server:
        here = teacher(server.base_url, tmp_path)
        answers = here.answer(ask("a", "b", "c"))
    assert [answer.text for answer in answers] == ["echo a", "echo b", "echo c"]
    assert {(a.teacher, a.tokens_in, a.tokens_out, a.cost_usd, a.cached, a.error) for a in answers} == {
        ("m", 10, 5, 0.00002, False, "")
    }
    assert here.ledger.totals()["spent_usd"] == 0.00006 and here.ledger.count() == {"paid": 3}
    assert sorted(server.bodies, key=str)[0] == {
        "model": "m", "messages": [{"role": "user", "content": "a"}], "max_completion_tokens": 20, "temperature": 0.0,
    }  # fmt: skip
    assert set(server.keys) == {f"Bearer {KEY}"}


def test_an_answer_is_paid_for_once_also_in_the_next_run(tmp_path):
    with endpoint() as server:
        first = teacher(server.base_url, tmp_path).answer(ask("a", "b", "a"))
        assert [answer.cached for answer in first] == [False, False, True] and len(server.bodies) == 2
        again = teacher(server.base_url, tmp_path)
        second = again.answer(ask("b", "a"))
        assert len(server.bodies) == 2
    assert [(a.text, a.cached, a.cost_usd, a.tokens_out) for a in second] == [
        ("echo b", True, 0, 5),
        ("echo a", True, 0, 5),
    ]
    assert again.ledger.totals()["spent_usd"] == 0.00004


def test_cached_answers_need_neither_key_nor_endpoint(tmp_path, monkeypatch):
    with endpoint() as server:
        teacher(server.base_url, tmp_path).answer(ask("a"))
    monkeypatch.delenv("TEACHER_KEY")
    (answer,) = teacher(server.base_url, tmp_path, limit_usd=0).answer(ask("a"))
    assert answer.text == "echo a"


def test_everything_that_decides_an_answer_is_part_of_its_key(tmp_path):
    example = Example("code", "s", [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}])
    with endpoint() as server, endpoint() as other:
        here = teacher(server.base_url, tmp_path)
        here.answer(ask("a"))
        here.answer([TeacherRequest.of(example, max_tokens=20)])  # who asks and why makes no difference
        assert len(server.bodies) == 1
        for options in ({"temperature": 0.7}, {"temperature": None}, {"max_tokens": 21}, {"sample": 1}):
            here.answer(ask("a", **options))
        teacher(server.base_url, tmp_path, body={"top_p": 0.9}).answer(ask("a"))
        teacher(server.base_url, tmp_path, token_limit_field="max_tokens").answer(ask("a"))
        assert len(server.bodies) == 7
        teacher(other.base_url, tmp_path).answer(ask("a"))
        assert len(other.bodies) == 1
    assert server.bodies[2].keys() == {"model", "messages", "max_completion_tokens"}
    assert server.bodies[5]["top_p"] == 0.9 and server.bodies[6]["max_tokens"] == 20


@pytest.mark.parametrize("usage", [None, {}, {"prompt_tokens": -9, "completion_tokens": 5}, {"prompt_tokens": "many"},
                                   {"prompt_tokens": 0, "completion_tokens": 0},
                                   {"prompt_tokens": 10, "completion_tokens": 0}])  # fmt: skip
def test_an_answer_without_believable_usage_costs_all_that_was_reserved(tmp_path, usage):
    with endpoint(lambda body, before: completion("text", usage=usage)) as server:
        here = teacher(server.base_url, tmp_path)
        (answer,) = here.answer(ask("a"))
    assert answer.text == "text" and answer.error == ""
    assert answer.cost_usd == here.ledger.totals()["spent_usd"] == here._worst_pico(ask("a")[0]) / 10**12 > 0.0005


def test_an_answer_without_text_is_paid_for_kept_and_marked(tmp_path):
    choice = {"index": 0, "message": {"role": "assistant", "content": None}, "finish_reason": "content_filter"}
    with endpoint(lambda body, before: completion("", choices=[choice])) as server:
        here = teacher(server.base_url, tmp_path)
        assert [here.answer(ask("a"))[0].error for _ in range(2)] == ["no text (finish reason content_filter)"] * 2
        assert len(server.bodies) == 1


def test_text_that_is_not_quite_unicode_survives(tmp_path):
    with endpoint(lambda body, before: completion("a \ud800 b — 数")) as server:
        here = teacher(server.base_url, tmp_path)
        texts = [here.answer(ask("say \udcff"))[0].text for _ in range(2)]
    assert texts == ["a ? b — 数"] * 2


# --- failures on the way


BAD = {
    "busy": error(429, "slow down", **SOON),
    "oops": error(500, "oops", **SOON),
    "away": error(503, "maintenance", **SOON),
    "half JSON": Reply(body=b'{"choices": ['),
    "HTML": Reply(body=b"<html>"),
    "a list": Reply(body=b"[]"),
    "no choices": Reply(body=b'{"choices": []}'),
    "cut": Reply(body=completion("x" * 200).body, drop_after=50),
    "gateway": Reply(502, b"<html>bad gateway</html>", SOON),
}


def test_refusals_garbage_and_broken_answers_are_asked_again(tmp_path):
    def behaviour(body, before):
        text = body["messages"][0]["content"]
        first = sum(earlier["messages"][0]["content"] == text for earlier in server.bodies) == 1
        return BAD[text] if first else echo(body, before)

    with endpoint(behaviour) as server:
        here = teacher(server.base_url, tmp_path, concurrency=9)
        answers = here.answer(ask(*BAD))
    assert [answer.text for answer in answers] == [f"echo {text}" for text in BAD] and len(server.bodies) == 2 * len(
        BAD
    )
    assert here.ledger.count() == {"free": 3, "paid": 9, "uncertain": 6}  # what may have been charged counts in full
    doubtful = ("half JSON", "HTML", "a list", "no choices", "cut", "gateway")
    worst = sum(here._worst_pico(request) for request in ask(*doubtful)) / 10**12
    assert here.ledger.totals()["uncertain_usd"] == worst
    assert here.ledger.totals()["spent_usd"] == pytest.approx(worst + 9 * 0.00002, abs=1e-12)


def test_retry_after_is_waited_for(tmp_path):
    times: list[float] = []

    def behaviour(body, before):
        times.append(time.monotonic())
        return error(429, "slow down", retry_after="1") if before == 0 else echo(body, before)

    with endpoint(behaviour) as server:
        (answer,) = teacher(server.base_url, tmp_path).answer(ask("a"))
    assert answer.text == "echo a" and times[1] - times[0] >= 1.0


def test_a_request_that_keeps_failing_leaves_the_others_alone(tmp_path):
    def behaviour(body, before):
        text = body["messages"][0]["content"]
        return {"bad": error(400, "too long"), "down": error(500, "oops", **SOON)}.get(text) or echo(body, before)

    with endpoint(behaviour) as server:
        here = teacher(server.base_url, tmp_path, max_retries=2)
        answers = here.answer(ask("a", "bad", "down", "b"))
    assert [answer.text for answer in answers] == ["echo a", "", "", "echo b"]
    assert answers[1].error.startswith("status 400: ") and "too long" in answers[1].error
    assert answers[2].error.startswith("status 500: ")
    assert len(server.bodies) == 2 + 1 + 3  # a 400 is not asked again, a 500 twice
    assert here.ledger.count() == {"free": 4, "paid": 2}


def test_an_endpoint_that_is_not_there_costs_nothing(tmp_path):
    with socket.socket() as free_port:
        free_port.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free_port.getsockname()[1]}/v1"
    here = teacher(address, tmp_path, max_retries=1)
    (answer,) = here.answer(ask("a"))
    assert answer.error == "APIConnectionError after 2 attempts"
    assert here.ledger.count() == {"free": 2} and here.ledger.totals()["left_usd"] == 1.0


def test_an_endpoint_that_never_answers_is_given_up_and_counted(tmp_path):
    held = threading.Event()
    with endpoint(lambda body, before: Reply(body=b"{}", hold=held)) as server:
        here = teacher(server.base_url, tmp_path, max_retries=1, timeout_seconds=0.2)
        (answer,) = here.answer(ask("a"))
        held.set()
    assert answer.error == "APITimeoutError after 2 attempts"
    assert here.ledger.count() == {"uncertain": 2}
    assert here.ledger.totals()["uncertain_usd"] == 2 * here._worst_pico(ask("a")[0]) / 10**12


def test_an_endpoint_that_drips_is_given_up_although_each_byte_is_in_time(tmp_path):
    drip = Reply(body=completion("x" * 50).body, drip_seconds=0.02)  # 5 s in all, 0.02 s a byte
    with endpoint(lambda body, before: drip) as server:
        (answer,) = teacher(server.base_url, tmp_path, max_retries=0, timeout_seconds=0.3).answer(ask("a"))
    assert answer.error == "APITimeoutError after 1 attempts"


def test_an_answer_without_end_is_cut_off(tmp_path, monkeypatch):
    from cogumi_utils.data import _metered

    monkeypatch.setattr(_metered, "MOST_BYTES", 1000)
    with endpoint(lambda body, before: completion("x" * 5000)) as server:
        (answer,) = teacher(server.base_url, tmp_path, max_retries=0).answer(ask("a"))
    assert answer.error == "APIConnectionError after 1 attempts"


# --- the key


@pytest.mark.parametrize("status", [401, 403, 404])
def test_an_endpoint_that_refuses_ends_the_batch_at_once_and_keeps_what_there_is(tmp_path, status):
    def behaviour(body, before):
        return echo(body, before) if body["messages"][0]["content"] == "a" else error(status, f"no, {KEY} is bad")

    with endpoint(behaviour) as server:
        here = teacher(server.base_url, tmp_path, concurrency=1)
        with pytest.raises(EndpointRefused) as caught:
            here.answer(ask("a", "b", "c", "d"))
        assert len(server.bodies) == 2
    assert [answer.text for answer in caught.value.answers] == ["echo a", "", "", ""]
    assert [answer.error for answer in caught.value.answers][1:] == [
        "this request ended the batch", "not asked: the batch had ended", "not asked: the batch had ended",
    ]  # fmt: skip
    assert (
        f"status {status}" in caught.value.found and "TEACHER_KEY" in caught.value.fix and KEY not in str(caught.value)
    )
    assert here.ledger.count() == {"free": 1, "paid": 1}


@pytest.mark.parametrize("value", ["", "   ", "sk one", "sk-\x07bell", "sk-schlüssel"])
def test_a_missing_or_impossible_key_is_told_before_anything_is_sent(tmp_path, monkeypatch, value):
    monkeypatch.setenv("TEACHER_KEY", value)
    with endpoint() as server:
        with pytest.raises(CogumiError) as caught:
            teacher(server.base_url, tmp_path).answer(ask("a"))
        assert server.bodies == []
    assert "TEACHER_KEY" in caught.value.expected and (not value.strip() or value not in str(caught.value))


def test_an_endpoint_of_ones_own_needs_no_key_and_no_money(tmp_path, monkeypatch):
    monkeypatch.delenv("TEACHER_KEY")
    with endpoint(lambda body, before: completion("none of it")) as server:
        here = teacher(server.base_url, tmp_path, api_key_env="", prices={"m": Price(0, 0)}, limit_usd=0)
        (answer,) = here.answer(ask("a"))
    assert (answer.text, answer.cost_usd) == ("none of it", 0.0) and KEY not in server.keys[0]


LOUD = """
import logging, sys, traceback
from pathlib import Path
logging.basicConfig(level=logging.DEBUG, stream=sys.stdout)
from cogumi_utils.data.openai_teacher import OpenAITeacher
from cogumi_utils.data.spending import Price
from cogumi_utils.data.teachers import TeacherRequest
teacher = OpenAITeacher("m", base_url=sys.argv[1], prices={"m": Price(1, 2)}, limit_usd=1, folder=Path(sys.argv[2]),
                        api_key_env="TEACHER_KEY", max_retries=1, timeout_seconds=10)
for text in ("echo", "bad", "down", "garbage", "refused"):
    try:
        print(teacher.answer([TeacherRequest([{"role": "user", "content": text}], max_tokens=9)]))
    except Exception as error:
        traceback.print_exception(error)
        print(repr(error), vars(error), error.__cause__, error.__context__)
print(repr(teacher), vars(teacher).keys(), teacher.ledger.totals())
"""


def test_the_key_is_nowhere_on_disk_or_in_any_output(tmp_path):
    def behaviour(body, before):
        replies = {
            "bad": error(400, f"{KEY} may not"), "down": error(500, f"{KEY} broke it", **SOON),
            "garbage": Reply(body=f"{{{KEY}".encode(), headers=SOON), "refused": error(401, f"{KEY} is unknown"),
        }  # fmt: skip
        return replies.get(body["messages"][0]["content"]) or completion(f"your key is {KEY}")

    with endpoint(behaviour) as server:
        done = subprocess.run(
            [sys.executable, "-c", LOUD, server.base_url, str(tmp_path / "teacher")], cwd=tmp_path, text=True,
            env=os.environ | {"TEACHER_KEY": KEY, "OPENAI_LOG": "debug", "PYTHONPATH": str(Path(__file__).parents[2])},
            capture_output=True, timeout=120,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert set(server.keys) == {f"Bearer {KEY}"}  # it was sent
    assert "your key is [key]" in done.stdout and "EndpointRefused" in done.stdout + done.stderr
    assert KEY not in done.stdout and KEY not in done.stderr
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.name for path in files} >= {"answers.sqlite", "ledger.sqlite"}
    assert not [path for path in files if KEY.encode() in path.read_bytes()]


# --- the limit


def charge(server) -> float:
    """Dollars that the server would put on the bill: 10 tokens in at 1, 5 out at 2 dollars a million."""
    return len(server.bodies) * 0.00002


def test_a_spent_limit_stops_the_batch_with_what_there_is_and_a_higher_one_goes_on(tmp_path):
    texts = [f"question {i}" for i in range(60)]
    with endpoint() as server:
        limited = teacher(server.base_url, tmp_path, limit_usd=0.0012, concurrency=8)
        with pytest.raises(SpendingLimitReached) as caught:
            limited.answer(ask(*texts))
        answered = [answer for answer in caught.value.answers if not answer.error]
        assert charge(server) == pytest.approx(limited.ledger.totals()["spent_usd"]) and charge(server) <= 0.0012
        assert 0 < len(answered) == len(server.bodies) < 60 and len(caught.value.answers) == 60
        assert all(answer.text == f"echo {answer.request.messages[0]['content']}" for answer in answered)
        rest = teacher(server.base_url, tmp_path, limit_usd=0.01).answer(ask(*texts))
        assert len(server.bodies) == 60  # nothing was asked, and so paid for, twice
    assert [answer.text for answer in rest] == [f"echo {text}" for text in texts]
    assert sum(answer.cached for answer in rest) == len(answered)


def test_money_that_other_calls_only_reserved_is_waited_for(tmp_path):
    with endpoint() as server:
        here = teacher(server.base_url, tmp_path, concurrency=6, limit_usd=0.0009)
        worst = here._worst_pico(ask("0")[0]) / 10**12
        assert worst < 0.0009 < 2 * worst  # one call at a time fits, six at once do not
        assert [answer.error for answer in here.answer(ask(*"012345"))] == [""] * 6


def test_eight_teachers_racing_for_the_last_cents_stay_under_the_limit(tmp_path):
    limit = 0.004
    stopped: list[SpendingLimitReached] = []

    def run(number: int) -> None:
        try:
            teacher(server.base_url, tmp_path, limit_usd=limit, concurrency=2).answer(
                ask(*(f"{number}/{i}" for i in range(201)))  # more than the limit pays for
            )
        except SpendingLimitReached as reached:
            stopped.append(reached)

    with endpoint() as server:
        threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        here = teacher(server.base_url, tmp_path, limit_usd=limit)
    assert len(stopped) == 8
    assert charge(server) == pytest.approx(here.ledger.totals()["spent_usd"]) and charge(server) <= limit
    assert here.ledger.totals()["open_usd"] == 0
    assert sum(not answer.error for reached in stopped for answer in reached.answers) == len(server.bodies)


def test_no_more_requests_are_under_way_than_allowed(tmp_path):
    together = threading.Barrier(4)

    def behaviour(body, before):
        together.wait(30)  # each waits for three others: fewer at once would never get on
        return echo(body, before)

    with endpoint(behaviour) as server:
        answers = teacher(server.base_url, tmp_path, concurrency=4).answer(ask(*"abcdefgh"))
    assert [answer.error for answer in answers] == [""] * 8 and server.most_at_once == 4


CHILD = """
import os, signal, sys
from pathlib import Path
from cogumi_utils.data.openai_teacher import OpenAITeacher
from cogumi_utils.data.spending import Ledger, Price
from cogumi_utils.data.teachers import TeacherRequest
if sys.argv[3] == "before settling":
    Ledger.pay = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
teacher = OpenAITeacher("m", base_url=sys.argv[1], prices={"m": Price(1, 2)}, limit_usd=1, folder=Path(sys.argv[2]),
                        api_key_env="TEACHER_KEY")
teacher.answer([TeacherRequest([{"role": "user", "content": "a"}], max_tokens=20)])
"""


def child(server, folder: Path, when: str) -> subprocess.Popen:
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.Popen([sys.executable, "-c", CHILD, server.base_url, str(folder), when], env=environment)


def test_killed_while_the_answer_is_on_its_way_the_reservation_stays_counted(tmp_path):
    asked, held = threading.Event(), threading.Event()

    def behaviour(body, before):
        asked.set()
        return Reply(body=completion("late").body, hold=held) if before == 0 else echo(body, before)

    with endpoint(behaviour) as server:
        process = child(server, tmp_path, "while waiting")
        assert asked.wait(60)
        process.send_signal(signal.SIGKILL)
        assert process.wait(60) == -signal.SIGKILL
        held.set()
        here = teacher(server.base_url, tmp_path)
        worst = here._worst_pico(ask("a")[0]) / 10**12
        assert here.ledger.count() == {"open": 1} and here.ledger.totals()["open_usd"] == worst
        with pytest.raises(SpendingLimitReached):
            teacher(server.base_url, tmp_path, limit_usd=1.9 * worst).answer(ask("a"))
        (answer,) = here.answer(ask("a"))
    assert answer.text == "echo a" and here.ledger.count() == {"open": 1, "paid": 1}


def test_killed_between_keeping_the_answer_and_settling_it_is_not_paid_for_twice(tmp_path):
    with endpoint() as server:
        assert child(server, tmp_path, "before settling").wait(60) == -signal.SIGKILL
        here = teacher(server.base_url, tmp_path)
        (answer,) = here.answer(ask("a"))
        assert len(server.bodies) == 1
    assert answer.cached and answer.text == "echo a"
    assert here.ledger.count() == {"open": 1} and here.ledger.totals()["open_usd"] > 0


# --- what a user can get wrong


def test_a_model_without_a_price_is_refused(tmp_path):
    with pytest.raises(UnknownPrice):
        OpenAITeacher("new", base_url="http://localhost/v1", prices={"m": Price(1, 1)}, limit_usd=1, folder=tmp_path)


@pytest.mark.parametrize(
    "url", ["http://me:geheim@host/v1", "http://host/v1?key=geheim", "host/v1", "file:///geheim", ""]
)
def test_an_address_that_is_not_plain_is_refused_without_repeating_it(tmp_path, url):
    with pytest.raises(CogumiError) as caught:
        teacher(url, tmp_path)
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize("body", [{"n": 4}, {"stream": True}, {"model": "dearer"}])
def test_fields_that_change_price_or_answer_are_refused(tmp_path, body):
    with pytest.raises(CogumiError, match="leave its price and its answer alone"):
        teacher("http://localhost/v1", tmp_path, body=body)


def test_a_teacher_opens_nothing_until_it_is_asked(tmp_path):
    teacher("http://localhost/v1", tmp_path / "later")
    assert not (tmp_path / "later").exists()
