"""Few-shot retrieval: exact, the same after reading back, and calm about whatever a user types."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from cogumi_utils.data.skills import families
from cogumi_utils.errors import CogumiError
from cogumi_utils.route import examples
from cogumi_utils.route.templates import Template
from cogumi_utils.schema import Example

ODD = ["", " \n", "\x00\xff", "\ud800 lone", "مرحبا بالعالم", "שלום Rome привет", "word " * 200_000, "?" * 1_000_000]


@pytest.fixture(scope="module")
def episodes():
    return families.episodes(families.families("train", 100), 12, 1, seed=1)


@pytest.fixture(scope="module")
def stored(episodes) -> list[Example]:
    return [row for episode in episodes for row in episode.support]


@pytest.fixture(scope="module")
def folder(stored, tmp_path_factory):
    place = tmp_path_factory.mktemp("examples") / "store"
    examples.build(stored, place)
    return place


@pytest.fixture(scope="module")
def store(folder):
    return examples.open_store(folder)


def test_search_is_exact(store, stored):
    """The cosine of tf-idf vectors, made here with dictionaries, gives the same five."""
    query = "Write in some new way: Ann, red and Oslo."
    texts = [
        dict(zip(row.indices, row.data, strict=True)) for row in examples.counts([examples.question(r) for r in stored])
    ]
    (asked,) = (dict(zip(row.indices, row.data, strict=True)) for row in examples.counts([query]))
    seen = {word: sum(word in text for text in texts) for word in {w for t in [*texts, asked] for w in t}}
    idf = {w: 0.0 if n > 0.1 * len(texts) else np.log((1 + len(texts)) / (1 + n)) + 1 for w, n in seen.items()}

    def unit(text):
        norm = np.sqrt(sum((idf[w] * c) ** 2 for w, c in text.items()))
        return {w: idf[w] * c / norm for w, c in text.items()} if norm else {}

    asked = unit(asked)
    cosines = [sum(asked.get(w, 0) * v for w, v in unit(text).items()) for text in texts]
    assert np.allclose(store.similarities(query), cosines, atol=1e-5)
    best = sorted(range(len(stored)), key=lambda i: (-round(cosines[i], 5), i))[:5]
    assert [round(one.similarity, 4) for one in store.nearest(query)] == pytest.approx(
        [cosines[i] for i in best], abs=1e-4
    )


def test_an_invented_word_finds_its_family(store, episodes):
    named = [e for e in episodes if e.family.kind != "operator"]
    found = [
        [one.example.skill == e.family.name for one in store.nearest(examples.question(e.queries[0]))] for e in named
    ]
    assert (len(found), sum(first for first, *_ in found), sum(map(sum, found))) == (86, 62, 265)


def test_equal_examples_come_in_the_order_of_the_store(stored, tmp_path):
    twins = examples.build([stored[0]] * 7 + stored[100:103], tmp_path / "twins")
    assert twins.similarities(examples.question(stored[0])).argmax() == 0
    assert [one.similarity for one in twins.nearest(examples.question(stored[0]), 7)] == [
        pytest.approx(1, abs=1e-5)
    ] * 7


def test_read_back_it_answers_alike(store, stored, tmp_path):
    again = examples.build(stored, tmp_path / "again")
    query = examples.question(stored[3])
    assert store.nearest(query) == again.nearest(query) and len(store.nearest(query)) == 5


@pytest.mark.parametrize("query", ODD)
def test_odd_queries_find_few_or_none_and_the_template_answers(store, query):
    assert len(store.nearest(query, 5)) <= 5
    assert Template(opening="Be brief.").prompt(store, query)[-1] == {"role": "user", "content": query}


def test_an_empty_query_finds_none(store):
    assert store.nearest("") == []


def test_only_the_domain_that_is_asked_for(store):
    found = store.nearest("Write in kola: Ann, red.", 5, domain="families/code")
    assert {one.example.domain for one in found} <= {"families/code"}
    with pytest.raises(CogumiError, match="families/cod'"):
        store.nearest("x", domain="families/cod")


@pytest.mark.parametrize("name", [examples.EXAMPLES, examples.INDEX])
def test_a_file_altered_on_disk_is_refused(stored, tmp_path, name):
    examples.build(stored[:20], tmp_path)
    data = bytearray((tmp_path / name).read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / name).write_bytes(bytes(data))
    with pytest.raises(CogumiError, match=f"{name} changed on disk"):
        examples.open_store(tmp_path)


@pytest.mark.parametrize("card", [None, "[]", "{}", "not json"])
def test_a_store_without_its_card_is_refused(stored, tmp_path, card):
    examples.build(stored[:20], tmp_path)
    (tmp_path / examples.CARD).unlink() if card is None else (tmp_path / examples.CARD).write_text(card)
    with pytest.raises(CogumiError, match="build it again"):
        examples.open_store(tmp_path)


def test_examples_without_answers_are_refused(stored, tmp_path):
    with pytest.raises(CogumiError, match="none"):
        examples.build([], tmp_path)
    unanswered = Example("d", "s", [{"role": "user", "content": "x"}])
    with pytest.raises(CogumiError, match="1 of 2 without one"):
        examples.build([stored[0], unanswered], tmp_path)


def test_the_nearest_example_stands_next_to_the_query(store, episodes):
    query = examples.question(episodes[0].queries[0])
    prompt = Template(shots=3).prompt(store, query)
    found = store.nearest(query, 3)
    assert [m["role"] for m in prompt] == ["user", "assistant"] * 3 + ["user"]
    assert prompt[-3]["content"] == examples.question(found[0].example) and prompt[-1]["content"] == query


def test_the_query_itself_is_never_shown(store, stored):
    prompt = Template(shots=5).prompt(store, examples.question(stored[0]))
    assert [m["content"] for m in prompt].count(examples.question(stored[0])) == 1 and len(prompt) == 11


def test_a_template_has_a_limit_of_characters(store, stored):
    query = examples.question(stored[0])
    assert len(Template(shots=5, longest=0).prompt(store, query)) == 1
    assert len(Template(shots=5, longest=100).prompt(store, query)) < 11
    assert len(Template(shots=5, least=1.1).prompt(store, query)) == 1


def test_no_torch_on_the_way_to_a_prompt(folder):
    script = (
        "import sys; from pathlib import Path; from cogumi_utils.route import examples, templates;"
        f"store = examples.open_store(Path({str(folder)!r}));"
        "assert len(templates.Template().prompt(store, 'Write in a new way: Ann, red.')) > 1;"
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
