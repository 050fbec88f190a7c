"""all-MiniLM-L6-v2 for the reference lines: sentence embeddings, and a static model distilled from it."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cogumi_utils.model import encoders

if TYPE_CHECKING:
    import numpy as np

STATIC_DIMENSIONS, SMOOTHING = 256, 1e-4  # of model2vec's recipe


def embed(texts: Sequence[str]) -> np.ndarray:
    """Unit vectors [texts, 384] of all-MiniLM-L6-v2; a text is embedded once a process, however often it is asked."""
    import numpy as np

    encoder, known = _encoder(), _KNOWN
    new = [text for text in dict.fromkeys(texts) if text not in known]
    if new:
        found = encoder.encode(new, batch_size=32, normalize_embeddings=True, show_progress_bar=False)
        known.update(zip(new, np.asarray(found, dtype=np.float32), strict=True))
    return np.stack([known[text] for text in texts])


_KNOWN: dict[str, np.ndarray] = {}


def forget() -> None:
    """Drop the embeddings that `embed` keeps, so that the next call computes them: for timing, and for memory."""
    _KNOWN.clear()


@functools.cache
def _encoder() -> Any:
    from sentence_transformers import SentenceTransformer
    from transformers.utils import logging

    logging.disable_progress_bar()
    return SentenceTransformer(encoders.place(), device="cpu", model_kwargs={"use_safetensors": True})


@functools.cache
def static_model(pieces: int | None = None) -> Any:
    """A model2vec model of all-MiniLM-L6-v2: one vector a word piece, no attention; under a minute to make.

    The recipe of model2vec (Tulkens and van Dongen 2024): each piece goes through the encoder by itself, PCA, then the
    weights of smooth inverse frequency, with frequencies by Zipf's law of the rank in the vocabulary. pieces: only the
    first so many have a vector, for a quick one.
    """
    import numpy as np
    from model2vec import StaticModel
    from sklearn.decomposition import PCA

    tokenizer = _encoder().tokenizer
    alone = _pieces_alone(range(min(pieces or len(tokenizer), len(tokenizer))))
    vectors = np.zeros((len(tokenizer), STATIC_DIMENSIONS), dtype=np.float32)
    vectors[: len(alone)] = PCA(STATIC_DIMENSIONS, random_state=0).fit_transform(alone)
    frequency = 1 / np.arange(2, len(tokenizer) + 2)
    weights = SMOOTHING / (SMOOTHING + frequency / frequency.sum())
    plain = tokenizer.backend_tokenizer.from_str(tokenizer.backend_tokenizer.to_str())  # a copy: both are set up anew
    return StaticModel((vectors * weights[:, None]).astype(np.float32), plain, normalize=True)


def _pieces_alone(ids: range) -> np.ndarray:
    """[pieces, 384]: mean over `[CLS] piece [SEP]` of what the encoder makes of it."""
    import numpy as np
    import torch

    encoder, found = _encoder(), []
    tokenizer, forward = encoder.tokenizer, encoder[0].auto_model
    for start in range(0, len(ids), 1024):
        some = torch.tensor(ids[start : start + 1024])
        first, last = (torch.full_like(some, special) for special in (tokenizer.cls_token_id, tokenizer.sep_token_id))
        with torch.no_grad():
            states = forward(input_ids=torch.stack([first, some, last], dim=1)).last_hidden_state
        found.append(states.mean(dim=1).numpy())
    return np.concatenate(found)
