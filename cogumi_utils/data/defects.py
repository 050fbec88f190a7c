"""What can be wrong with one text, each seen by a rule that a reader can check: no model, no randomness."""

from __future__ import annotations

import re
from functools import lru_cache

from cogumi_utils.data.language import natural_words

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_LONG_RUN = re.compile(r"([^\W\d_]|!)\1{14,}")
_UNREADABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffd\ue000-\uf8ff]")  # control, private, replacement
_VOWEL = re.compile("[aeiouy]", re.IGNORECASE)
_MOJIBAKE = re.compile(r"Ã[\u0080-\u00bf]|â€|Â[\u00a0-\u00bf]|ï¿½")  # UTF-8 read as Latin-1 or Windows-1252
_ONLY_MARKS = re.compile(r"[\s.…,;:!?_\-–—*#]*\Z")
_STRUCTURED = re.compile(r"\s*(?:[\[{]|[A-Za-z_][\w.]*\()")
_QUOTED = re.compile(r'"(?:[^"\\\n]|\\.)*"' + r"|'(?:[^'\\\n]|\\.)*'")
_OPENERS, _CLOSERS = "([{", ")]}"
_DANGLING = frozenset(
    "the a an and or but of to with from as if than because their its your my our which whose would could".split()
)
_REFUSAL = re.compile(
    r"(?:i['’]?m|i am) (?:very |really |so )?sorry,? (?:but )?(?:i |as an)"
    r"|as an? (?:ai|artificial intelligence|(?:large )?language model)\b"
    r"|i (?:can(?:['’]?t|not)|am unable to|am not able to|won['’]?t|will not) "
    r"(?:assist|help(?! but)|answer|provide|fulfil|comply|do that|discuss|complete|generate|create)"
    r"|(?:i['’]?m|i am) (?:unable|not able) to (?:assist|help|answer|provide|fulfil|comply|discuss|complete)",
    re.IGNORECASE,
)
_remember = lru_cache(maxsize=32)  # the rules and the heuristic score ask the same of a row's few texts


def words(text: str) -> list[str]:
    return _WORD.findall(text)


def is_blank(text: str) -> bool:
    """Nothing but white space and punctuation."""
    return _ONLY_MARKS.match(text) is not None


@_remember
def repetition(text: str) -> float:
    """Share of the text's 4-word sequences that stand there already; 1 for a long run of one letter; 0 if short."""
    if _LONG_RUN.search(text):
        return 1.0
    tokens = words(text.lower())
    if len(tokens) < 12:
        return 0.0
    sequences = set(zip(tokens, tokens[1:], tokens[2:], tokens[3:], strict=False))
    return 1 - len(sequences) / (len(tokens) - 3)


@_remember
def garble(text: str) -> float:
    """Share of unreadable characters (control, private, U+FFFD, mojibake), or of long words without a vowel if most."""
    odd = len(_UNREADABLE.findall(text))
    if not text.isascii():
        odd += sum(map(len, _MOJIBAKE.findall(text)))
    return max(odd / max(len(text), 1), _unspeakable(text))


def _unspeakable(text: str) -> float:
    """Share of the natural words of four ASCII letters and more that have no vowel; 0 unless it is a good part."""
    long_words = {word for word in natural_words(text) if len(word) >= 4 and word.isascii() and not word.isupper()}
    mashed = sum(_VOWEL.search(word) is None for word in long_words)
    return mashed / len(long_words) if mashed >= 3 and mashed > 0.3 * len(long_words) else 0.0


@_remember
def is_truncated(text: str) -> bool:
    """An open code fence, an open bracket in a call or in JSON, or a last word that can't end a sentence."""
    stripped = text.rstrip()
    if stripped.count("```") % 2:
        return True
    if _STRUCTURED.match(stripped):
        bare = _QUOTED.sub("", stripped)
        return sum(map(bare.count, _OPENERS)) > sum(map(bare.count, _CLOSERS))
    line = stripped.rpartition("\n")[2].split()
    if len(line) < 3 or line[0] == "Answer:":
        return False
    return line[-1] in _DANGLING or line[-1].endswith((",", "("))


@_remember
def is_refusal(text: str) -> bool:
    """The answer begins by declining."""
    return _REFUSAL.search(text[:120]) is not None and not _STRUCTURED.match(text)
