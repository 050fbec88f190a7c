"""Plausible wrong answers: a slip in the number, the argument, the operator, the name.

Whether a changed answer is really wrong is for the caller to check.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

from cogumi_utils.schema import Example

_NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?")
_QUOTED = re.compile(r'"([^"\n]*)"')
_WORD = re.compile(r"[A-Za-z][\w'-]*")
_SWAPS = (
    (" + ", " - "), (" - ", " + "), (" * ", " + "), (" > ", " < "), (" < ", " > "), (" == ", " != "), ("max(", "min("),
    ("min(", "max("), ("upper", "lower"), ("lower", "upper"), ("startswith", "endswith"), ("endswith", "startswith"),
    ("[0]", "[-1]"), ("[-1]", "[0]"), ("[::-1]", "[::1]"), ("sum(", "len("), ("len(", "sum("), ("keys()", "values()"),
    ("range(", "range(1, "), (" and ", " or "), (" or ", " and "), ("' in ", "' not in "),
)  # fmt: skip
_SMALL_WORDS = frozenset(
    "a an and answer are as at be buy by can do does each else for from give has have how i if in into is it its me "
    "more not of on or other please say tell than that the then this to was what when where which who will with "
    "you".split()
)


def wrong_answers(example: Example, rng: Random) -> Iterator[str]:
    """Changed copies of the reference answer, the likeliest slips of its kind first, all different from it."""
    kinds = {
        "number": _wrong_result, "choice": _wrong_choice, "tool_calls": _wrong_call, "python_tests": _wrong_code,
        "final": _wrong_word, "exact": _wrong_word, "constraints": _broken_rule,
    }  # fmt: skip
    make = kinds.get(example.verifier["kind"], _cut_short)
    seen = {example.answer}
    for text in (*make(example, rng), *_cut_short(example, rng), "I do not know."):
        if text not in seen:
            seen.add(text)
            yield text


def _replace(text: str, match: re.Match[str], new: str, group: int = 0) -> str:
    return text[: match.start(group)] + new + text[match.end(group) :]


def _slipped(number: str, rng: Random) -> list[str]:
    """Off by one, by ten, by a digit too many, or with the sign turned."""
    if "." in number:
        return [f"{float(number) + slip:.{len(number.partition('.')[2])}f}" for slip in (1, -1, 10)]
    value = int(number)
    slips = [value + 1, value - 1, value + 10, value * 10]
    rng.shuffle(slips)
    return [str(slip) for slip in (*slips, -value) if slip != value]


def _wrong_result(example: Example, rng: Random) -> Iterator[str]:
    """The last number slips: the chain stays, the result does not follow."""
    matches = list(_NUMBER.finditer(example.answer))
    if matches:
        yield from (_replace(example.answer, matches[-1], slip) for slip in _slipped(matches[-1][0], rng))


def _wrong_choice(example: Example, rng: Random) -> Iterator[str]:
    right = str(example.verifier["payload"]["answer"])
    others = [letter for letter in "ABCD" if letter != right]
    rng.shuffle(others)
    head, found, tail = example.answer.rpartition(right)
    yield from ((f"{head}{letter}{tail}" if found else f"Answer: {letter}") for letter in others)


def _wrong_call(example: Example, rng: Random) -> Iterator[str]:
    """Another argument, a call left out, another function."""
    text = example.answer
    changed = [_replace(text, m, slip) for m in _NUMBER.finditer(text) for slip in _slipped(m[0], rng)[:1]]
    quoted = list(_QUOTED.finditer(text))
    others = [m[1] for m in quoted] + _words(example.prompt[-1]["content"])
    changed += [_replace(text, m, other, 1) for m in quoted for other in others[-3:] if other != m[1]]
    lines = text.splitlines()
    changed += ["\n".join(lines[:i] + lines[i + 1 :]) for i in range(len(lines)) if len(lines) > 1]
    rng.shuffle(changed)
    yield from changed
    yield re.sub(r"^[\w.]+", "none", text, count=1)
    yield 'search(query="help")'


def _wrong_code(example: Example, rng: Random) -> Iterator[str]:
    """One operator, name or constant exchanged; last of all a result that is turned round or left out."""
    code = example.answer
    swapped = [code.replace(a, b, 1) for a, b in _SWAPS if a in code]
    body = code.find("return")
    numbers = [m for m in _NUMBER.finditer(code) if m.start() > body]
    changed = swapped + [_replace(code, m, slip) for m in numbers for slip in _slipped(m[0], rng)[:1]]
    rng.shuffle(changed)
    yield from changed
    yield code.replace("return ", "return not ", 1)
    yield re.sub(r"return\b.*", "return None", code)


def _wrong_word(example: Example, rng: Random) -> Iterator[str]:
    """The answer's last word gives way to another one, best of the same case, out of the answer or the question."""
    said = list(_WORD.finditer(example.answer)) or list(_NUMBER.finditer(example.answer))
    if said:
        last = said[-1]
        words = _words(f"{example.answer} {example.prompt[-1]['content']}")
        others = [word for word in words if word.casefold() != last[0].casefold()]
        rng.shuffle(others)
        others.sort(key=lambda word: word[0].isupper() != last[0][0].isupper())
        yield from (_replace(example.answer, last, word) for word in others)


def _broken_rule(example: Example, rng: Random) -> Iterator[str]:
    """One rule broken at a time, as far as the rules let themselves be parted, in an order drawn by chance."""
    rules = [rule for rule in example.verifier["payload"]["rules"] if rule["rule"] in BREAKERS]
    rng.shuffle(rules)
    for rule in rules:
        asked = set(re.findall(r"\w+", str(rule.get("text", "")).casefold()))
        others = [word for word in _words(example.prompt[-1]["content"]) if word.casefold() not in asked]
        text = BREAKERS[rule["rule"]](example.answer, rule, rng.choice(others or ["thing"]))
        if text.strip():
            yield text


def _exchanged(text: str, rule: dict[str, Any], other: str) -> str:
    """Another word wherever the rule's text stands."""
    new = other.upper() if text == text.upper() else other
    return re.sub(re.escape(rule["text"]), lambda _: new, text, flags=re.IGNORECASE)


def _in_other_case(text: str) -> str:
    """What is forgotten of a rule about capitals: all but the first letter is small, or all is capital."""
    return text.upper() if text.capitalize() == text else text.capitalize()


def _other_start(text: str, rule: dict[str, Any], other: str) -> str:
    """The given beginning in small letters; where it has no letters, a word before it."""
    start = text[: len(rule["text"])]
    return start.lower() + text[len(start) :] if start != start.lower() else f"{other} {text}"


def _line_less(text: str, rule: dict[str, Any], other: str) -> str:
    lines = text.splitlines()
    return "\n".join(lines[:-1] if len(lines) > 1 else [text, text])


# For each rule of `judge.verifiers.RULES`: (text that keeps it, rule, word of the question) → text that breaks it.
BREAKERS: dict[str, Callable[[str, dict[str, Any], str], str]] = {
    "contains": _exchanged,
    "has_word": _exchanged,
    "repeats": _exchanged,
    "forbids": lambda text, rule, other: f"{text} {rule['text']}",
    "no_word": lambda text, rule, other: f"{text} {rule['text']}",
    "min_words": lambda text, rule, other: " ".join(text.split()[: rule["n"] - 1]),
    "max_words": lambda text, rule, other: text + f" {other}" * rule["n"],
    "max_chars": lambda text, rule, other: text + f" {other}" * rule["n"],
    "n_words": lambda text, rule, other: f"{text} {other}",
    "n_lines": _line_less,
    "n_bullets": _line_less,
    "starts_with": _other_start,
    "ends_with": lambda text, rule, other: text.removesuffix(rule["text"]).rstrip() or other,
    "lowercase": lambda text, rule, other: _in_other_case(text),
    "uppercase": lambda text, rule, other: _in_other_case(text),
    "acrostic": _line_less,
    "same_ends": lambda text, rule, other: f"{text} {other}",
    "distinct_lines": lambda text, rule, other: "\n".join([*text.splitlines()[:-1], text.splitlines()[0]]),
}


def _cut_short(example: Example, rng: Random) -> Iterator[str]:
    """The answer breaks off."""
    words = example.answer.split()
    if len(words) > 1:
        yield " ".join(words[: len(words) // 2])


def _words(text: str) -> list[str]:
    """The words that stand for something, each once."""
    return list(dict.fromkeys(word for word in _WORD.findall(text) if word.casefold() not in _SMALL_WORDS))
