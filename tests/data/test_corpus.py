"""What the student reads before training: no held-out question, no chat, and the shares that were asked for."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from itertools import islice
from random import Random

import pytest

from cogumi_utils.data import corpus, skills
from cogumi_utils.data.chat import ASSISTANT, END, SYSTEM, USER
from cogumi_utils.data.skills import words

ALPHABET = ["ab", "X", " 7", "q", "-", "zz"]
# SHA-256 of the first 500 documents of seed 1: what a base of that seed has read is part of every number after it.
DIGEST = "39e3280b7097d5c51e666d959bdfbe06b32fab1237e06a844a1d2385e9a5b70d"
LAYOUT = re.compile(
    r'# (?P<code>.*)\ndef |"""(?P<quoted>.*)"""\n|Problem: (?P<problem>.*)\nSolution: |Wish: (?P<wish>.*)\nCall: '
    r"|One says: (?P<said>.*)\nOne replies: |(?P<asked>.*)\n(?:=>|-) |(?P<line>.*\?) "
)
FACT = re.compile(r"(\d+)([+-])(\d+)=(\d+)\.\n")


def documents(n: int, seed: int = 1, repeat_share: float = 0.0, fact_share: float = 0.0) -> list[str]:
    endless = corpus.documents(seed, repeat_share=repeat_share, fact_share=fact_share, alphabet=ALPHABET)
    return list(islice(endless, n))


def question_of(document: str) -> str:
    """The question that a document prints, whatever its layout."""
    found = LAYOUT.match(document)
    return next(filter(None, found.groups())) if found else ""


@pytest.fixture(scope="module")
def printed() -> list[str]:
    return documents(20_000)


def test_the_question_of_every_layout_is_found():
    for skill in skills.all_skills():
        for row in skills.at_most(skill, 10, split="train", seed=1):
            question = row.prompt[0]["content"]
            texts = [layout.format(question=question, answer=row.answer) for layout in corpus.LAYOUTS[skill.domain]]
            assert len(set(texts)) == 2 and [question_of(text) for text in texts] == [question] * 2


def test_no_question_of_another_split_is_read(printed):
    questions = {question_of(document) for document in printed}
    assert "" not in questions and len(questions) > 10_000
    assert {skills.split_of(question) for question in questions} == {"train"}


def test_held_out_tasks_are_in_no_document(printed):
    held_out = [
        row.prompt[0]["content"]
        for split in ("validation", "test")
        for row in skills.mixed(skills.all_skills(), 20, split=split, seed=1)
    ]
    assert len(held_out) > 1500
    assert set(held_out).isdisjoint(question_of(document) for document in printed)


def form(question: str) -> str:
    """A question without its names, words and numbers: what is left is the skill's own wording."""
    return WORD.sub("_", question)


def vocabulary() -> set[str]:
    entries = [entry for name, entry in vars(words).items() if name.isupper()]
    flat = [word for entry in entries for item in entry for word in ([item] if isinstance(item, str) else item)]
    return {word for text in flat for word in text.split()}


WORD = re.compile(rf"\b(?:{'|'.join(sorted(vocabulary(), key=len, reverse=True))}|\d+)\b")


def forms(some: list[skills.Skill], n: int) -> dict[str, set[str]]:
    """{wording: names of the skills that ask so}."""
    found: dict[str, set[str]] = {}
    for skill in some:
        for row in skills.at_most(skill, n, split="train", seed=5):
            found.setdefault(form(row.prompt[0]["content"]), set()).add(skill.name)
    return found


def test_every_trained_skill_is_read_about_as_often_and_no_held_back_one(printed):
    known, held_back = forms(skills.trained_skills(), 400), forms(skills.held_back_skills(), 400)
    assert all(len(names) == 1 for names in known.values()), "two skills ask in the same words"
    assert not known.keys() & held_back.keys() and len(held_back) > 10
    counts = Counter(next(iter(known.get(form(question_of(document)), {"none of them"}))) for document in printed)
    assert set(counts) == set(skills.names(skills.trained_skills()))
    expected = len(printed) / len(skills.trained_skills())
    assert all(0.8 * expected < count < 1.2 * expected for count in counts.values())


def test_no_chat_token_is_read(printed):
    text = "".join([*printed, *documents(2000, 2, 0.5, 0.2)])
    assert all(token not in text for token in (USER, ASSISTANT, SYSTEM, END, "<|"))
    assert text.isascii()


def test_repeats_and_facts_have_their_shares():
    mixed = documents(10_000, 3, repeat_share=0.3, fact_share=0.2)
    facts = [document for document in mixed if FACT.fullmatch(document)]
    halves = [document.removesuffix("\n").split("\n") for document in mixed]
    repeats = [half for half in halves if len(half) in (2, 3) and len(set(half)) == 1]
    assert (len(facts), len(repeats)) == (2022, 3023)
    assert all(4 <= len(re.findall("ab|X| 7|q|-|zz", half[0])) <= 24 for half in repeats)
    assert {len(half) for half in repeats} == {2, 3}


def test_shares_of_one_and_none():
    assert all(FACT.fullmatch(document) for document in documents(300, fact_share=1.0))
    assert not any(FACT.fullmatch(document) for document in documents(300))
    assert all(len(set(document.split("\n")[:-1])) == 1 for document in documents(300, repeat_share=1.0))


def test_facts_are_true_and_all_that_trained_skills_need():
    made = {corpus.fact(Random(seed)) for seed in range(20_000)}
    found = [FACT.fullmatch(line).groups() for line in made]
    assert all(int(a) + int(b) == int(c) if sign == "+" else int(a) - int(b) == int(c) for a, sign, b, c in found)
    assert len(made) == 2 * 13 * 9
    small = [skill for skill in skills.trained_skills() if skill.domain == "reasoning" and not skill.lasting]
    answers = [row.answer for skill in small for row in skills.at_most(skill, 100, split="train", seed=1)]
    needed = {f"{a}\n" for answer in answers for a in re.findall(r"\d+[+-]\d+=\d+\.", answer)}
    assert len(needed) > 100 and needed <= made


def test_a_seed_decides_every_document(printed):
    assert hashlib.sha256("\0".join(printed[:500]).encode()).hexdigest() == DIGEST
    assert documents(50, 2) != printed[:50]


def test_a_sample_is_what_the_tokenizer_is_trained_on():
    sample = corpus.sample(1, 3000)
    assert len(sample) == 3000 and sample == corpus.sample(1, 3000)
    assert 20 < sum(bool(FACT.fullmatch(document)) for document in sample) < 120
    assert all(FACT.fullmatch(document) or question_of(document) for document in sample)


@pytest.mark.parametrize("skill", skills.all_skills(), ids=lambda skill: skill.name)
def test_an_opening_breaks_off_before_the_answer(skill):
    for level, task in islice(skills.tasks(skill, Random(1), "test"), 10):
        row = skills.to_example(skill, level, task, "test")
        opening, texts = corpus.opening(row), {corpus.printed(Random(seed), skill, task) for seed in range(20)}
        begun = [text for text in texts if text.startswith(opening)]
        assert len(texts) == 2 and len(begun) == 1, "one of the two layouts begins so"
        assert begun[0].removeprefix(opening).strip() == row.answer
        assert row.prompt[0]["content"] in opening and opening == opening.rstrip(" ")
