"""What of a failure is compared: its prompt, its answer and its error, with names and numbers masked.

Which digits and which people a task speaks of says nothing about why it failed, but fills most of its words.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from cogumi_utils.data import cleaning
from cogumi_utils.failures.embed import embed, joined
from cogumi_utils.judge.grade import prompt_text
from cogumi_utils.schema import Example

if TYPE_CHECKING:
    import numpy as np
    from sentence_transformers import SentenceTransformer

NUMBER, NAME = "7", "Sam"  # what stands for all of them: an embedding model reads them as a number and a name
WORD = r"[^\W\d_]+|\d+|[^\w\s]"  # words, numbers, single signs
WORD_BUCKETS = 512  # of the word view; hashed, so that it needs no vocabulary and a new text has the same vector
WEIGHTS = {"prompt": 1.0, "words": 4.0, "answer": 1.0, "error": 1.0}  # chosen by experiment: see notebook 03
OURS = (cleaning.ASK, cleaning.END_WITH, cleaning.PASS_TESTS)  # sentences that our converters add to a set's questions
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_NAME = re.compile(r"(?<![.!?:\n] )(?<!^)(?<!\n)\b[A-Z][a-z]+\b")  # a capital letter inside a sentence
_EXPECTED = re.compile(r",? expected .*", re.DOTALL)
_QUOTED = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"")


def masked(text: str) -> str:
    """The text with one number in place of every number, and one name in place of every name inside a sentence."""
    return _NUMBER.sub(NUMBER, _NAME.sub(NAME, text))


def signature(kind: str, reason: str) -> str:
    """The error without what is particular to one task: quoted texts and numbers masked, what was expected left out."""
    return f"{kind}: {_NUMBER.sub(NUMBER, _QUOTED.sub('text', _EXPECTED.sub('', reason)))}"


def question(example: Example) -> str:
    """The masked prompt without our converters' own sentences, by which every set would be told from the others."""
    text = prompt_text(example)
    for sentence in OURS:
        text = text.replace(sentence, "")
    return masked(text.strip())


def word_vectors(texts: Sequence[str]) -> np.ndarray:
    """Which words a text has, hashed: unit vectors, float32 [n, WORD_BUCKETS] (zeros for a text without words).

    Embeddings hear what a text is about, this view how it is put: "both", "then", "o'clock".
    """
    import numpy as np
    from sklearn.feature_extraction.text import HashingVectorizer

    hashing = HashingVectorizer(n_features=WORD_BUCKETS, binary=True, norm="l2", token_pattern=WORD, dtype=np.float32)
    return hashing.transform(texts).toarray()


def prompt_views(embedder: SentenceTransformer, texts: Sequence[str]) -> dict[str, np.ndarray]:
    """Meaning ("prompt") and words ("words") of masked texts: unit vectors, float32 [n, d] each."""
    return {"prompt": embed(embedder, texts), "words": word_vectors(texts)}


def failure_views(
    embedder: SentenceTransformer, kinds: Sequence[str], answers: Sequence[str], reasons: Sequence[str]
) -> dict[str, np.ndarray]:
    """What was answered ("answer") and what is wrong with it ("error"): unit vectors, float32 [n, d] each.

    kinds: of the verifiers; reasons: theirs.
    """
    errors = [signature(kind, reason) for kind, reason in zip(kinds, reasons, strict=True)]
    return {"answer": embed(embedder, [masked(answer) for answer in answers]), "error": embed(embedder, errors)}


def together(views: Mapping[str, np.ndarray]) -> np.ndarray:
    """The views as one unit vector a row, by `WEIGHTS`."""
    return joined([(vectors, WEIGHTS[name]) for name, vectors in views.items()])


def prompt_vectors(embedder: SentenceTransformer, examples: Sequence[Example]) -> np.ndarray:
    """Where tasks lie whatever is answered to them: unit vectors, float32 [n, d], of one task the same in every run."""
    return together(prompt_views(embedder, [question(example) for example in examples]))
