"""What counts as dissatisfied in the public sets, how they are split, and calls that have intents only."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
import pytest

from cogumi_utils.errors import CogumiError
from cogumi_utils.route.escalation import calls, data

here = pytest.mark.skipif(
    not os.environ.get("COGUMI_DATA") or not (Path(os.environ["COGUMI_DATA"]) / "betold").is_dir(),
    reason="COGUMI_DATA names no folder with a copy of the public sets",
)


def test_the_embedded_set_needs_no_data_folder(monkeypatch):
    monkeypatch.delenv("COGUMI_DATA", raising=False)
    found = {split: data.read(["dialogues"], split, dialogues=90) for split in ("train", "validation", "test")}
    assert [len(table) for table in found.values()] == [90, 30, 90]
    assert list(found["test"].columns) == data.COLUMNS


@pytest.mark.parametrize(("sets", "split"), [(["reddit"], "train"), ([], "train"), (["dialogues"], "dev")])
def test_unknown_sets_and_splits_are_refused_with_those_that_exist(sets, split):
    with pytest.raises(CogumiError, match="go_emotions, bitext"):
        data.read(sets, split)


def test_near_copies_have_one_wording_whatever_slips_and_words_of_grammar_they_have():
    many = ["can I talk to a human?"] * 10 + ["could you get me a refund"] * 10
    texts = [*many, "how could I tlak to a human, please, TALK to a human", "I can't talk to the humna"]
    found = data.wordings(texts)
    assert found[0] == "human talk" and found[10] == "refund"
    assert found[20] == "human talk" and found[21] == "talk"


def test_a_large_group_trains_and_the_others_are_dealt_by_their_name_alone():
    assert data.dealt("any", data.LARGE) == "train"
    dealt = [data.dealt(f"group {number}", 0.0) for number in range(2000)]
    shares = [dealt.count(split) / 2000 for split in ("train", "validation", "test")]
    assert shares == pytest.approx([0.6, 0.15, 0.25], abs=0.03)


@here
def test_rows_and_labels_of_the_public_sets():
    counts = {}
    for name in ("go_emotions", data.BITEXT, "banking77", "clinc150"):
        for split in ("train", "validation", "test"):
            table = data.read([name], split)
            counts[name, split] = (len(table), int(table["label"].sum()))
    assert counts == {
        ("go_emotions", "train"): (43410, 6668), ("go_emotions", "validation"): (5426, 853),
        ("go_emotions", "test"): (5427, 858), (data.BITEXT, "train"): (13037, 1011),
        (data.BITEXT, "validation"): (3201, 249), (data.BITEXT, "test"): (5296, 512),
        ("banking77", "train"): (10003, 0),
        ("banking77", "validation"): (0, 0), ("banking77", "test"): (3080, 0), ("clinc150", "train"): (15100, 0),
        ("clinc150", "validation"): (3100, 0), ("clinc150", "test"): (5500, 0),
    }  # fmt: skip


@here
def test_groups_of_bitext_are_in_one_split_only_and_a_limit_is_kept():
    groups = [set(data.read([data.BITEXT], split)["group"]) for split in ("train", "validation", "test")]
    assert sum(map(len, groups)) == len(set.union(*groups))
    some = data.read(["go_emotions", data.BITEXT], "train", limit=100)
    assert some["set"].value_counts().to_dict() == {"go_emotions": 100, data.BITEXT: 100}
    assert 0 < some["label"].mean() < 0.5


@here
def test_splits_hold_the_dialogues_and_so_many_labelled_texts_of_each_set():
    found = data.read_splits(["go_emotions"], 2, dialogues=30, seed=1)
    told = {split: rows[rows["label"] >= 0] for split, rows in found.items()}
    sizes = {split: rows["set"].value_counts().to_dict() for split, rows in told.items()}
    assert sizes == {
        split: {"go_emotions": 2 * data.MOST_TEXTS, "dialogues": n}
        for split, n in (("train", 30), ("validation", 10), ("test", 30))
    }
    assert {split: len(rows) - len(told[split]) for split, rows in found.items()} == {
        "train": 43_370, "validation": 0, "test": 0,
    }  # fmt: skip


@here
def test_sets_of_calm_users_alone_give_no_texts_without_a_label():
    found = data.read_splits(["banking77"], 2, dialogues=30, seed=1)["train"]
    assert (found["label"] >= 0).all() and (found["set"] == "banking77").sum() == 2 * data.MOST_TEXTS


def test_what_a_limit_leaves_out_has_no_label_and_is_not_said_with_one():
    texts = ["a", "b", "c", "a", "e", "f"]
    table = pd.DataFrame({"text": texts, "label": [1, 0, 1, 1, 0, 1], "set": "one"})
    rest = data.beyond(table, 2)  # the first and the fourth have labels
    assert rest["text"].tolist() == ["b", "c", "e", "f"]
    assert rest["label"].tolist() == [-1] * 4
    assert data.beyond(table, 6).empty and data.beyond(table, 99).empty


def call(label: str, split: str, *turns: tuple[str, str]) -> dict:
    said = [{"caller_name": caller, "intent": intent, "entities": []} for caller, intent in turns]
    return {"LUHF": label, "utterances_annotations": said, "_split": split}


def test_a_call_of_both_parts_is_judged_in_neither_and_views_read_what_they_say():
    twice = [("nlg", "greet"), ("nlu", "confirm")]
    rows = [call("luhf", split, *twice) for split in ("validation", "test")]
    table = calls.table([*rows, call("not_luhf", "test", ("nlg", "greet"))])
    assert list(table["split"]) == ["validation", "test"] and list(table["label"]) == [1, 0]
    assert table["turns"][0] == ("machine: greet", "caller: confirm")
    turns = [f"caller: {number}" for number in range(20)]
    assert calls.VIEWS["first 8 turns"](turns) == turns[:8]
    assert calls.VIEWS["all but the last 4 turns"](turns) == turns[:16]
    assert calls.VIEWS["only who spoke last"](turns) == ["caller"]


@here
def test_the_end_of_a_call_gives_its_label_away_and_its_start_does_not():
    found = calls.compare(calls.read()).set_index("read")["PR-AUC"]
    assert found["all turns"].low > 0.65 and found["only who spoke last"].low > 0.5
    assert found["first 12 turns"].high < 0.5
    assert calls.study([calls.NAME])["PR-AUC"].tolist() == found.tolist()


def test_calls_that_are_not_named_are_not_read(monkeypatch):
    monkeypatch.delenv("COGUMI_DATA", raising=False)
    assert list(calls.study(["routellm"])) == calls.COLUMNS and not len(calls.study([]))
