"""Embedded dialogues and the text that is read of them: splits share no wording, nothing that is typed breaks them."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import defaultdict
from hashlib import blake2b

import pytest

from cogumi_utils.errors import CogumiError
from cogumi_utils.paths import params_dir
from cogumi_utils.route.escalation import dialogues, phrases
from cogumi_utils.route.escalation.turns import LAST_TURNS, LONGEST, joined

FILE = params_dir() / "phrases.yaml"
KINDS = [name for names in dialogues.kinds().values() for name in names]
# Families there are at least: few wordings teach little, and a test of few says little.
LEAST = dict.fromkeys(KINDS, {"train": 28, "validation": 8, "test": 50}) | dict.fromkeys(
    phrases.TURNS, {"train": 10, "validation": 5, "test": 8}
)
# All wordings and `make(200, split, seed=1)`: when one changes, what was learnt from dialogues is to be learnt anew.
SAID = {"train": "8234c6236f652c8a", "validation": "4a1115da2b49c1ba", "test": "bf0d398ee0bfb457"}


def wordings(split: str) -> list[str]:
    return [each for name in LEAST for family in dialogues.families(name, split) for each in family]


def in_splits(said_by: dict[str, set[str]]) -> dict[str, list[str]]:
    """What more than one split says, and which."""
    splits = defaultdict(list)
    for split, said in said_by.items():
        for each in said:
            splits[each].append(split)
    return {each: names for each, names in splits.items() if len(names) > 1}


def runs(wording: str, length: int = 5) -> set[str]:
    """Words in a row, in lower case; none goes over a slot, whose words are all splits' own."""
    parts = [re.findall(r"[\w']+", part) for part in re.split(r"\{\w+\}", wording.lower())]
    return {" ".join(words[at : at + length]) for words in parts for at in range(len(words) - length + 1)}


def test_a_seed_gives_the_same_dialogues_and_another_seed_others():
    made = dialogues.make(50, "train", seed=3)
    assert made == dialogues.make(50, "train", seed=3) != dialogues.make(50, "train", seed=4)
    assert {one.turns for one in made}.isdisjoint(one.turns for one in dialogues.make(50, "test", seed=3))


def test_three_to_six_turns_of_every_kind_with_the_share_that_was_asked_for():
    made = dialogues.make(2000, "train", seed=0, dissatisfied_share=0.25)
    assert {len(one.turns) for one in made} == {3, 4, 5, 6}
    assert {one.kind for one in made} == set(KINDS)
    assert all(one.dissatisfied == (one.kind in dialogues.kinds()["dissatisfied"]) for one in made)
    assert sum(one.dissatisfied for one in made) / 2000 == pytest.approx(0.25, abs=0.03)


@pytest.mark.parametrize("name", LEAST)
def test_every_split_has_families_enough(name):
    found = {split: len(dialogues.families(name, split)) for split in dialogues.SPLITS}
    assert all(found[split] >= least for split, least in LEAST[name].items()), found


def test_no_wording_is_in_two_splits_whatever_its_case_and_signs():
    plain = {split: {" ".join(re.findall(r"[\w'{}]+", each.lower())) for each in wordings(split)}
             for split in dialogues.SPLITS}  # fmt: skip
    assert in_splits(plain) == {}


def test_no_five_words_in_a_row_are_in_two_splits():
    assert (
        in_splits({split: {run for each in wordings(split) for run in runs(each)} for split in dialogues.SPLITS}) == {}
    )


@pytest.mark.parametrize("split", dialogues.SPLITS)
def test_no_slot_is_left_open_and_no_turn_is_empty(split):
    turns = [turn for one in dialogues.make(1000, split, seed=2) for turn in one.turns]
    assert [turn for turn in turns if not turn.strip() or re.search(r"[{}|#]", turn)] == []


@pytest.mark.parametrize("split", dialogues.SPLITS)
def test_dialogues_are_those_that_models_were_trained_and_judged_on(split):
    made = [" / ".join(one.turns) for one in dialogues.make(200, split, seed=1)]
    said = "\n".join([*wordings(split), *made])  # 200 do not say every wording
    assert blake2b(said.encode(), digest_size=8).hexdigest() == SAID[split]


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("  cancels:\n    train: |", "  cancels:\n    trial: |", "KeyError: 'train'"),
        ("\nafter:", "\nlater:", "KeyError: 'after'"),
        ("  mended:", "  content:", "no kind 'mended'"),
        ("Slow clap. |", "Slow clap. | | |", "not one to 3 wordings in sarcastic, test"),
        ("Slow clap. |", "Slow {clap}. |", "a slot that nothing fills in sarcastic, test"),
        ("Slow clap. |", "Slow {clap. |", "a slot that nothing fills in sarcastic, test"),
        ("my parcel | find", "find", "a topic without 4 parts"),
        ("my parcel | find", "my {colour} parcel | find", "slots of the topic"),
        ("\nafter:", "\nopeners:", "'openers' is given twice"),
    ],
)
def test_a_fault_in_the_file_is_named(old, new, fault, tmp_path):
    text = FILE.read_text(encoding="utf-8")
    assert text.count(old) == 1
    (tmp_path / "phrases.yaml").write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(CogumiError) as raised:
        phrases.read_file(tmp_path / "phrases.yaml")
    assert fault in raised.value.found


def test_a_line_that_is_added_is_said_and_a_comment_is_not(tmp_path):
    text = FILE.read_text(encoding="utf-8")
    added = text.replace("      Slow clap. |", "      # claps\n\n      How: slow! | {ask}, slowly\n      Slow clap. |")
    (tmp_path / "phrases.yaml").write_text(added, encoding="utf-8")
    before, after = (
        set(phrases.read_file(path).ways["sarcastic"]["test"]) for path in (FILE, tmp_path / "phrases.yaml")
    )
    assert after - before == {("How: slow!", "{ask}, slowly")} and before < after


def test_the_file_is_read_once_and_brings_in_nothing_heavy():
    code = (
        "import sys\n"
        "from cogumi_utils.route.escalation import phrases, dialogues\n"
        "dialogues.make(5, 'train'); phrases.read_yaml = None; dialogues.make(5, 'test')\n"
        "print(sorted({'torch', 'pandas', 'numpy', 'sklearn', 'transformers'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr


def test_what_is_repeated_was_asked_in_one_of_the_turns_that_are_read():
    repeated = [one for one in dialogues.make(1000, "train", seed=1) if one.kind == "repeats"]
    questions = [
        sum(topic[2][:12].lower() in joined(one.turns).lower() for topic in phrases.read().topics) for one in repeated
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
    assert set(table["split"]) == {"validation"}
    assert list(table["group"]) == [f"{one.kind}/{one.family}" for one in made]


def test_a_dialogues_family_is_the_one_that_makes_its_kind():
    for one in dialogues.make(300, "test", seed=2):
        (family,) = [each for each in dialogues.families(one.kind, "test") if each[0] == one.family]
        shapes = [re.escape(re.sub(r"\{\w+\}", "@", wording)).replace("@", ".+") for wording in family]
        said = one.turns[-1:] if one.kind == "mended" else one.turns[-2:]
        assert any(re.fullmatch(shape.removesuffix(r"\.") + r"\.?", turn, re.I) for shape in shapes for turn in said)


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
