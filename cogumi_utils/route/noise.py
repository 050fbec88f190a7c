"""Ways to write the same query otherwise: paraphrase, another order, typing errors, case, marks, space, politeness.

Rules that a reader can check, each drawn from a seed; what stands in quotes, backticks or indented code stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from random import Random

RATE = 5.0  # typing errors for 100 characters
SYNONYMS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (r"\bWrite a( \w+)? function\b", (r"Create a\1 function", r"Implement a\1 function")),
    (r"\bDefine (\w+\([^)]*\)) to return\b", (r"Implement \1 so that it returns", r"Create \1 to return")),
    (r"\b(function [^.]*?)that returns\b", (r"\1which returns", r"\1to return")),
    (r"\b[Hh]ow many\b", ("what number of", "which number of")),
    (r"\bin (?:all|total)(?=[?.,])", ("altogether", "all told")),
    (r"\bhas (?=\d)", ("owns ",)),
    (r"\b(?:lists?) (?=the|all)", ("show ", "name ")),
    (r"\bfind (?=all|the)", ("look for ", "search for ")),
    (r"\b(?:calculate|compute)\b", ("work out", "determine")),
    (r"\b[Ww]hat is\b", ("what's",)),
    (r"\bWhich\b", ("What",)),
    (r"\bstart a timer\b", ("set a timer",)),
    (r"\bbuy\b", ("purchase",)),
    (r"\bsum of\b", ("total of",)),
    (r"\blargest\b", ("biggest",)),
    (r"\beach\b", ("every",)),
    (r"\btell me\b", ("let me know",)),
    (r"\b[Ee]xplain\b", ("describe", "clarify")),
    (r"\b[Gg]ive (?=an?|the|two|three)", ("provide ",)),
    (r"\bcreate\b", ("make", "build")),
    (r"\bbegins?\b", ("start",)),
    (r"\bchildren\b", ("kids",)),
    (r"\bHowever,", ("But",)),
    (r"\bin order to\b", ("to",)),
    (r"\bWrite\b", ("Compose", "Produce")),
)
_PROTECTED = re.compile(r'(```.*?```|`[^`\n]*`|"[^"\n]*"|^(?: {4}|\t|>>>)[^\n]*$)', re.DOTALL | re.MULTILINE)
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")
_POINTS_BACK = re.compile(
    r"\b(?:it|its|they|their|them|he|she|his|her|him|this|that|these|those|both|each|there)\b", re.I
)
_KEYS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
_BEGIN = ("Could you please help me with this? ", "Hi there, I have a small request. ", "Please: ", "Hello! ")
_END = (" Thank you very much!", " Thanks a lot.", " I'd really appreciate it.", " Many thanks in advance.")


def paraphrase(text: str, random: Random, rate: float = RATE) -> str:
    """Each rule of `SYNONYMS` where it applies; a sentence keeps its capital."""
    parts = _PROTECTED.split(text)
    for rule, others in SYNONYMS:
        other = random.choice(others)
        parts[::2] = [re.sub(rule, lambda found, other=other: _cased(found, other), part) for part in parts[::2]]
    return "".join(parts)


def _cased(found: re.Match, other: str) -> str:
    said = found.expand(other)
    return said[0].upper() + said[1:] if found.group()[0].isupper() else said


def reordered(text: str, random: Random, rate: float = RATE) -> str:
    """The question first, then what is given; only where the question points back to nothing."""
    sentences = _SENTENCE.split(text.strip())
    last = sentences[-1]
    if len(sentences) < 2 or "\n" in text or not last.endswith("?") or _POINTS_BACK.search(last):
        return text
    return " ".join([last, *sentences[:-1]])


def typos(text: str, random: Random, rate: float = RATE) -> str:
    """A neighbouring key, two letters swapped, or one dropped: `rate` for 100 characters, on ASCII letters alone."""
    written, place = [], 0
    while place < len(text):
        letter = text[place]
        if letter.isascii() and letter.isalpha() and random.random() < rate / 100:
            kind, after = random.randrange(3), text[place + 1 : place + 2]
            if kind == 0:
                letter = _neighbour(letter, random)
            elif kind == 1 and after.isalpha():
                letter, place = after + letter, place + 1
            else:
                letter = ""
        written.append(letter)
        place += 1
    return "".join(written)


def _neighbour(letter: str, random: Random) -> str:
    row = next(row for row in _KEYS if letter.lower() in row)
    at = row.index(letter.lower())
    other = random.choice(row[max(0, at - 1) : at] + row[at + 1 : at + 2])
    return other.upper() if letter.isupper() else other


def marks(text: str, random: Random, rate: float = RATE) -> str:
    """Half of the sentence marks gone, and one too many at the end; points in numbers stay."""
    thinned = re.sub(r"[.,;:!?](?=\s|$)", lambda mark: mark.group() if random.random() < 0.5 else "", text)
    return thinned + random.choice(("!!", "...", " ?", "."))


def spaces(text: str, random: Random, rate: float = RATE) -> str:
    """One space in five doubled, a line more before and after; indents stay."""
    wide = re.sub(r"(?<=\S) (?=\S)", lambda space: "  " if random.random() < 0.2 else " ", text)
    return random.choice(("\n", " ", "\n\n")) + wide + random.choice(("\n", "  ", " \n"))


def politeness(text: str, random: Random, rate: float = RATE) -> str:
    return random.choice(_BEGIN) + text + random.choice(_END)


NOISES: dict[str, Callable[[str, Random, float], str]] = {
    "paraphrase": paraphrase, "question first": reordered, "typing errors": typos,
    "lower case": lambda text, random, rate: text.lower(), "upper case": lambda text, random, rate: text.upper(),
    "sentence marks": marks, "white space": spaces, "politeness": politeness,
}  # fmt: skip


def noisy(texts: Sequence[str], name: str, seed: int, rate: float = RATE) -> list[str]:
    """The texts by the noise `name`; a text's draw does not depend on the others."""
    return [NOISES[name](text, Random(f"{seed}/{name}/{text!a}"), rate) for text in texts]
