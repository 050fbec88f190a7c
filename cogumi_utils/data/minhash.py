"""MinHash signatures by `rensa`, folded into one 32-bit key per band (locality-sensitive hashing).

Two texts of Jaccard similarity s share the key of at least one of b bands of r rows with probability 1 - (1 - s^r)^b
(Leskovec, Rajaraman, Ullman: Mining of Massive Datasets, section 3.4).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from cogumi_utils.data.shingles import batches, mix, ngrams, tokenise
from cogumi_utils.errors import CogumiError

RECALL_AT_THRESHOLD = 0.99
WORKER_TEXTS = 10_000  # texts sent to a worker process at a time


@dataclass(frozen=True, slots=True)
class Bands:
    """count bands of `rows` MinHash values each."""

    count: int
    rows: int

    def recall(self, jaccard):
        """The S-curve: the probability that a pair of this Jaccard similarity becomes a candidate."""
        return 1 - (1 - np.asarray(jaccard, dtype=float) ** self.rows) ** self.count


def plan_bands(threshold: float, num_perm: int, bands: int | None = None) -> Bands:
    """The most rows per band (so the fewest candidates) that still find 99% of the pairs right at the threshold."""
    check_plan(threshold, num_perm, bands)
    if bands is not None:
        return Bands(bands, num_perm // bands)
    plans = [Bands(num_perm // rows, rows) for rows in range(num_perm, 0, -1)]
    return next((plan for plan in plans if plan.recall(threshold) >= RECALL_AT_THRESHOLD), plans[-1])


def check_plan(threshold: float, num_perm: int, bands: int | None) -> None:
    if not 0 < threshold <= 1 or num_perm < 1 or not (bands is None or 1 <= bands <= num_perm):
        raise CogumiError(
            expected="0 < threshold <= 1, num_perm >= 1, 1 <= bands <= num_perm",
            found=f"threshold={threshold}, num_perm={num_perm}, bands={bands}",
            why="a band needs at least one MinHash value, and Jaccard similarity lies between 0 and 1",
            fix="use threshold=0.8, num_perm=128 and leave bands out",
        )


def band_keys(texts: Sequence[str], plan: Bands, *, n_gram: int, seed: int, workers: int = 1) -> np.ndarray:
    """[texts, bands] uint32 keys. A text without tokens gets keys too: leave it out before comparing."""
    if workers <= 1 or len(texts) <= WORKER_TEXTS:
        return _keys_of(texts, plan, n_gram, seed)
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    parts = [texts[first : first + WORKER_TEXTS] for first in range(0, len(texts), WORKER_TEXTS)]
    with ProcessPoolExecutor(min(workers, len(parts)), mp_context=get_context("spawn")) as pool:
        same = (plan,) * len(parts), (n_gram,) * len(parts), (seed,) * len(parts)
        return np.concatenate(list(pool.map(_keys_of, parts, *same)))


def _keys_of(texts: Sequence[str], plan: Bands, n_gram: int, seed: int) -> np.ndarray:
    """The keys of one process's share of the texts."""
    keys = np.empty((len(texts), plan.count), dtype=np.uint32)
    for first, stop in batches(texts):
        hashes, offsets = ngrams(tokenise(texts[first:stop]), n_gram)
        keys[first:stop] = fold(signatures(hashes, offsets, plan.count * plan.rows, seed), plan)
    return keys


def signatures(hashes: np.ndarray, offsets: np.ndarray, num_perm: int, seed: int) -> np.ndarray:
    """[texts, num_perm] MinHash values of n-gram hashes given as rows of one flat array."""
    from rensa import RMinHash

    matrix = RMinHash.digest_matrix_from_flat_token_hashes(hashes, offsets.astype(np.uint64), num_perm, seed)
    rows: Iterable[list[int]] = matrix.to_rows()
    flat = np.fromiter(chain.from_iterable(rows), dtype=np.uint32, count=(len(offsets) - 1) * num_perm)
    return flat.reshape(-1, num_perm)


def fold(signature: np.ndarray, plan: Bands) -> np.ndarray:
    """[texts, bands] one 32-bit key per band; equal rows give equal keys, others collide once in 2^32."""
    weights = np.random.default_rng(plan.rows).integers(0, 2**63, signature.shape[1], dtype=np.uint64) * np.uint64(2)
    weighted = signature * (weights + np.uint64(1))
    sums = weighted.reshape(-1, plan.count, plan.rows).sum(axis=2, dtype=np.uint64)
    return (mix(sums) >> np.uint64(32)).astype(np.uint32)
