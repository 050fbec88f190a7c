"""Which language does a user write? Judged on the natural-language words alone, and only where there are enough.

Identifier: py3langid 0.4 with 31 languages. Compared with lingua 2.1 on 108 sentences of eight other languages and
15,142 English questions of 13 sets (short queries, word problems, code tasks), a text being foreign where English gets
less than 5%: found, falsely called foreign, microseconds a text on one core of an AMD EPYC:
py3langid 108, 0, 42 (all 140 languages: 108, 2, 73); lingua with the same 31 languages 106, 3, 320 (all 75: 108, 27,
1,455; low-accuracy mode: 108, 198, 162).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from copy import copy
from functools import lru_cache

from cogumi_utils.errors import CogumiError
from cogumi_utils.schema import Example

COMMON = (
    "ar bn cs da de el en es fa fi fr he hi hu id it ja ko nl no pl pt ro ru sv ta th tr uk vi zh".split()
)  # with all 140, short English questions are taken for rare neighbours of English
MIN_WORDS, MIN_LETTERS = 4, 15
MAX_WORDS = 60  # the first words decide
MIN_OTHER_SCRIPT = 6  # letters beyond Latin that are enough by themselves: such texts may have no spaces

_NOT_LANGUAGE = re.compile(  # code, addresses, markup, TeX, JSON
    r"```.*?(?:```|\Z)|`[^`\n]*`|https?://\S+|<[^<>\n]*>|\$[^$\n]*\$|\\\w+|[{\[][^{}\[\]]*[}\]]", re.DOTALL
)
_WORD = re.compile(  # letters alone between spaces and punctuation: no identifier, call, path, or number with a unit
    r"(?<!\S)[\"'“”‘’«„(¿¡*]*([^\W\d_]+(?:['’-][^\W\d_]+)*)[\"'“”‘’»).,;:!?…*]*(?!\S)"
)
_OTHER_SCRIPT = re.compile(r"[^\W\d_\u0000-\u036f\u1e00-\u1eff]+")  # not Latin: may stand without spaces between


def user_text(example: Example) -> str:
    return "\n".join(message["content"] for message in example.messages if message["role"] == "user")


def natural_words(text: str) -> list[str]:
    """The words of a text without code, markup, addresses, identifiers and numbers."""
    text = _NOT_LANGUAGE.sub(" ", text)
    if text.isascii():
        return _WORD.findall(text)
    return [word for word in _WORD.findall(text) if not _OTHER_SCRIPT.search(word)] + _OTHER_SCRIPT.findall(text)


def is_enough(words: Sequence[str]) -> bool:
    """Whether these words tell a language: otherwise any verdict is a guess."""
    letters = "".join(words)
    other_script = 0 if letters.isascii() else sum(map(len, _OTHER_SCRIPT.findall(letters)))
    return other_script >= MIN_OTHER_SCRIPT or (len(words) >= MIN_WORDS and len(letters) >= MIN_LETTERS)


def probabilities(text: str, languages: Sequence[str] = ()) -> dict[str, float] | None:
    """{ISO 639-1 code: probability} over the common languages and `languages`; None if the text tells too little."""
    words = natural_words(text)
    if not is_enough(words):
        return None
    spoken = " ".join(word.lower() if word.isupper() else word for word in words[:MAX_WORDS])
    return dict(_identifier(tuple(languages)).rank(spoken))


@lru_cache(maxsize=16)
def _identifier(languages: tuple[str, ...]):
    identifier = copy(_model())  # shares the tables; restricting it replaces only its own view of them
    unknown = sorted(set(languages) - set(identifier.labels))
    if unknown:
        raise CogumiError(
            expected="ISO 639-1 codes that the language identifier knows, such as en or de",
            found=", ".join(unknown),
            why="rows in a language it does not know would all be dropped",
            fix="use two-letter codes in lower case",
        )
    identifier.set_languages(sorted({*COMMON, *languages}))
    return identifier


@lru_cache(maxsize=1)
def _model():
    """All 140 languages; loading takes about half a second."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
