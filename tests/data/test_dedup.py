"""Duplicates against brute force over plain Python sets, the S-curve against its formula, and who represents whom."""

import random
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cogumi_utils.data import minhash, neighbours
from cogumi_utils.data.dedup import chat_text, deduplicate, deduplicate_examples
from cogumi_utils.data.minhash import Bands, band_keys, plan_bands
from cogumi_utils.errors import CogumiError
from cogumi_utils.schema import Example

WORDS = [f"w{number}" for number in range(400)]


def grams(text, n=3):
    tokens = re.findall(r"\w+|[^\w\s]", text.lower())
    return {tuple(tokens[i : i + n]) for i in range(max(1, len(tokens) - n + 1))} if tokens else set()


def jaccard(left, right):
    one, two = grams(left), grams(right)
    return len(one & two) / len(one | two) if one or two else 1.0


def corpus(size=300, seed=5):
    """Texts of 5 to 60 words, a third of them copies with up to six words replaced."""
    rng, texts = random.Random(seed), []
    for _ in range(size):
        if texts and rng.random() < 0.35:
            words = rng.choice(texts).split()
            for _ in range(rng.randint(0, 6)):
                words[rng.randrange(len(words))] = rng.choice(WORDS)
        else:
            words = rng.choices(WORDS, k=rng.randint(5, 60))
        texts.append(" ".join(words))
    return texts


def brute_force_groups(texts, threshold):
    """Connected components over all pairs that reach the threshold, the groups of more than one."""
    label, sets = list(range(len(texts))), [grams(text) for text in texts]
    for left in range(len(texts)):
        for right in range(left):
            shared, both = len(sets[left] & sets[right]), len(sets[left] | sets[right])
            if label[left] != label[right] and shared >= threshold * both:
                old = label[left]
                label = [label[right] if value == old else value for value in label]
    groups = pd.Series(range(len(texts))).groupby(label).apply(frozenset)
    return {group for group in groups if len(group) > 1}


def groups_of(found):
    rows = pd.Series(range(len(found.group)))[found.group >= 0]
    return {frozenset(members) for _, members in rows.groupby(found.group[found.group >= 0])}


def family(count, slots, words=100, seed=1):
    """One template whose `slots` words differ from text to text."""
    rng = random.Random(seed)
    template, places = rng.choices(WORDS, k=words), rng.sample(range(words), slots)
    texts = []
    for _ in range(count):
        filled = list(template)
        for place in places:
            filled[place] = f"v{rng.randrange(10**6)}"
        texts.append(" ".join(filled))
    return texts


@pytest.mark.parametrize("threshold", [0.5, 0.8, 1.0])
def test_groups_are_those_of_brute_force(threshold):
    texts = corpus()
    found = deduplicate(texts, threshold=threshold)
    assert groups_of(found) == brute_force_groups(texts, threshold)


def test_counts_are_pinned():
    found = deduplicate(corpus())
    assert found.counts == {"texts": 300, "unique": 280, "compared": 80, "verified": 18, "crowded": 0, "removed": 38}
    assert len(found.keep) == 262 and found.bands == Bands(21, 6)


def test_every_removed_row_carries_its_exact_similarity():
    texts = corpus()
    found = deduplicate(texts)
    assert sorted([*found.keep, *found.groups["row"]]) == list(range(len(texts)))
    for line in found.groups.itertuples():
        members = np.flatnonzero(found.group == line.group)
        assert line.representative_row in members and line.representative_row in found.keep
        assert line.jaccard == jaccard(texts[line.row], texts[line.representative_row])
        assert 0.8 <= line.linked_jaccard <= max(jaccard(texts[line.row], texts[m]) for m in members if m != line.row)
        assert (line.kind == "exact") == (texts[line.row] == texts[line.representative_row])


@given(st.randoms(use_true_random=False))
@settings(max_examples=15, deadline=None)
def test_nothing_depends_on_the_input_order(rng):
    texts = [*corpus(150), *family(80, 6, words=40), "", " "]
    ids = [f"id{row}" for row in range(len(texts))]
    quality = [row % 7 for row in range(len(texts))]
    order = list(range(len(texts)))
    rng.shuffle(order)
    one = deduplicate(texts, ids, quality=quality)
    two = deduplicate(
        [texts[row] for row in order], [ids[row] for row in order], quality=[quality[row] for row in order]
    )
    assert {ids[row] for row in one.keep} == {ids[order[row]] for row in two.keep}
    columns = ["id", "group", "representative_id", "kind", "jaccard", "linked_jaccard"]
    tables = [found.groups[columns].sort_values("id", ignore_index=True) for found in (one, two)]
    pd.testing.assert_frame_equal(*tables)
    assert one.counts == two.counts


def test_nothing_depends_on_the_number_of_workers(monkeypatch):
    monkeypatch.setattr(minhash, "WORKER_TEXTS", 150)
    texts = corpus()
    alone, together = deduplicate(texts), deduplicate(texts, workers=2)
    assert alone.keep == together.keep and alone.counts == together.counts
    pd.testing.assert_frame_equal(alone.groups, together.groups)


def test_candidates_follow_the_s_curve():
    rng = random.Random(2)
    left = [" ".join(rng.choices(WORDS, k=rng.randint(40, 120))) for _ in range(8000)]
    right = []
    for text in left:
        share, words = rng.random() / 4, text.split()
        right.append(" ".join(rng.choice(WORDS) if rng.random() < share else word for word in words))
    similarity = neighbours.ShingleSets(left + right, 3).jaccard(np.arange(8000), np.arange(8000, 16000))
    plan = plan_bands(0.8, 128)
    keys = band_keys(left + right, plan, n_gram=3, seed=42)
    found = (keys[:8000] == keys[8000:]).any(axis=1)
    for low in np.arange(0.2, 1, 0.1):
        inside = (similarity >= low) & (similarity < low + 0.1)
        noise = 2.6 * 0.5 / np.sqrt(inside.sum())  # 99% of the sampling error at most
        assert inside.sum() > 300
        assert abs(found[inside].mean() - plan.recall(similarity[inside]).mean()) < 0.02 + noise


def test_bands_are_planned_for_recall_at_the_threshold():
    assert [plan_bands(threshold, 128) for threshold in (0.5, 0.7, 0.8, 0.9)] == [
        Bands(42, 3), Bands(32, 4), Bands(21, 6), Bands(12, 10),
    ]  # fmt: skip
    assert plan_bands(0.8, 128, bands=16) == Bands(16, 8)
    assert plan_bands(0.8, 1) == Bands(1, 1)
    assert float(Bands(2, 2).recall(0.5)) == 1 - (1 - 0.25) ** 2
    assert min(float(plan_bands(t / 100, 128).recall(t / 100)) for t in range(10, 101)) >= 0.99


def test_the_best_row_represents_its_group():
    texts = ["one two three four five six seven eight nine ten", "One two three four five six seven eight nine ten."]
    copies = [*texts, texts[0]]
    assert deduplicate(copies, threshold=0.7, quality=[1, 5, 2]).keep == [1]
    assert deduplicate(copies, threshold=0.7, quality=[3, float("nan"), 4]).keep == [2]
    assert texts[0] == min(texts, key=digest)
    assert deduplicate(copies, list("cab"), threshold=0.7).keep == [2]  # of two equal texts the smaller id
    assert deduplicate(copies, list("bac"), threshold=0.7).keep == [0]
    assert deduplicate(copies, threshold=0.7).groups["kind"].tolist() == ["near", "exact"]


def digest(text):
    import hashlib

    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def test_texts_without_or_with_few_tokens():
    texts = ["", " \n", "\t", "yes", "Yes", "no", "yes no", "no yes", "!", "?", "\u00a0"]
    found = deduplicate(texts)
    assert groups_of(found) == {frozenset({0, 1, 2, 10}), frozenset({3, 4})}
    assert (found.groups["jaccard"] == 1.0).all()


def test_no_texts_and_one_text():
    assert deduplicate([]).keep == [] and deduplicate([]).groups.empty
    assert deduplicate(["alone"]).keep == [0]


def test_symbols_and_numbers_tell_tasks_apart():
    assert deduplicate(["What is 3 + 4?", "What is 3 - 4?", "What is 3 + 5?"]).keep == [0, 1, 2]


def test_texts_of_different_tasks_are_kept_apart():
    texts = family(3, 1, words=60)
    assert len(deduplicate(texts).keep) == 1
    assert len(deduplicate([*texts, texts[0]], apart=["a", "b", "a", "b"]).keep) == 2
    assert len(deduplicate([texts[0]] * 4, apart=["a", "b", "a", "b"]).keep) == 2


def test_examples_are_compared_by_their_chat_and_kept_apart_by_their_verifier():
    def example(question, answer, payload, quality):
        said = {"system": "You are a helpful assistant.", "user": question, "assistant": answer}
        messages = [{"role": role, "content": text} for role, text in said.items()]
        return Example("reasoning", "gain", messages, verifier={"kind": "number", "payload": payload}, quality=quality)

    story = "Mia has some red balls in the old box and finds many more of them in the garden behind the house today."
    rows = [example(story, "Answer: 4", {"answer": "4"}, 1), example(story + " Hm.", "Answer: 4", {"answer": "4"}, 2),
            example(story, "Answer: 5", {"answer": "5"}, 3)]  # fmt: skip
    assert chat_text(rows[0]) == story + "\nAnswer: 4"
    found = deduplicate_examples(rows)
    assert found.keep == [1, 2] and found.groups["id"].tolist() == [rows[0].id]
    assert len(deduplicate_examples(rows, apart=None).keep) == 1


@pytest.mark.parametrize("slots", [2, 5, 12])
def test_crowded_buckets_cost_little_and_lose_nothing(slots):
    """2: the whole family is alike; 5: it is not, but its rare n-grams are crowded too; 12: they tell texts apart."""
    texts = family(1500, slots)
    copies = [text.rsplit(" ", 1)[0] + " changed" for text in texts[:100]]
    found = deduplicate(texts + copies)
    assert found.same_group([(row, 1500 + row) for row in range(100)]).all()
    assert found.counts["compared"] < 20 * 1600  # of 1,279,200 pairs
    assert (found.counts["crowded"] > 0) == (slots == 5)
    assert len(found.keep) == (1 if slots == 2 else 1500)


def test_buckets_too_large_for_rare_ngrams_are_marked(monkeypatch):
    monkeypatch.setattr(neighbours, "MAX_CROWD", 100)
    found = deduplicate([*family(400, 7), "something else entirely"])
    assert 100 < found.counts["crowded"] <= 400 and len(found.keep) == 401


def test_a_chain_of_small_changes_is_one_group():
    words = [f"c{number}" for number in range(60)]
    chain = [" ".join([*(f"x{i}" for i in range(step)), *words[step:]]) for step in range(0, 30, 2)]
    found = deduplicate(chain, threshold=0.85)
    assert len(found.keep) == 1
    assert found.groups["jaccard"].min() < 0.85 <= found.groups["linked_jaccard"].min()


@pytest.mark.parametrize(
    "options",
    [{"threshold": 0}, {"threshold": 1.2}, {"num_perm": 0}, {"bands": 200}, {"bands": 0}, {"n_gram": 0},
     {"quality": [1.0]}, {"apart": ["a"]}, {"ids": ["a"]}],
)  # fmt: skip
def test_impossible_settings_are_refused(options):
    with pytest.raises(CogumiError, match="expected:"):
        deduplicate(["one", "two"], **options)
