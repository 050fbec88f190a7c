"""The teacher against a real server: `transformers serve` with a tiny random model on loopback, which is then gone."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from cogumi_utils.data import corpus, skills
from cogumi_utils.data.authors import EndpointAuthor, reasons
from cogumi_utils.data.chat import prompt_text
from cogumi_utils.data.commission import Commission, Mistake
from cogumi_utils.data.openai_teacher import OpenAITeacher
from cogumi_utils.data.spending import Price
from cogumi_utils.data.teachers import TeacherAnswer, TeacherRequest, verified
from cogumi_utils.schema import Example

PRICE = Price(1.0, 3.0)
READY_SECONDS = 120
QUESTIONS = skills.mixed(skills.trained_skills(), 1, split="train", seed=5)[:6]


@pytest.fixture(scope="module")
def random_model(tmp_path_factory) -> Path:
    from cogumi_utils.model import student

    tokenizer = student.train_tokenizer(corpus.sample(1, 500), 400)
    shape = {"hidden": 64, "layers": 1, "heads": 2, "kv_heads": 2, "ffn": 128, "context": 2048}
    llama = student.small_llama(len(tokenizer), seed=1, **shape)
    llama.generation_config.do_sample = True  # its likeliest token is its last one, for ever
    return student.save(llama, tokenizer, tmp_path_factory.mktemp("random"))


@contextmanager
def serving(model: Path) -> Iterator[str]:
    """The address of a server that is ready; it is killed whatever happens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [Path(sys.executable).with_name("transformers"), "serve", model, "--device", "cpu"]
    log = model / "server.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port)], stdout=output, stderr=output,
            env=os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(model / "hub"), "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        try:
            wait_for(process, f"http://127.0.0.1:{port}/health", log)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.kill()
            process.wait(30)


def wait_for(process: subprocess.Popen, url: str, log: Path) -> None:
    end = time.monotonic() + READY_SECONDS
    while time.monotonic() < end and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.2)
    pytest.fail(f"the server is not ready (exit code {process.poll()}):\n{log.read_text()[-3000:]}")


@dataclass(frozen=True)
class Session:
    """What was asked while the server ran, and the folder of the teacher's cache and ledger."""

    model: Path
    folder: Path
    base_url: str
    answers: list[TeacherAnswer]
    written: list[TeacherAnswer]

    def teacher(self) -> OpenAITeacher:
        return teacher(self.model, self.base_url, self.folder)


def teacher(model: Path, base_url: str, folder: Path) -> OpenAITeacher:
    return OpenAITeacher(
        str(model), base_url=base_url, prices={str(model): PRICE}, limit_usd=0.5, folder=folder, api_key_env="",
        name="random", concurrency=1, max_retries=1, timeout_seconds=60.0, body={"seed": 1},
        token_limit_field="max_tokens",  # this server does not know the newer name
    )  # fmt: skip


def requests() -> list[TeacherRequest]:
    return [TeacherRequest.of(example, max_tokens=24, temperature=1.0) for example in QUESTIONS]


def write(here: OpenAITeacher) -> list[TeacherAnswer]:
    author = EndpointAuthor(here, per_call=2, max_tokens=48, answer_tokens=24, temperature=1.0)
    mistakes = tuple(Mistake(example, "no", "wrong") for example in QUESTIONS[:2])
    return author.write([Commission("all of it", ("number",), mistakes, n=4)])


@pytest.fixture(scope="module")
def session(random_model, tmp_path_factory) -> Session:
    folder = tmp_path_factory.mktemp("teacher")
    with serving(random_model) as base_url:
        here = teacher(random_model, base_url, folder)
        return Session(random_model, folder, base_url, here.answer(requests()), write(here))


def chat_tokens(model: Path, example: Example) -> int:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    return len(tokenizer(prompt_text(tokenizer, example.prompt), add_special_tokens=False)["input_ids"])


def test_a_real_server_answers_and_its_tokens_are_charged(session):
    assert [(answer.error, answer.cached, answer.teacher) for answer in session.answers] == [("", False, "random")] * 6
    assert len({answer.text for answer in session.answers}) > 1 and all(answer.text for answer in session.answers)
    for answer in session.answers:
        assert answer.tokens_in == chat_tokens(session.model, answer.request.example)
        assert 1 <= answer.tokens_out <= 24 and answer.finish_reason in ("length", "stop")
        assert answer.cost_usd == pytest.approx((answer.tokens_in + 3 * answer.tokens_out) / 1e6, abs=1e-12)


def test_a_random_model_teaches_nothing(session):
    result = verified(session.answers)
    row = result.table().set_index("teacher").loc["random"]
    assert result.examples == [] and (row.asked, row.kept, row.wrong) == (6, 0, 6) and row.cost_usd > 0


def test_what_a_random_model_writes_is_counted_as_no_task_and_paid(session):
    assert reasons(session.written) == {"no question in the reply": 4}  # two kinds, a call each, in two rounds
    assert verified(session.written).examples == []
    paid = sum(answer.cost_usd for answer in (*session.answers, *session.written))
    ledger = session.teacher().ledger
    assert paid == pytest.approx(ledger.totals()["spent_usd"]) and ledger.count() == {"paid": 10}


def test_everything_comes_again_from_the_cache_although_the_server_is_gone(session):
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", int(session.base_url.rpartition(":")[2].partition("/")[0])), 5).close()
    again = session.teacher()
    answers, written = again.answer(requests()), write(again)
    assert [answer.text for answer in answers] == [answer.text for answer in session.answers]
    assert reasons(written) == reasons(session.written)
    assert {(a.cached, a.cost_usd) for a in (*answers, *written)} == {(True, 0.0)}
    assert again.ledger.count() == {"paid": 10}
