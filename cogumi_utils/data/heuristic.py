"""A heuristic score from 0 to 10 that stands for a teacher's judgement where there is none.

It sees form, not truth: a fluent wrong answer scores 10. It starts at 10 and takes off the penalties below, each a
weight times a feature between 0 and 1; without an answer the score is 0. The weights were set by hand so that one
clear defect falls below a threshold of 7; they are not fitted to any data.
"""

from __future__ import annotations

import re

from cogumi_utils.data import defects
from cogumi_utils.data.language import user_text
from cogumi_utils.schema import Example

PENALTIES = {
    "repetition": 10.0,  # share of repeated 4-word sequences beyond a half
    "garbled": 8.0,  # unreadable characters or words, full from 5% on
    "truncated": 4.0,
    "refusal": 6.0,
    "evasive": 6.0,  # the whole answer is a shrug
    "shouting": 4.0,  # nearly all letters are capitals
    "spam": 5.0,  # advertising phrases, or three addresses and more
    "parroting": 6.0,  # the answer is the question again
    "off_topic": 3.5,  # two texts of several sentences without a content word in common
}
_EVASIVE = re.compile(
    r"\W*(?:idk|dunno|i (?:really )?(?:don['’]?t|do not) (?:know|care)|no idea|whatever|lol|meh|google it|not sure|"
    r"who knows|who cares|look it up|ask (?:someone|somebody) else|same as (?:above|before)|see above|\W)+\Z",
    re.IGNORECASE,
)
_SPAM = re.compile(
    r"click (?:here|below|the link)|buy now|subscribe|limited[- ]time offer|100% free|act now|visit my|follow me on|"
    r"special discount|order today|make money",
    re.IGNORECASE,
)
_UPPER, _LOWER = re.compile("[A-Z]"), re.compile("[a-z]")
_ADDRESS = re.compile(r"https?://|www\.")
CONTENT_LETTERS, ENOUGH_CONTENT = 4, 10


def heuristic_score(example: Example) -> float:
    """0 to 10; see the module."""
    if defects.is_blank(example.answer):
        return 0.0
    found = features(user_text(example), example.answer)
    return max(0.0, 10.0 - sum(PENALTIES[name] * value for name, value in found.items()))


def features(question: str, answer: str) -> dict[str, float]:
    """{penalty: 0 to 1}."""
    return {
        "repetition": max(0.0, defects.repetition(answer) - 0.5) / 0.5,
        "garbled": min(1.0, 20 * max(defects.garble(answer), defects.garble(question))),
        "truncated": float(defects.is_truncated(answer)),
        "refusal": float(defects.is_refusal(answer)),
        "evasive": float(_EVASIVE.match(answer) is not None),
        "shouting": float(_is_shouted(answer)),
        "spam": float(_is_spam(answer)),
        "parroting": float(defects.words(answer.lower()) == defects.words(question.lower())),
        "off_topic": float(_is_off_topic(question, answer)),
    }


def _is_shouted(text: str) -> bool:
    upper, lower = len(_UPPER.findall(text)), len(_LOWER.findall(text))
    return upper >= 20 and upper > 4 * lower and len(text.split()) >= 5


def _is_spam(text: str) -> bool:
    return len(_SPAM.findall(text)) >= 2 or len(_ADDRESS.findall(text)) >= 3


def _is_off_topic(question: str, answer: str) -> bool:
    asked, said = _content(question), _content(answer)
    return min(len(asked), len(said)) >= ENOUGH_CONTENT and not asked & said


def _content(text: str) -> set[str]:
    """The beginnings of the longer words: a crude stem."""
    return {word.lower()[:5] for word in defects.words(text) if len(word) >= CONTENT_LETTERS}
