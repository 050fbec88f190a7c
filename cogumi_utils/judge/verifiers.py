"""Checks of one answer against an Example's verifier, by kind. They never raise for an answer, whatever it holds.

All patterns are linear in the answer's length. Kinds with their payload:

- `exact` {"answer"}: the same text but for white space.
- `final` {"answer"}: the words after the last `Answer:`, without case and closing punctuation.
- `number` {"answer"}: the number after the last `Answer:`, `####` or `\\boxed`, else after the last `=`, else the last
  one; exact as a fraction: 0.5, 1/2 and .50 are one number, 1,000 and 1000 too.
- `choice` {"answer"}: one letter, after the last `Answer:` or alone.
- `tool_calls` {"calls", "ordered", "accept"}: see `judge.tool_calls`.
- `constraints` {"rules": [{"rule": name, ...}]}: see `RULES`; all must hold.
- `python_tests` {"entry_point", "tests", "setup"}: run by `judge.grade` in the sandbox.
- `none`: cannot be graded.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from cogumi_utils.errors import CogumiError
from cogumi_utils.judge import tool_calls

MAX_NUMBER_CHARS = 400
_MARKER = re.compile(r"answer\s{0,9}(?::|\bis\b:?)|####|\\boxed\{", re.IGNORECASE)
_PLAIN = r"(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)?(?:\.[0-9]+)?"
_WHOLE = r"(?!\.?[0-9]|[eE][-+]?[0-9])"  # no part of a longer one, of a version or of an exponent out of all bounds
_NUMBER = re.compile(
    rf"(?<![\w.])(?<![0-9][eE][-+])[-+]?(?=\.?[0-9]){_PLAIN}(?:[eE][-+]?[0-9]{{1,3}})?{_WHOLE}(?:/[0-9]+)?"
)
_FRACTION = re.compile(r"\\[dt]?frac\{(-?[0-9]{1,50})\}\{([0-9]{1,50})\}")
_BRACKETED_LETTER = re.compile(r"\(([A-Z])\)")
_LETTER = re.compile(r"(?<![A-Za-z])([A-HJ-Z])(?![A-Za-z'’])")  # "I" is a word more often than a choice
_LONE_LETTER = re.compile(r"\W{0,9}([A-Za-z])\W{0,9}")
_LEADING_LETTER = re.compile(r"\W{0,9}([A-Z])[.):]")
_CLOSING_LETTER = re.compile(r"(?<![A-Za-z])([A-Z])\W{0,9}$")


@dataclass(frozen=True, slots=True)
class Verdict:
    """reason: "passed", or the first thing that is wrong."""

    passed: bool
    reason: str


def _when(passed: bool, reason: str) -> Verdict:
    return Verdict(True, "passed") if passed else Verdict(False, reason)


def _shown(text: str) -> str:
    return repr(text if len(text) <= 80 else f"{text[:79]}…")


def after_marker(answer: str) -> str | None:
    """What follows the last `Answer:`, `The answer is`, `####` or `\\boxed{`; None where there is none of them."""
    end = None
    for match in _MARKER.finditer(answer):
        end = match.end()
    return None if end is None else answer[end:]


def exact(answer: str, payload: dict[str, Any]) -> Verdict:
    given, expected = " ".join(answer.split()), " ".join(str(payload["answer"]).split())
    return _when(given == expected, f"{_shown(given)}, expected {_shown(expected)}")


def final(answer: str, payload: dict[str, Any]) -> Verdict:
    tail = after_marker(answer)
    if tail is None:
        return Verdict(False, "no `Answer:`")
    given, expected = _bare(tail.strip().partition("\n")[0]), _bare(str(payload["answer"]))
    return _when(given == expected, f"{_shown(given)}, expected {_shown(expected)}")


def _bare(text: str) -> str:
    return " ".join(text.split()).strip(" .!*`\"'").casefold()


def number(answer: str, payload: dict[str, Any]) -> Verdict:
    given, expected = final_number(answer), final_number(str(payload["answer"]))
    if given is None:
        return Verdict(False, "no number")
    return _when(given == expected, f"{_number_text(given)}, expected {payload['answer']}")


def final_number(answer: str) -> Fraction | None:
    """The number that the answer ends in, exactly; None where there is none (or none of a sane size)."""
    text = _FRACTION.sub(r"\1/\2", answer.replace("−", "-"))
    tail = after_marker(text)
    if tail is not None:
        line = tail.strip().partition("\n")[0]
        result = _first_number(line.rpartition("=")[2])
        return _first_number(line) if result is None else result
    numbers = list(_NUMBER.finditer(text))
    if not numbers:
        return None
    equals = text.rfind("=")
    return _value(next((match for match in numbers if match.start() > equals >= 0), numbers[-1]))


def _first_number(text: str) -> Fraction | None:
    match = _NUMBER.search(text)
    return _value(match) if match else None


def _value(match: re.Match[str]) -> Fraction | None:
    text = match[0].replace(",", "")
    if len(text) > MAX_NUMBER_CHARS:
        return None
    try:
        upper, _, lower = text.partition("/")
        return Fraction(upper) / Fraction(lower or "1")
    except (ValueError, ZeroDivisionError):
        return None


def _number_text(value: Fraction) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:39]}…"


def choice(answer: str, payload: dict[str, Any]) -> Verdict:
    given, expected = chosen_letter(answer), str(payload["answer"]).strip("() ").upper()
    return _when(given == expected, f"{given or 'no letter'}, expected {expected}")


def chosen_letter(answer: str) -> str:
    """The letter after the last marker; else the answer's only, first or last letter that stands alone; else ""."""
    tail = after_marker(answer)
    if tail is not None:
        line = tail.strip().partition("\n")[0]
        match = _LONE_LETTER.fullmatch(line) or _BRACKETED_LETTER.search(line) or _LETTER.search(line)
    else:
        text = answer.strip()
        match = _LONE_LETTER.fullmatch(text) or _LEADING_LETTER.match(text) or _CLOSING_LETTER.search(text[-40:])
    return match[1].upper() if match else ""


def calls(answer: str, payload: dict[str, Any]) -> Verdict:
    try:
        found = tool_calls.compare_calls(tool_calls.read_calls(answer), payload)
    except tool_calls.Unreadable as error:
        return Verdict(False, str(error))
    return _when(not found, found)


def _bullets(text: str) -> int:
    return sum(line.lstrip().startswith(("- ", "* ", "• ")) for line in text.splitlines())


def _lines(text: str) -> list[str]:
    """Those that are not blank, without the white space around them."""
    return [line.strip() for line in text.splitlines() if line.strip()]


def _has_word(text: str, word: str) -> bool:
    """The word or words themselves, no part of a longer word."""
    return re.search(rf"(?<!\w){re.escape(word.casefold())}(?!\w)", text.casefold()) is not None


def _initials(text: str) -> str:
    return "".join(line[0] for line in _lines(text))


def _same_ends(text: str) -> bool:
    lines = _lines(text)
    return len(lines) > 1 and lines[0] == lines[-1]


def _distinct(text: str) -> bool:
    lines = [line.casefold() for line in _lines(text)]
    return len(set(lines)) == len(lines)


RULES: dict[str, Callable[[str, dict[str, Any]], bool]] = {
    "contains": lambda text, rule: rule["text"].casefold() in text.casefold(),
    "forbids": lambda text, rule: rule["text"].casefold() not in text.casefold(),
    "repeats": lambda text, rule: text.casefold().count(rule["text"].casefold()) >= rule["n"],
    "min_words": lambda text, rule: len(text.split()) >= rule["n"],
    "max_words": lambda text, rule: len(text.split()) <= rule["n"],
    "max_chars": lambda text, rule: len(text) <= rule["n"],
    "n_words": lambda text, rule: len(text.split()) == rule["n"],
    "n_lines": lambda text, rule: len(_lines(text)) == rule["n"],
    "n_bullets": lambda text, rule: _bullets(text) == rule["n"],
    "starts_with": lambda text, rule: text.startswith(rule["text"]),
    "ends_with": lambda text, rule: text.endswith(rule["text"]),
    "lowercase": lambda text, rule: text == text.lower() and text != text.upper(),
    "uppercase": lambda text, rule: text == text.upper() and text != text.lower(),
    "has_word": lambda text, rule: _has_word(text, rule["text"]),
    "no_word": lambda text, rule: not _has_word(text, rule["text"]),
    "acrostic": lambda text, rule: _initials(text).casefold() == rule["text"].casefold(),
    "same_ends": lambda text, rule: _same_ends(text),
    "distinct_lines": lambda text, rule: _distinct(text),
}


def constraints(answer: str, payload: dict[str, Any]) -> Verdict:
    """Verifiable instructions as in IFEval (Zhou et al. 2023); the white space around the answer does not count."""
    text = answer.strip()
    if not text:
        return Verdict(False, "empty")
    for rule in payload["rules"]:
        if rule["rule"] not in RULES:
            raise _unknown("rule", rule["rule"], RULES)
        if not RULES[rule["rule"]](text, rule):
            return Verdict(False, " ".join(str(value) for value in rule.values()))
    return Verdict(True, "passed")


VERIFIERS: dict[str, Callable[[str, dict[str, Any]], Verdict]] = {
    "exact": exact,
    "final": final,
    "number": number,
    "choice": choice,
    "tool_calls": calls,
    "constraints": constraints,
}


def _unknown(what: str, name: str, known: dict[str, Any]) -> CogumiError:
    return CogumiError(
        expected=f"one of the {what}s {', '.join(known)}",
        found=f"{what} {name!r}",
        why="an answer is graded by the check that its Example names",
        fix=f"correct the {what}'s name, or add it to cogumi_utils/judge/verifiers.py",
    )


def verify(answer: str, verifier: dict[str, Any]) -> Verdict:
    """The verdict of a verifier that runs no code."""
    kind = verifier["kind"]
    if kind not in VERIFIERS:
        raise _unknown("verifier", kind, VERIFIERS)
    return VERIFIERS[kind](answer, verifier["payload"])
