"""Strings that tokenizers disagree on, to compare two of them: made by program, equal for equal seeds."""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Callable, Sequence

from cogumi_utils.data import skills

_SPACES = " \t\n\r\v\f\u0085\u00a0\u1680\u2003\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
# First and last code points of scripts: Latin with marks, Greek, Cyrillic, Hebrew, Arabic, Devanagari, Bengali, Tamil,
# Thai, Tibetan, Georgian, Hangul, Ethiopic, Khmer, kana, Han, Yi, Gothic, mathematical letters, fullwidth forms, digits
# and numbers of other scripts, punctuation, currency, arrows.
_BLOCKS = (
    (0xC0, 0x24F), (0x300, 0x36F), (0x370, 0x3FF), (0x400, 0x52F), (0x590, 0x5FF), (0x600, 0x6FF), (0x900, 0x97F),
    (0x980, 0x9FF), (0xB80, 0xBFF), (0xE00, 0xE7F), (0xF00, 0xFFF), (0x10A0, 0x10FF), (0x1100, 0x11FF),
    (0x1200, 0x137F), (0x1780, 0x17FF), (0x3040, 0x30FF), (0x4E00, 0x9FFF), (0xA000, 0xA48C), (0xAC00, 0xD7A3),
    (0x10330, 0x1034A), (0x1D400, 0x1D7FF), (0xFF00, 0xFFEF), (0x2150, 0x218F), (0x2460, 0x24FF), (0x3200, 0x32FF),
    (0x2000, 0x206F), (0x20A0, 0x20C0), (0x2190, 0x22FF), (0x1F600, 0x1F64F), (0xE0100, 0xE01EF),
)  # fmt: skip
_EMOJI = "👩 👨 👧 💻 🚀 ❤ 🏳 🌈 🇩 🇪 🇧 🇷 👍 🧑 🔬 🫶".split()
_JOINERS = ("\u200d", "\ufe0f", "\U0001f3fd", "\u20e3", "")
_CONTRACTIONS = "I'll we've don't it's THEY'RE he'd x'S 'tis rock'n'roll o'clock ''s 'll''ve".split()


def probe_strings(n: int, seed: int, special: Sequence[str] = ()) -> list[str]:
    """`n` strings, an equal share of each kind: task prompts and answers, code, digits, runs of white space, scripts,
    emoji with joiners, control characters, random bytes decoded with replacement, all of Unicode, contractions, and
    what looks like one of the `special` tokens or is one.
    """
    draw = random.Random(seed)
    examples = skills.mixed(skills.trained_skills(), 20, split="train", seed=seed)
    texts = [message["content"] for example in examples for message in example.messages]
    special = list(special) or ["<|end|>", "<s>"]
    kinds = _kinds(draw, texts, special)
    found = [kinds[place % len(kinds)]() for place in range(n)]
    draw.shuffle(found)
    return found


def _kinds(draw: random.Random, texts: Sequence[str], special: Sequence[str]) -> list[Callable[[], str]]:
    """One generator of strings a kind."""
    return [
        lambda: draw.choice(texts),
        lambda: _cut(draw, draw.choice(texts)),
        lambda: _joined(draw, "0123456789.,-+%$ eE", 1, 24),
        lambda: _joined(draw, [*_SPACES, "  ", "    ", "\r\n", "a", "7", "'", "."], 2, 16),
        lambda: _script(draw),
        lambda: "".join(draw.choice(_EMOJI) + draw.choice(_JOINERS) for _ in range(draw.randint(1, 6))),
        lambda: _joined(draw, [*map(chr, range(0x20)), "\x7f", "\x80", "\x9f", "\ufeff", "\u200b", "x", "1"], 1, 12),
        lambda: draw.randbytes(draw.randint(1, 40)).decode("utf-8", "replace"),
        lambda: "".join(_character(draw) for _ in range(draw.randint(1, 20))),
        lambda: _joined(draw, [*_CONTRACTIONS, " ", ", ", "\n"], 1, 8),
        lambda: _lookalike(draw, special),
    ]


def _joined(draw: random.Random, parts: Sequence[str], shortest: int, longest: int) -> str:
    return "".join(draw.choices(list(parts), k=draw.randint(shortest, longest)))


def _cut(draw: random.Random, text: str) -> str:
    """A piece of a text, from and to anywhere."""
    start = draw.randrange(len(text))
    return text[start : draw.randint(start + 1, len(text))]


def _script(draw: random.Random) -> str:
    """Words of one script, with spaces and Latin letters between, composed or decomposed."""
    first, last = draw.choice(_BLOCKS)
    characters = [chr(draw.randint(first, last)) for _ in range(draw.randint(1, 16))]
    text = "".join(one + draw.choice(("", "", "", " ", "a", "5")) for one in characters)
    return unicodedata.normalize(draw.choice(("NFC", "NFD", "NFKC")), text)


def _character(draw: random.Random) -> str:
    """Any character that Python's edition of Unicode has, private ones too; surrogates are none.

    Those that came later are letters in one library and nothing in the other: of all 1,112,064 code points the 4,395
    in which tokenizers 0.23 and llama.cpp 0.3.36 differ are without exception not in Unicode 14.
    """
    while unicodedata.category(found := chr(draw.randrange(0x110000))) in ("Cs", "Cn"):
        pass
    return found


def _lookalike(draw: random.Random, special: Sequence[str]) -> str:
    """Special tokens whole, cut, doubled, in other letters, between words."""
    token = draw.choice(special)
    changed = (token, token[:-1], token[1:], token.upper(), f"{token[0]}{token}", token.replace("|", " |"), token * 2)
    return draw.choice(("", " ", "say ", "\n")) + draw.choice(changed) + draw.choice(("", " ", "ok", "\n", token))
