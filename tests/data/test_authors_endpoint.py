"""Tasks that an endpoint writes: read whatever it says, checked by a second answer, paid for once."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from loopback_endpoint import Endpoint, Reply, completion, endpoint, error

from cogumi_utils.data import skills
from cogumi_utils.data._drafts import Draft, drafts
from cogumi_utils.data.authors import EndpointAuthor, reasons
from cogumi_utils.data.commission import Commission, Mistake
from cogumi_utils.data.openai_teacher import EndpointRefused, OpenAITeacher
from cogumi_utils.data.spending import Price, SpendingLimitReached
from cogumi_utils.data.teachers import TeacherAnswer, TeacherRequest, verified
from cogumi_utils.schema import Example, content_id

AGE = next(skill for skill in skills.all_skills() if skill.name == "age")


def table(i: int) -> Example:
    messages = [
        {"role": "user", "content": f"What is {i} times 3?"},
        {"role": "assistant", "content": f"It is {3 * i}."},
    ]
    return Example("math", "tables", messages, verifier={"kind": "number", "payload": {"answer": str(3 * i)}})


def tables(n: int, shown: int = 2) -> Commission:
    mistakes = tuple(Mistake(table(i), "7", f"7, expected {3 * i}") for i in range(1, shown + 1))
    return Commission("times three", ("times",), mistakes, n)


def like(kind: str, question: str, reference: str, /, **payload: Any) -> Commission:
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": reference}]
    example = Example("made", kind, messages, verifier={"kind": kind, "payload": payload})
    return Commission(kind, (), (Mistake(example, "?", "wrong"),), 1)


def asks_for_tasks(body: dict[str, Any]) -> int:
    """How many tasks a request wants; 0 where it asks a single question."""
    wanted = re.search(r"Reply with a JSON list of (\d+) objects", body["messages"][-1]["content"])
    return int(wanted[1]) if wanted else 0


def writer(wrong: set[int] = frozenset(), tokens_out: int = 5):
    """Writes questions 100, 101, ... times 3; the first answer to those in `wrong` differs from the second."""
    written = iter(range(100, 10_000))

    def behaviour(body: dict[str, Any], before: int) -> Reply:
        n = asks_for_tasks(body)
        if not n:
            number = int(re.findall(r"\d+", body["messages"][-1]["content"])[0])
            return completion(f"It is {3 * number}.", tokens_out=tokens_out)
        numbers = [next(written) for _ in range(n)]
        tasks = [{"question": f"What is {i} times 3?", "answer": f"It is {3 * i + (i in wrong)}."} for i in numbers]
        return completion(json.dumps(tasks), tokens_out=tokens_out)

    return behaviour


def says(first: str, second: str = "It is 3."):
    """The same reply to every request for tasks, and to every single question."""
    return lambda body, before: completion(first if asks_for_tasks(body) else second)


def endpoint_author(server: Endpoint, folder: Path, *, limit_usd: float = 1.0, **options) -> EndpointAuthor:
    teacher = OpenAITeacher(
        "m", base_url=server.base_url, prices={"m": Price(1.0, 2.0)}, limit_usd=limit_usd, folder=folder,
        api_key_env="", timeout_seconds=10.0, max_retries=0, concurrency=1,
    )  # fmt: skip
    return EndpointAuthor(teacher, **options)


def test_tasks_are_kept_where_two_independent_answers_agree(tmp_path):
    with endpoint(writer(wrong={101, 104, 111})) as server:
        here = endpoint_author(server, tmp_path, per_call=5)
        answers = here.write([tables(12)])
    assert [asks_for_tasks(body) for body in server.bodies] == [4, 4, 4] + [0] * 12
    result = verified(answers)
    row = result.table().set_index("teacher").loc["m"]
    assert (row.asked, row.kept, row.wrong, row.error, row.unverifiable) == (12, 9, 3, 0, 0)
    assert [e.prompt[-1]["content"] for e in result.examples[:3]] == [f"What is {i} times 3?" for i in (100, 102, 103)]
    parents = tuple(mistake.example.id for mistake in tables(1).mistakes)
    assert {(e.domain, e.skill, e.split, e.teacher, e.source) for e in result.examples} == {
        ("math", "tables", "train", "m", "teacher/m")
    }
    assert {answer.request.example.parents for answer in answers} == {parents}
    assert row.cost_usd == pytest.approx(15 * 0.00002) == here.teacher.ledger.totals()["spent_usd"]
    assert (sum(a.tokens_in for a in answers), sum(a.tokens_out for a in answers)) == (150, 75)


def test_another_seed_draws_anew_and_the_same_one_pays_nothing(tmp_path):
    with endpoint(writer()) as server:
        first, other = (endpoint_author(server, tmp_path, seed=seed).write([tables(2)]) for seed in (1, 2))
        asked = len(server.bodies)
        again = endpoint_author(server, tmp_path, seed=1).write([tables(2)])
    assert [a.text for a in first] == [a.text for a in again] != [a.text for a in other]
    assert len(server.bodies) == asked == 2 * (1 + 2) and sum(a.cost_usd for a in again) == 0


def test_the_second_answer_is_asked_for_alone(tmp_path):
    with endpoint(says('[{"question": "What is 50 times 3?", "answer": "SECRET 150"}]', "150")) as server:
        endpoint_author(server, tmp_path).write([tables(1)])
    first, second = server.bodies
    assert "7, expected 3" in first["messages"][1]["content"] and "temperature" not in first
    assert [(m["role"], m["content"]) for m in second["messages"]] == [
        ("user", "What is 1 times 3?"), ("assistant", "It is 3."), ("user", "What is 2 times 3?"),
        ("assistant", "It is 6."), ("user", "What is 50 times 3?"),
    ]  # fmt: skip
    assert (first["max_completion_tokens"], second["max_completion_tokens"]) == (2000, 800)


CODE = "def twice(x):\n    return 2 * x"
ASSERTS = "```python\nassert twice(2) == 4\nassert twice(0) == 0\nassert twice(-1) == -2\n```"
LIGHT = {"name": "light", "arguments": {"room": "hall"}}
KINDS = [
    (like("number", "1+1?", "Answer: 2", answer="2"), "1.5+1=2.5. Answer: 2.5", "It is 5/2", {"answer": "5/2"}),
    (like("final", "Who?", "Answer: Ann", answer="Ann"), "So. Answer: Bob", "Answer: bob.", {"answer": "bob."}),
    (like("exact", "Say a", "a", answer="a"), "b  c", " b c\n", {"answer": "b c"}),
    (like("choice", "A or B?", "Answer: A", answer="A"), "Answer: B", "(B)", {"answer": "B"}),
    (like("tool_calls", "Light!", "light()", calls=[], ordered=False), 'light(room="hall")', "light(room='hall')",
     {"calls": [LIGHT], "ordered": False}),
    (like("python_tests", "Define once(x).", "def once(x): ...", entry_point="once", tests="", setup=""), CODE, ASSERTS,
     {"entry_point": "twice", "tests": "assert twice(2) == 4\nassert twice(0) == 0\nassert twice(-1) == -2",
      "setup": ""}),
]  # fmt: skip


@pytest.mark.parametrize(("commission", "first", "second", "payload"), KINDS, ids=[k[0].pattern for k in KINDS])
def test_the_second_answer_makes_a_verifier_of_the_same_kind(tmp_path, commission, first, second, payload):
    written = json.dumps([{"question": "A new one?", "answer": first}])
    with endpoint(says(written, second)) as server:
        (answer,) = endpoint_author(server, tmp_path / "a").write([commission])
    assert answer.request.example.verifier == {"kind": commission.pattern, "payload": payload}
    assert answer.request.example.id == content_id(answer.request.messages, answer.request.example.verifier)
    assert len(verified([answer]).examples) == 1
    if commission.pattern == "python_tests":
        assert "three lines of Python" in server.bodies[1]["messages"][-1]["content"]
    disagrees = replace(answer, text=first.replace("2", "3").replace("B", "C").replace("b", "d").replace("hall", "den"))
    assert verified([disagrees]).outcomes["m"] == {"wrong": 1}
    with endpoint(says(written, "¿ - ?" if commission.pattern != "exact" else "else")) as server:
        (mute,) = endpoint_author(server, tmp_path / "b").write([commission])
    outcome = "wrong" if commission.pattern == "exact" else "unverifiable"
    assert verified([mute]).outcomes["m"] == {outcome: 1}


@pytest.mark.parametrize(
    "second",
    ["assert twice(2) == 4", "assert True\nassert 1 == 1", "assert len([]) == 0\nassert len([1]) == 1",
     "assert (\nassert", "assert twice(1) == 2\nassert other(1) == 2", "twice(1) == 2\ntwice(2) == 4"],
)  # fmt: skip
def test_tests_that_tell_too_little_verify_nothing(tmp_path, second):
    with endpoint(says(json.dumps([{"question": "?", "answer": CODE}]), second)) as server:
        (answer,) = endpoint_author(server, tmp_path).write([KINDS[-1][0]])
    assert verified([answer]).outcomes["m"] == {"unverifiable": 1}


def test_tasks_that_no_second_answer_can_check_cost_none(tmp_path):
    poem = like("constraints", "Write a poem.", "Roses.", rules=[])
    with endpoint(says('[{"question": "Write a song.", "answer": "La."}]')) as server:
        (answer,) = endpoint_author(server, tmp_path).write([poem])
        assert len(server.bodies) == 1
    assert verified([answer]).outcomes["m"] == {"unverifiable": 1} and answer.cost_usd == 0.00002


def test_kinds_are_ordered_apart_and_keep_their_system_message(tmp_path):
    light = like("tool_calls", "Light!", "light()", calls=[]).mistakes[0].example
    tools = replace(light, id="", messages=[{"role": "system", "content": "Tools: light(room)"}, *light.messages])
    mixed = replace(tables(3), mistakes=(*tables(3).mistakes, Mistake(tools, "?", "wrong")))
    with endpoint(lambda body, before: completion(f'[{{"question": "New {before}", "answer": "a"}}]')) as server:
        answers = endpoint_author(server, tmp_path).write([mixed])
    firsts = [body["messages"] for body in server.bodies if asks_for_tasks(body)]
    assert ["Tools: light(room)" in messages[1]["content"] for messages in firsts[:2]] == [False, True]
    seconds = [[m["content"] for m in body["messages"]] for body in server.bodies if not asks_for_tasks(body)]
    assert ["Tools: light(room)", "Light!", "light()", "New 1"] in seconds
    written = [answer.request.example for answer in answers if not answer.error]
    assert [(e.skill, [m["content"] for m in e.prompt]) for e in written] == [
        ("tables", ["New 0"]), ("tables", ["New 2"]), ("tool_calls", ["Tools: light(room)", "New 1"]),
    ]  # fmt: skip


REPLIES = {
    "fenced": 'Here:\n```json\n[{"question": "q1", "answer": "1"}, {"question": "q2", "answer": 2}]\n```\nOK',
    "cut": '[{"question": "q1", "answer": "1"}, {"question": "q2", "answer": "2"}, {"question": "q3", "ans',
    "wrapped": '{"tasks": [{"question": "q1", "answer": "1"}, {"question": "q2", "answer": "2"}]}',
    "lines": '{"question": "q1", "answer": "1"}\n{"question": " q2 ", "answer": "2\n"}',
    "nested": '[{"question": "q1", "answer": "1", "of": {"question": "q0"}}, {"question": "q2", "answer": "2"}]',
    "amid braces": 'f = {x} {"a": [1, {"question": "q1", "answer": "1"}, } {"question": "q2", "answer": "2"}',
}


@pytest.mark.parametrize("reply", REPLIES.values(), ids=REPLIES)
def test_the_whole_objects_of_a_reply_are_read(reply):
    assert list(drafts(reply)) == [Draft("q1", "1"), Draft("q2", "2")]


@pytest.mark.parametrize("reply", ["", "no", "[]", "{}", "{" * 5000, '{"a":' * 5000, '["question"]', '{"question"}'])
def test_a_reply_without_objects_holds_no_tasks(reply):
    assert list(drafts(reply)) == []


def test_answers_are_data_and_never_run():
    evil = '[{"question": "__import__(\'os\').abort()", "answer": {"name": "f", "arguments": {}}}, {"question": null}]'
    assert list(drafts(evil)) == [Draft("__import__('os').abort()", '{"name": "f", "arguments": {}}'), Draft("", "")]
    assert list(drafts('{"question": "\\ud800", "answer": "数"}')) == [Draft("?", "数")]


def test_what_is_of_no_use_is_counted_and_its_price_too(tmp_path):
    tasks = [("What is 1 times  3?", "3"), ("Taken?", "1"), ("New 5", "15"), ("new  5", "15"), ("", "1"), ("Q", ""),
             ("New 6", "18"), ("New 7", "21")]  # fmt: skip
    written = json.dumps([{"question": q, "answer": a} for q, a in tasks])
    with endpoint(says(written, "15")) as server:
        here = endpoint_author(server, tmp_path)
        answers = here.write([tables(2)], taken=["taken?"])
    assert reasons(answers) == {"taken": 2, "empty": 2, "repeated": 1, "more than asked for": 1}
    result = verified(answers)
    assert result.outcomes["m"] == {"error": 6, "kept": 1, "wrong": 1}
    assert result.costs_usd["m"] == pytest.approx(here.teacher.ledger.totals()["spent_usd"]) == 3 * 0.00002


def test_a_second_round_asks_for_what_the_first_did_not_bring(tmp_path):
    with endpoint(says('[{"question": "Same", "answer": "3"}]')) as server:
        answers = endpoint_author(server, tmp_path, per_call=3).write([tables(7, shown=8)])
    assert [asks_for_tasks(body) for body in server.bodies] == [2, 2, 3, 3, 3, 0]
    assert "What is 7 times 3?" in server.bodies[1]["messages"][1]["content"]  # the next call shows other mistakes
    assert reasons(answers) == {"repeated": 4} and len(answers) == 5


def test_a_task_of_a_held_out_split_is_not_used(tmp_path):
    age = skills.examples(AGE, 1, split="validation", seed=7)
    mine = Commission("age", (), (Mistake(age[0], "?", "wrong"),), 9)
    held_out = {s: ages(s) for s in ("validation", "test")}
    trained = ages("train")
    written = [{"question": q, "answer": "Answer: 3"} for q in (*held_out["validation"], *held_out["test"], *trained)]
    with endpoint(says(json.dumps(written), "Answer: 3")) as server:
        answers = endpoint_author(server, tmp_path).write([mine])
    assert {skills.split_of(answer.request.messages[-1]["content"]) for answer in answers if not answer.error} == {
        "train"
    }
    assert reasons(answers)["held-out split"] == 2 * 6


def ages(split: str) -> list[str]:
    return [row.prompt[-1]["content"] for row in skills.examples(AGE, 3, split=split, seed=11)]


def test_nonsense_is_paid_for_counted_and_brings_nothing(tmp_path):
    with endpoint(says("I would rather not.")) as server:
        here = endpoint_author(server, tmp_path)
        answers = here.write([tables(5)])
    assert reasons(answers) == {"no question in the reply": 2}
    result = verified(answers)
    assert result.examples == [] and result.costs_usd["m"] == here.teacher.ledger.totals()["spent_usd"] == 0.00004


def test_a_second_answer_that_fails_is_an_error_of_its_task_alone(tmp_path):
    def behaviour(body, before):
        return error(400, "no") if "101" in body["messages"][-1]["content"] else usual(body, before)

    usual = writer()
    with endpoint(behaviour) as server:
        result = verified(endpoint_author(server, tmp_path).write([tables(3)]))
    assert result.outcomes["m"] == {"kept": 2, "error": 1}


# --- money that ends half-way


def test_a_limit_reached_among_the_second_answers_leaves_nothing_to_pay_twice(tmp_path):
    commissions = [tables(10)]
    with endpoint(writer(tokens_out=800)) as server:
        poor = endpoint_author(server, tmp_path, limit_usd=0.012)
        with pytest.raises(SpendingLimitReached) as caught:
            poor.write(commissions)
        asked = len(server.bodies)
        assert 1 < asked < 11 and len(caught.value.answers) == asked - 1
        assert verified(caught.value.answers).outcomes["m"] == {"kept": asked - 1}
        rich = endpoint_author(server, tmp_path, limit_usd=1.0)
        answers = rich.write(commissions)
        assert len(server.bodies) == 11
        assert verified(rich.write(commissions)).costs_usd["m"] == 0 and len(server.bodies) == 11
    assert len({json.dumps(body, sort_keys=True) for body in server.bodies}) == 11
    assert verified(answers).outcomes["m"] == {"kept": 10}
    assert [answer.cached for answer in answers] == [True] * (asked - 1) + [False] * (11 - asked)
    assert rich.teacher.ledger.totals()["spent_usd"] == pytest.approx(11 * 0.00161)


def test_a_limit_reached_while_tasks_are_written_leaves_nothing_to_pay_twice(tmp_path):
    with endpoint(writer(tokens_out=1000)) as server:
        with pytest.raises(SpendingLimitReached) as caught:
            endpoint_author(server, tmp_path, limit_usd=0.01, per_call=1).write([tables(6)])
        asked = len(server.bodies)
        assert 0 < asked < 6 and caught.value.answers == []
        answers = endpoint_author(server, tmp_path, limit_usd=1.0, per_call=1).write([tables(6)])
        assert len(server.bodies) == 12
    assert verified(answers).outcomes["m"] == {"kept": 6}


def test_an_endpoint_that_refuses_is_told(tmp_path):
    with endpoint(lambda body, before: error(401, "no")) as server:
        with pytest.raises(EndpointRefused) as caught:
            endpoint_author(server, tmp_path).write([tables(2)])
    assert caught.value.answers == []


def test_any_teacher_will_do_also_one_that_says_nothing():
    class Mute:
        name = "mute"

        def answer(self, requests: list[TeacherRequest]) -> list[TeacherAnswer]:
            return [TeacherAnswer(request, self.name, error="mute") for request in requests]

    answers = EndpointAuthor(Mute()).write([tables(3)])
    assert reasons(answers) == {"mute": 2} and verified(answers).examples == []
