"""Real prompts that can be asked are asked, what is left out is counted, and an empty list is no special case."""

from __future__ import annotations

import pytest

from cogumi_utils.failures import real
from cogumi_utils.schema import Example

SUMS = [f"What is {a} plus {b} times {b}?" for a in range(3, 15) for b in (2, 7)]
LIGHTS = [f"Dim the light of the {room} to {n} percent." for room in ("hall", "attic", "cellar") for n in range(2, 10)]


class Words:
    """A tokenizer whose tokens are words."""

    def apply_chat_template(self, messages, **_):
        return " ".join(message["content"] for message in messages)

    def __call__(self, text, **_):
        return {"input_ids": text.split()}


def rows(name: str, questions: list[str], kind: str = "number") -> list[Example]:
    payload = {"answer": "1"} if kind == "number" else {}
    verifier = {"kind": kind, "payload": payload}
    return [
        Example("math", f"part {place % 2}", [{"role": "user", "content": text}], verifier=verifier, source=name)
        for place, text in enumerate(questions)
    ]


@pytest.fixture
def sets(monkeypatch):
    """Two sets of this file in place of downloads: `sums` holds a long and an open question too."""
    known = {"sums": rows("sums", [*SUMS, "long " * 50]) + rows("sums", ["How are you?"], "none")}
    known |= {"lights": rows("lights", LIGHTS)}
    monkeypatch.setattr(real.sources, "load_examples", lambda name, *, purpose: known[name])
    return known


def test_long_and_open_questions_are_left_out_and_counted(sets):
    found = real.gather(["sums", "lights"], 10, Words(), 20)
    assert found.table.to_numpy().tolist() == [["sums", 26, 1, 1, 10], ["lights", 24, 0, 0, 10]]
    assert [example.source for example in found.examples] == ["sums"] * 10 + ["lights"] * 10
    assert {example.skill for example in found.examples} == {"part 0", "part 1"}
    assert found.sentence.startswith("20 real prompts are asked; 1 of 50 are longer than 20")


def test_no_sets_are_an_empty_table_and_a_sentence(embedder):
    found = real.gather([], 10, Words(), 20)
    assert (found.examples, len(found.table), found.sentence) == ([], 0, real.NONE)
    table, sentence = real.recovered(embedder, [], graded([]), highest=4, seed=0)
    assert list(table.columns) == real.COLUMNS and (len(table), sentence) == (0, real.NONE)


def graded(examples: list[Example], passed: bool = False):
    from cogumi_utils.judge import grade

    return grade.grade(examples, ["1" if passed else "none"] * len(examples))


def test_clusters_of_failed_prompts_find_their_sets(sets, embedder):
    examples = real.gather(["sums", "lights"], 24, Words(), 20).examples
    table, sentence = real.recovered(embedder, examples, graded(examples), highest=4, seed=0)
    assert table["true groups"].tolist() == ["data set", "subject (k given)"]
    assert table["groups"].tolist() == [2, 4] and table["k"].tolist()[1] == 4 and table["n"].tolist() == [48, 48]
    assert table["homogeneity"][0].startswith("1 [1, 1]") and "n=48" in sentence


def test_failures_of_one_set_have_nothing_to_be_told_from(sets, embedder):
    examples = real.gather(["sums"], 5, Words(), 20).examples
    table, sentence = real.recovered(embedder, examples, graded(examples), highest=4, seed=0)
    assert len(table) == 0 and "one set only" in sentence
