"""Texts as unit vectors, by a sentence-transformers model from a folder, the hub, or the package that carries one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cogumi_utils.errors import CogumiError
from cogumi_utils.model import encoders

if TYPE_CHECKING:
    import numpy as np
    from sentence_transformers import SentenceTransformer


def load_embedder(name: str = encoders.PACKAGED, device: str = "cpu") -> SentenceTransformer:
    """The embedding model `name`: "packaged", a folder, or a hub id; safetensors only, no remote code.

    Raises CogumiError where there is none of that name.
    """
    from sentence_transformers import SentenceTransformer
    from transformers.utils import logging

    logging.disable_progress_bar()
    try:
        return SentenceTransformer(encoders.place(name), device=device, model_kwargs={"use_safetensors": True})
    except (OSError, ValueError) as error:
        raise CogumiError(
            expected="a sentence-transformers model: `packaged`, a folder with safetensors, or a hub id",
            found=f"{name}: {str(error).splitlines()[0]}",
            why="failures are compared by their vectors",
            fix=f"set the parameter `embedder` to {encoders.PACKAGED!r}, which needs no network",
        ) from error


def embed(embedder: SentenceTransformer, texts: Sequence[str], batch: int = 32) -> np.ndarray:
    """Unit vectors, float32 [texts, dimensions], in the order of `texts`; an empty text has a vector too.

    Equal texts are embedded once (error signatures repeat a lot); the library sorts by length, so that little is
    computed on padding. Texts beyond the model's window (256 tokens of MiniLM) are cut there.
    """
    import numpy as np

    distinct = list(dict.fromkeys(texts))
    if not distinct:
        return np.zeros((0, embedder.get_embedding_dimension()), dtype=np.float32)
    vectors = embedder.encode(distinct, batch_size=batch, normalize_embeddings=True, show_progress_bar=False)
    place = {text: number for number, text in enumerate(distinct)}
    return np.asarray(vectors, dtype=np.float32)[[place[text] for text in texts]]


def joined(parts: Sequence[tuple[np.ndarray, float]]) -> np.ndarray:
    """Several views of the same rows as one unit vector a row: the cosine is the weighted mean of the views' cosines.

    parts: (unit vectors [n, d], weight above 0) for each view.
    """
    import numpy as np

    total = sum(weight for _, weight in parts)
    return np.concatenate([vectors * np.float32((weight / total) ** 0.5) for vectors, weight in parts], axis=1)
