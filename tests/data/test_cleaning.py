"""What notebook 01 shows of its filters, on rows whose truth can be read off."""

from __future__ import annotations

import hashlib
import json

import pandas as pd
import pytest

from cogumi_utils.data import cleaning, skills, sources
from cogumi_utils.data.dedup import deduplicate_examples
from cogumi_utils.data.planting import Planted
from cogumi_utils.data.quality import judge_rows
from cogumi_utils.errors import CogumiError
from cogumi_utils.schema import Example
from cogumi_utils.stats import wilson

LIGHT = "Please set the light in the old garden house behind the mill to exactly forty percent of its power today."
RAIN = "Tell me whether it will rain tomorrow in the small town by the lake where my sister has lived for ten years."
BREAD = "How long does a loaf of rye bread of two pounds have to stay in a hot oven before it can be eaten at all?"
LETTER = "Write one friendly line to the neighbour who has watered all the flowers on our balcony through the summer."
FRENCH = "Pouvez-vous me dire combien de temps il faut pour aller de la gare jusqu'au musée quand il pleut beaucoup ?"
ANSWERS = {
    LIGHT: "The light in the garden house now has forty percent of its power.",
    RAIN: "Yes, some rain is expected there from noon on.",
    BREAD: "About an hour, and half a day to cool.",
    LETTER: "Thank you so much, every single flower has survived because of you!",
    FRENCH: "Environ vingt minutes à pied, un peu moins en bus.",
}
RAINY = RAIN.replace("ten", "twelve")
ANSWERS[RAINY] = ANSWERS[RAIN]


def row(question: str, answer: str | None = None, source: str = "ours", quality: float = 9.0) -> Example:
    answer = ANSWERS[question] if answer is None else answer
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return Example("chat", "talk", messages, source=source, licence=f"licence of {source}", quality=quality)


# place: 0 original, 1 its exact copy, 2 a near copy of 3, 4 bad, 5 French, 6 good and from elsewhere, 7 a copy of 6
ROWS = [
    row(LIGHT), row(LIGHT), row(RAINY, quality=8.0), row(RAIN), row(BREAD, "", quality=5.0), row(FRENCH),
    row(LETTER, source="theirs"), row(LETTER, source="third", quality=8.0),
]  # fmt: skip
TRUTH = pd.DataFrame(
    [(1, "exact", "copy", 0, 1.0), (2, "near", "reworded", 3, 0.9), (4, "low_quality", "refused", -1, float("nan")),
     (5, "foreign", "fr", -1, float("nan"))],
    columns=["row", "kind", "defect", "origin_row", "jaccard"],
)  # fmt: skip
TRUTH["id"] = [ROWS[place].id for place in TRUTH["row"]]
PLANTED = Planted(ROWS[:6], TRUTH)


@pytest.fixture(scope="module")
def copies():
    return deduplicate_examples(ROWS, threshold=0.7)


@pytest.fixture(scope="module")
def report(copies):
    return judge_rows([ROWS[place] for place in copies.keep])


class Noted:
    """The part of a run that `record_raw` writes to."""

    def __init__(self):
        self.entries: dict[str, dict] = {}

    def raw(self, name: str, **entry) -> None:
        self.entries[name] = entry


def test_the_hand_made_rows_are_what_they_claim(copies, report):
    assert copies.keep == [0, 3, 4, 5, 6] or copies.keep == [1, 3, 4, 5, 6]
    assert list(report.dropped["reason"]) == ["missing_answer", "language"]


@pytest.fixture
def public_set(tmp_path, monkeypatch) -> str:
    """The name of a set of two rows in a folder of its own."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("COGUMI_DATA", str(tmp_path))
    body = b'{"question": "1+1?", "answer": "#### 2"}\n{"question": "1+2?", "answer": "#### 3"}\n'
    (tmp_path / "train.jsonl").write_bytes(body)
    file = {"file": "train.jsonl", "split": "train", "rows": 2, "sha256": hashlib.sha256(body).hexdigest()}
    entries = [{"name": "gsm8k", "rows": 2, "files": [file]}]
    (tmp_path / "MANIFEST.json").write_text(json.dumps({"data_sets": entries}))
    return "gsm8k"


def test_raw_sources_are_recorded_by_digest(public_set):
    run, tasks = Noted(), skills.mixed(skills.trained_skills(), 1, split="train", seed=1)
    cleaning.record_raw(run, tasks, [public_set, public_set])
    hub_id = sources.find(public_set).hub_id
    assert list(run.entries) == [skills.SOURCE, hub_id] and hub_id != public_set
    assert run.entries[skills.SOURCE]["rows"] == len(tasks) and run.entries[skills.SOURCE]["licence"] == skills.LICENCE
    recorded = run.entries[hub_id]
    assert recorded["rows"] == 2 and recorded["licence"] and recorded["origin"] == "local"
    assert len(recorded["sha256"]) == 64
    again, other = Noted(), Noted()
    cleaning.record_raw(again, tasks[::-1], [])
    cleaning.record_raw(other, tasks[1:], [])
    digests = [one.entries[skills.SOURCE]["sha256"] for one in (run, again, other)]
    assert digests[0] == digests[1] != digests[2]


def test_distinct_keeps_one_of_each_group():
    kept = cleaning.distinct(ROWS, 0.7)
    assert [one.prompt[-1]["content"] for one in kept] == [LIGHT, RAIN, BREAD, FRENCH, LETTER]
    assert len(cleaning.distinct(ROWS, 0.99)) == 6, "only exact copies are that alike"


def test_the_least_alike_come_first(copies):
    table = cleaning.least_alike(ROWS, copies, 2)
    assert list(table.columns) == ["dropped", "kept", "Jaccard"] and len(table) == 2
    assert [text.partition("\n")[0] for text in table.iloc[0][:2]] == [RAINY, RAIN]
    assert 0.7 < table["Jaccard"][0] < table["Jaccard"][1] == 1.0


def test_clusters_across_sources_have_two_names(copies):
    table = cleaning.across_sources(ROWS, copies)
    assert table.to_numpy().tolist() == [["ours", "ours", 2], ["third", "theirs", 1]]


def test_overlap_leaves_nothing_of_an_evaluation_text():
    evaluation = {"exam": [row(RAIN, "No.")], "other": [row("Something else entirely.", "Yes.")]}
    clean, removed = cleaning.without_overlap([ROWS[0], ROWS[3], ROWS[6]], evaluation, n=8)
    assert clean == [ROWS[0], ROWS[6]]
    assert removed[["row", "set", "kind"]].to_numpy().tolist() == [[1, "exam", "8-gram"]]
    table = cleaning.overlap_table([ROWS[0], ROWS[3], ROWS[6]], removed)
    assert table[["source", "set", "kind", "rows"]].to_numpy().tolist() == [["ours", "exam", "8-gram", 1]]
    again, none = cleaning.without_overlap(clean, evaluation, n=8)
    assert again == clean and len(none) == 0 and len(cleaning.overlap_table(clean, none)) == 0


def test_what_the_converters_add_is_not_content():
    asked = [row(f"{words} {cleaning.END_WITH}", "4") for words in ("What is two and two?", "How many legs has a cow?")]
    assert cleaning.content(asked[0]).split() == ["What", "is", "two", "and", "two?", "4"]
    exam = {"exam": [row(f"Which number is half of eight? {cleaning.END_WITH}", "4")]}
    assert len(cleaning.END_WITH.split()) > 5
    clean, removed = cleaning.without_overlap(asked, exam, n=5)
    assert clean == asked and removed.empty


def test_nothing_left_names_the_sets_and_the_way_on():
    with pytest.raises(CogumiError) as caught:
        cleaning.without_overlap([ROWS[0], ROWS[3]], {"a": [row(RAIN)], "b": [row(LIGHT)]}, n=8)
    error = caught.value
    assert error.found == "all 2 rows share a 8-gram with a, b"
    assert "contamination_n" in error.fix and "01_dataset" in error.fix and error.expected and error.why


def test_agreement_on_known_rows(copies, report):
    found = cleaning.agreement(PLANTED, copies, copies.keep, report, 0.7)
    assert {name: (pair.precision.value, pair.recall.value) for name, pair in found.items()} == {
        "duplicates": (2 / 3, 1.0),  # the public pair was not planted
        "quality_filter": (1.0, 1.0),
        "language_filter": (1.0, 1.0),
    }
    assert found["quality_filter"].precision.n == found["language_filter"].recall.n == 1
    table = cleaning.agreement_table(found)
    assert list(table["filter"]) == list(found) and table["precision"][1] == str(wilson(1, 1))
    assert set(cleaning.intervals(found)) == {f"{name}, {side}" for name in found for side in ("precision", "recall")}


def test_agreement_sees_what_a_filter_missed_and_what_it_took_wrongly(copies):
    unique = [ROWS[place] for place in copies.keep]
    blind = judge_rows(unique, min_quality=-1, languages=("en", "fr"))  # still drops the row without an answer
    found = cleaning.agreement(PLANTED, copies, copies.keep, blind, 0.7)
    assert found["language_filter"].precision is None and found["language_filter"].recall.value == 0
    assert set(cleaning.intervals(found)) == {
        "duplicates, precision", "duplicates, recall", "quality_filter, precision", "quality_filter, recall",
        "language_filter, recall",
    }  # fmt: skip
    strict = judge_rows([*unique[:2], row(LETTER, quality=1.0), *unique[2:]], min_quality=7)
    places = [*copies.keep[:2], 3, *copies.keep[2:]]
    found = cleaning.agreement(PLANTED, copies, places, strict, 0.7)
    assert (found["quality_filter"].precision.value, found["quality_filter"].precision.n) == (0.5, 2)


def test_rows_that_were_not_programmed_count_for_no_filter(copies):
    """Nobody knows the truth of a public row: dropping it is neither right nor wrong."""
    unique = [ROWS[place] for place in copies.keep]
    unique[-1] = row(LETTER, answer="", source="theirs")
    found = cleaning.agreement(PLANTED, copies, copies.keep, judge_rows(unique), 0.7)
    assert found["quality_filter"].precision.n == 1


def test_recall_of_planted_copies(copies):
    assert cleaning.exact_recall(PLANTED, copies) == 1.0
    assert cleaning.near_recall(PLANTED, copies) == wilson(1, 1)
    strict = deduplicate_examples(ROWS, threshold=0.99)
    assert cleaning.exact_recall(PLANTED, strict) == 1.0 and cleaning.near_recall(PLANTED, strict) == wilson(0, 1)
    apart = deduplicate_examples([*ROWS[:1], row(BREAD), *ROWS[2:]], threshold=0.7)
    assert cleaning.exact_recall(PLANTED, apart) == 0.0


def test_near_copies_below_the_limit_are_not_asked_for(copies):
    far = TRUTH.assign(jaccard=TRUTH["jaccard"].where(TRUTH["kind"] != "near", cleaning.NEAR - 0.01))
    assert cleaning.near_recall(Planted(ROWS[:6], far), copies) is None


def test_no_planted_copy_is_no_measurement(copies):
    with pytest.raises(CogumiError, match="planted_share above 0"):
        cleaning.exact_recall(Planted(ROWS[:6], TRUTH.iloc[1:]), copies)


def test_verified_share(copies):
    assert cleaning.verified_share(copies, 0.7) == 1.0
    assert cleaning.verified_share(copies, 0.95) == 2 / 3
    assert cleaning.verified_share(deduplicate_examples(ROWS[3:5]), 0.8) == 1.0


def test_a_share_as_a_gate_takes_it():
    assert cleaning.counted(wilson(7, 9)) == {"k": 7, "n": 9}
    assert cleaning.counted(wilson(1_234_567, 9_999_991)) == {"k": 1_234_567, "n": 9_999_991}
    assert cleaning.counted(None) == {"not_run": "no planted row reached this filter"}


def test_rows_by_source_before_and_after():
    table = cleaning.by_source(ROWS, [ROWS[0], ROWS[3]])
    assert table.to_numpy().tolist() == [
        ["ours", "licence of ours", 6, 2], ["theirs", "licence of theirs", 1, 0], ["third", "licence of third", 1, 0],
    ]  # fmt: skip


def test_every_dropped_row_has_its_line_and_reason(copies, report):
    unique = [ROWS[place] for place in copies.keep]
    clean, overlap = cleaning.without_overlap(report.kept, {"exam": [row(RAIN)]}, n=8)
    table = cleaning.dropped_table(ROWS, copies, unique, report, overlap)
    assert list(table.columns) == ["id", "source", "filter", "reason", "question"]
    assert list(table["filter"]) == ["duplicate"] * 3 + ["quality"] * 2 + ["overlap"]
    assert len(table) + len(clean) == len(ROWS), "whatever is not kept has a line"
    reasons = table.set_index("question")["reason"]
    assert reasons[LIGHT] == f"exact copy of {ROWS[0].id}" and reasons[LETTER] == f"exact copy of {ROWS[6].id}"
    assert reasons[RAINY] == f"near copy of {ROWS[3].id}"
    assert "missing_answer" in reasons[BREAD] and reasons[FRENCH] == "language"
    assert reasons[RAIN].startswith("8-gram of exam: ")
