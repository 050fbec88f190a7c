"""Planted defects: what the truth table says is so, and the filters are measured against it."""

import math
import re
from dataclasses import replace
from random import Random

import pandas as pd
import pytest

from cogumi_utils.data import skills
from cogumi_utils.data.dedup import chat_text, deduplicate_examples
from cogumi_utils.data.foreign import CHATS
from cogumi_utils.data.planting import plant_defects, precision_recall, score_duplicates
from cogumi_utils.data.quality import judge_rows
from cogumi_utils.data.spoiling import DEFECTS
from cogumi_utils.errors import CogumiError


@pytest.fixture(scope="module")
def clean():
    rows = [row for skill in skills.all_skills() for row in skills.examples(skill, 20, split="train", seed=1)]
    return [rows[row] for row in deduplicate_examples(rows, threshold=0.5, apart=None).keep]


@pytest.fixture(scope="module")
def planted(clean):
    return plant_defects(clean, 7, exact=0.1, near=0.2, low_quality=0.1, foreign=0.1)


def jaccard(left, right):
    grams = []
    for example in (left, right):
        tokens = re.findall(r"\w+|[^\w\s\x00-\x1f]", chat_text(example).lower())
        grams.append({tuple(tokens[i : i + 3]) for i in range(max(1, len(tokens) - 2))})
    return len(grams[0] & grams[1]) / len(grams[0] | grams[1])


def test_the_truth_table_is_true(clean, planted):
    assert len(planted.examples) == len(clean) + len(planted.truth)
    assert {row.id for row in clean} <= {row.id for row in planted.examples}
    planted_rows = set(planted.truth["row"])
    assert 0.4 < sum(planted_rows) / len(planted_rows) / len(planted.examples) < 0.6  # spread over all rows
    for line in planted.truth.itertuples():
        row = planted.examples[line.row]
        assert row.id == line.id
        if line.kind == "foreign":
            assert line.origin_row == -1 and math.isnan(line.jaccard) and row.language == line.defect in CHATS
            continue
        origin = planted.examples[line.origin_row]
        assert line.origin_row not in planted_rows
        assert line.jaccard == jaccard(row, origin)
        assert (row.messages == origin.messages) == (line.kind == "exact")
        if line.kind == "near":
            assert row.answer == origin.answer and row.verifier == origin.verifier
            assert row.quality == origin.quality - 1 and row.parents == (origin.id,)
        if line.kind == "low_quality":
            assert row.prompt == origin.prompt and math.isnan(row.quality) and line.defect in DEFECTS


def test_counts_and_variety(clean, planted):
    sizes = planted.truth["kind"].value_counts()
    shares = {"exact": 0.1, "near": 0.2, "low_quality": 0.1, "foreign": 0.1}
    assert sizes.to_dict() == {kind: round(len(clean) * share) for kind, share in shares.items()}
    near = planted.truth.loc[planted.truth["kind"] == "near", "jaccard"]
    assert near.between(0.5, 0.65).sum() > 10 and near.between(0.8, 0.99).sum() > 10
    assert set(planted.truth.loc[planted.truth["kind"] == "low_quality", "defect"]) == set(DEFECTS)
    foreign = planted.truth[planted.truth["kind"] == "foreign"]
    assert foreign["id"].is_unique and foreign["defect"].nunique() == len(CHATS) == 8


def test_the_same_seed_plants_the_same(clean, planted):
    again = plant_defects(clean, 7, exact=0.1, near=0.2, low_quality=0.1, foreign=0.1)
    assert [row.id for row in again.examples] == [row.id for row in planted.examples]
    pd.testing.assert_frame_equal(again.truth, planted.truth)
    other = plant_defects(clean, 8, exact=0.1, near=0.2, low_quality=0.1, foreign=0.1)
    assert [row.id for row in other.examples] != [row.id for row in planted.examples]


def test_dedup_finds_exactly_the_planted_pairs(planted):
    found = deduplicate_examples(planted.examples)
    score = score_duplicates(found, planted.truth, 0.8)
    assert score.precision.value == score.recall.value == 1
    assert score.precision.n == score.recall.n == (planted.truth["jaccard"] >= 0.8).sum() > 100
    removed = set(found.groups["row"])
    near = planted.truth[(planted.truth["kind"] == "near") & (planted.truth["jaccard"] >= 0.8)]
    assert set(near["row"]) <= removed  # the better original stays


def test_a_missed_pair_and_a_false_one_lower_the_scores(planted):
    found = deduplicate_examples(planted.examples)
    strict = deduplicate_examples(planted.examples, threshold=0.95)
    assert score_duplicates(strict, planted.truth, 0.8).recall.value < 0.95
    assert score_duplicates(strict, planted.truth, 0.8).precision.value == 1
    none_planted = planted.truth[planted.truth["kind"] == "foreign"]
    assert score_duplicates(found, none_planted, 0.8).precision.value == 0
    assert score_duplicates(found, none_planted, 0.8).recall is None


def test_the_language_filter_finds_exactly_the_foreign_rows(planted):
    report = judge_rows(planted.examples, min_quality=-1)
    found = report.dropped.loc[report.dropped["reasons"].map(lambda reasons: "language" in reasons), "row"]
    score = precision_recall(found, planted.rows("foreign"))
    assert score.precision.value == score.recall.value == 1 and score.recall.n == len(planted.rows("foreign")) > 70


def test_form_shows_most_defects_and_the_verifier_nearly_all(planted):
    """Measured: an answer to another task looks fine, and so does half a sum with the right number in it."""
    dropped = {}
    for verify in (False, True):
        report = judge_rows(planted.examples, verify=verify)
        rows = planted.truth[planted.truth["kind"] == "low_quality"]
        dropped[verify] = rows["row"].isin(report.dropped["row"]).groupby(rows["defect"]).mean()
        false = set(report.dropped["row"]) - planted.rows("low_quality") - planted.rows("foreign")
        assert false == set()
    blind = dropped[False][dropped[False] < 1]
    assert set(blind.index) == {"off_topic", "truncated"} and dropped[False]["off_topic"] == 0
    assert dropped[True].drop("truncated").eq(1).all() and dropped[True]["truncated"] > max(
        0.5, dropped[False]["truncated"]
    )


def test_precision_and_recall_of_sets():
    score = precision_recall([1, 2, 3, 3], {2, 3, 4, 5})
    assert (score.precision.value, score.precision.n) == (2 / 3, 3)
    assert (score.recall.value, score.recall.n) == (0.5, 4)
    assert precision_recall([], {1}).precision is None and precision_recall([1], []).recall is None


def test_foreign_chats_are_many_and_different():
    questions = [question for chats in CHATS.values() for question, _ in chats]
    assert len(set(questions)) == len(questions) == 54


@pytest.mark.parametrize("shares", [{"exact": 1.1}, {"near": -0.1}, {"foreign": 3.0}])
def test_impossible_shares_are_refused(clean, shares):
    with pytest.raises(CogumiError, match="smaller shares"):
        plant_defects(clean, 1, **shares)


def test_nothing_to_plant_into():
    with pytest.raises(CogumiError, match="0 examples"):
        plant_defects([], 1)


def test_a_row_without_quality_stays_without(clean):
    rows = [replace(row, quality=math.nan) for row in clean]
    near = plant_defects(rows, 1, exact=0, near=0.05, low_quality=0, foreign=0)
    assert all(math.isnan(row.quality) for row in near.examples)


def test_an_off_topic_answer_comes_from_another_skill(clean):
    answers = {row.answer for row in clean if row.skill != clean[0].skill}
    assert all(DEFECTS["off_topic"](clean[0], Random(seed), clean).answer in answers for seed in range(20))
