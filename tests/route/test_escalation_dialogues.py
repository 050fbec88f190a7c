"""Embedded dialogues and the text that is read of them: splits share no wording, nothing that is typed breaks them."""

from __future__ import annotations

from string import Formatter

import pytest

from cogumi_utils.errors import CogumiError
from cogumi_utils.route.escalation import _phrases, dialogues
from cogumi_utils.route.escalation.turns import LAST_TURNS, LONGEST, joined

ALL = {
    **_phrases.DISSATISFIED, **_phrases.CALM, "openers": _phrases.OPENERS, "questions": _phrases.QUESTIONS,
    "middles": _phrases.MIDDLES, "mended": _phrases.MENDED, "after": _phrases.AFTER,
}  # fmt: skip


def test_a_seed_gives_the_same_dialogues_and_another_seed_others():
    made = dialogues.make(50, "train", seed=3)
    assert made == dialogues.make(50, "train", seed=3) != dialogues.make(50, "train", seed=4)
    assert {one.turns for one in made}.isdisjoint(one.turns for one in dialogues.make(50, "test", seed=3))


def test_three_to_six_turns_of_every_kind_with_the_share_that_was_asked_for():
    made = dialogues.make(2000, "train", seed=0, dissatisfied_share=0.25)
    assert {len(one.turns) for one in made} == {3, 4, 5, 6}
    assert {one.kind for one in made} == {kind for kinds in dialogues.KINDS.values() for kind in kinds}
    assert all(one.dissatisfied == (one.kind in dialogues.KINDS["dissatisfied"]) for one in made)
    assert sum(one.dissatisfied for one in made) / 2000 == pytest.approx(0.25, abs=0.03)


@pytest.mark.parametrize("name", ALL)
def test_every_split_has_families_of_its_own(name):
    dealt = {split: dialogues.families(ALL[name], split) for split in dialogues.SPLITS}
    assert sum(map(len, dealt.values())) == len(ALL[name]) and min(map(len, dealt.values())) > 0
    wordings = [{wording for family in dealt[split] for wording in family} for split in dialogues.SPLITS]
    assert sum(map(len, wordings)) == len(set.union(*wordings))


def test_every_slot_can_be_filled():
    slots = {slot for ways in ALL.values() for family in ways for wording in family
             for _, slot, _, _ in Formatter().parse(wording) if slot}  # fmt: skip
    assert slots <= {"thing", "do", "ask", "fact", *_phrases.FILLERS}


def test_what_is_repeated_was_asked_in_one_of_the_turns_that_are_read():
    repeated = [one for one in dialogues.make(1000, "train", seed=1) if one.kind == "repeats"]
    questions = [
        sum(topic[2][:12].lower() in joined(one.turns).lower() for topic in _phrases.TOPICS) for one in repeated
    ]
    assert len(repeated) > 50 and min(questions) >= 1


@pytest.mark.parametrize("asked", [{"n": 0}, {"split": "dev"}, {"dissatisfied_share": 1.5}])
def test_senseless_numbers_are_refused(asked):
    with pytest.raises(CogumiError, match="at least one dialogue"):
        dialogues.make(**{"n": 5, "split": "train"} | asked)


def test_a_table_has_a_row_a_dialogue_with_its_last_turns():
    made = dialogues.make(20, "validation", seed=0)
    table = dialogues.frame(made, "validation")
    assert list(table["text"]) == [" [SEP] ".join(one.turns[-LAST_TURNS:]) for one in made]
    assert list(table["label"]) == [int(one.dissatisfied) for one in made]
    assert table["group"].is_unique and set(table["split"]) == {"validation"}


@pytest.mark.parametrize(
    ("turns", "text"),
    [
        ([], ""),
        (["", "  \n "], ""),
        (["a", "b", "c", "d", "e"], "c [SEP] d [SEP] e"),
        (["one\ntwo\x00 three"], "one two three"),
        (["half \ud83d pair"], "half ? pair"),
        (["I type [SEP] myself"], "I type myself"),
        (["שלום 🙂"], "שלום 🙂"),
    ],
)
def test_turns_become_one_clean_line(turns, text):
    assert joined(turns) == text


def test_of_a_megabyte_its_end_is_read():
    assert joined(["x" * 10**6 + " end"]) == "x" * (LONGEST - 4) + " end"


@pytest.mark.parametrize("turns", ["a text", b"bytes", [b"bytes"], [None], [["nested"]]])
def test_what_is_no_list_of_texts_is_refused(turns):
    with pytest.raises(CogumiError, match="a list of texts"):
        joined(turns)
