"""Clusters get names: class-based TF-IDF terms (Grootendorst 2022), and a teacher's label where there is one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cogumi_utils.data.teachers import Teacher, TeacherRequest
from cogumi_utils.failures.texts import NAME

if TYPE_CHECKING:
    import numpy as np

TERMS, NAME_TERMS, MAX_WORDS = 8, 3, 8
# words that say nothing in any cluster; longer lists hold "both", "between" and "first", which are whole patterns
STOP_WORDS = ("a", "an", "and", "are", "at", "be", "by", "do", "for", "if", "in", "is", "it", "of", "on", "or", "that",
              "the", "this", "to", "with", NAME.lower())  # fmt: skip
WORD = r"(?u)[^\W\d_][^\W\d_']*[^\W\d_]"  # letters, two and more
ASK = (
    "These questions are ones that a language model answers wrong. Say in at most {words} words what kind of question "
    "they are, and nothing else.\n\nFrequent words: {terms}\n\n{examples}"
)


def class_terms(texts: Sequence[str], labels: Sequence[int], k: int, n: int = TERMS) -> list[list[str]]:
    """The `n` words and pairs of words that mark each of the clusters 0 to k - 1, best first.

    c-TF-IDF: frequency in the cluster times log(1 + words per cluster / frequency in all). A word that a chosen pair
    holds is left out. Of ties the pair comes first, then the alphabet. A cluster without words has no terms.
    """
    import numpy as np
    from sklearn.feature_extraction.text import CountVectorizer

    counting = CountVectorizer(ngram_range=(1, 2), token_pattern=WORD, stop_words=list(STOP_WORDS))
    try:
        by_text = counting.fit_transform(texts)
    except ValueError:  # "empty vocabulary": no text has a word
        return [[] for _ in range(k)]
    counts = np.stack([by_text[np.asarray(labels) == number].sum(axis=0).A1 for number in range(k)]).astype(float)
    sizes, totals = counts.sum(axis=1, keepdims=True), counts.sum(axis=0)
    weights = counts / np.maximum(sizes, 1) * np.log1p(sizes.mean() / totals)
    vocabulary = counting.get_feature_names_out()
    return [_best(vocabulary, row, n) for row in weights]


def _best(vocabulary: np.ndarray, weights: np.ndarray, n: int) -> list[str]:
    order = sorted(
        weights.nonzero()[0], key=lambda i: (-round(float(weights[i]), 12), -vocabulary[i].count(" "), vocabulary[i])
    )
    chosen: list[str] = []
    for term in (str(vocabulary[i]) for i in order):
        words = set(term.split())
        if not any(words & set(other.split()) for other in chosen):
            chosen.append(term)
        if len(chosen) == n:
            break
    return chosen


def names_of_terms(terms: Sequence[Sequence[str]]) -> list[str]:
    """A short name from each cluster's first terms; equal names are told apart by further terms, then by number."""
    return distinct([" / ".join(own[:NAME_TERMS]) or "no words" for own in terms], terms)


def distinct(names: Sequence[str], terms: Sequence[Sequence[str]]) -> list[str]:
    """The names, each once: a repeated one gets the first of its terms that makes it new, else a number."""
    found: list[str] = []
    for name, own in zip(names, terms, strict=True):
        tries = [name, *(f"{name} ({term})" for term in own if term not in name)]
        tries += [f"{name} ({number})" for number in range(2, len(names) + 2)]
        found.append(next(text for text in tries if text not in found))
    return found


def names_of_teacher(
    teacher: Teacher, terms: Sequence[Sequence[str]], examples: Sequence[Sequence[str]]
) -> tuple[list[str], list[str]]:
    """(names, label sources): the teacher's words, or the terms' ("terms") where it gave none.

    examples: a few prompts of each cluster. They are data: the teacher may be misled by them, so its label is cleaned
    and used as a name only.
    """
    requests = [_request(own, some) for own, some in zip(terms, examples, strict=True)]
    answers = teacher.answer(requests)
    labels = [cleaned("" if answer.error else answer.text) for answer in answers]
    names = [label or name for label, name in zip(labels, names_of_terms(terms), strict=True)]
    return distinct(names, terms), [teacher.name if label else "terms" for label in labels]


def teacher_of(
    endpoint: str, model: str, *, key_variable: str, usd_per_million: Sequence[float], limit_usd: float, folder: Path
) -> Teacher | None:
    """The teacher that names patterns, None without an endpoint. usd_per_million: of its input and output tokens."""
    if not endpoint:
        return None
    from cogumi_utils.data.openai_teacher import OpenAITeacher
    from cogumi_utils.data.spending import Price

    prices = {model: Price(*usd_per_million)}
    return OpenAITeacher(
        model, base_url=endpoint, prices=prices, limit_usd=limit_usd, folder=folder, api_key_env=key_variable
    )


def _request(terms: Sequence[str], examples: Sequence[str]) -> TeacherRequest:
    shown = "\n".join(f"- {' '.join(text.split())[:300]}" for text in examples)
    text = ASK.format(words=MAX_WORDS, terms=", ".join(terms), examples=shown)
    return TeacherRequest([{"role": "user", "content": text}], max_tokens=40)


def cleaned(label: str) -> str:
    """The first line's first words, without signs around them; empty where nothing readable is left."""
    line = next((line for line in label.splitlines() if line.strip()), "")
    words = re.sub(r"[^\w\s'’/+-]", " ", line).split()[:MAX_WORDS]
    return " ".join(words).strip("'’/+- ")
