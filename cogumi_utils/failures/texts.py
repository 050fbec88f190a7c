"""What of a failure is compared: its prompt, its answer and its error, with names and numbers masked.

Which digits and which people a task speaks of says nothing about why it failed, but fills most of its words.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cogumi_utils.failures.embed import embed, joined
from cogumi_utils.judge.grade import prompt_text
from cogumi_utils.schema import Example

if TYPE_CHECKING:
    import numpy as np
    from sentence_transformers import SentenceTransformer

NUMBER, NAME = "7", "Sam"  # what stands for all of them: an embedding model reads them as a number and a name
WORD = r"[^\W\d_]+|\d+|[^\w\s]"  # words, numbers, single signs
WORD_BUCKETS = 512  # of the word view; hashed, so that it needs no vocabulary and a new text has the same vector
WEIGHTS = {"prompt": 2.0, "words": 2.0, "answer": 1.0, "error": 1.0}  # chosen by experiment: see notebook 03
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_NAME = re.compile(r"(?<![.!?:\n] )(?<!^)(?<!\n)\b[A-Z][a-z]+\b")  # a capital letter inside a sentence
_QUOTED = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"")


def masked(text: str) -> str:
    """The text with one number in place of every number, and one name in place of every name inside a sentence."""
    return _NUMBER.sub(NUMBER, _NAME.sub(NAME, text))


def signature(kind: str, reason: str) -> str:
    """The error without what is particular to one task: verifier's kind and reason, quoted texts and numbers masked."""
    return f"{kind}: {_NUMBER.sub(NUMBER, _QUOTED.sub('text', reason))}"


def word_vectors(texts: Sequence[str]) -> np.ndarray:
    """Which words a text has, hashed: unit vectors, float32 [n, WORD_BUCKETS] (zeros for a text without words).

    Embeddings hear what a text is about, this view how it is put: "both", "then", "o'clock".
    """
    import numpy as np
    from sklearn.feature_extraction.text import HashingVectorizer

    hashing = HashingVectorizer(n_features=WORD_BUCKETS, binary=True, norm="l2", token_pattern=WORD, dtype=np.float32)
    return hashing.transform(texts).toarray()


def prompt_vectors(embedder: SentenceTransformer, examples: Sequence[Example]) -> np.ndarray:
    """Where tasks lie whatever is answered to them: unit vectors, float32 [n, d], of one task the same in every run."""
    prompts = [masked(prompt_text(example)) for example in examples]
    return joined([(embed(embedder, prompts), WEIGHTS["prompt"]), (word_vectors(prompts), WEIGHTS["words"])])


def failure_vectors(
    embedder: SentenceTransformer, examples: Sequence[Example], answers: Sequence[str], reasons: Sequence[str],
    prompts: np.ndarray | None = None,
) -> np.ndarray:  # fmt: skip
    """Prompt, answer and error signature of each failure as one unit vector, float32 [n, d].

    prompts: their `prompt_vectors`, where they are known already.
    """
    prompts = prompt_vectors(embedder, examples) if prompts is None else prompts
    errors = [signature(e.verifier["kind"], reason) for e, reason in zip(examples, reasons, strict=True)]
    said = embed(embedder, [masked(answer) for answer in answers])
    return joined([
        (prompts, WEIGHTS["prompt"] + WEIGHTS["words"]), (said, WEIGHTS["answer"]),
        (embed(embedder, errors), WEIGHTS["error"]),
    ])  # fmt: skip
