"""From band keys to verified links: which texts share a band, and is their exact Jaccard similarity high enough?

Every pair that shares a band is settled by one of four facts, so that nothing is lost beside the S-curve:
it was compared exactly; its two texts are already connected; its sizes alone rule it out; or, in a crowded bucket
(shared boilerplate), the prefix filter of set-similarity joins (Bayardo, Ma, Srikant 2007; Xiao et al. 2008) rules it
out: two sets of similarity t share one of their |x| - ceil(t|x|) + 1 rarest elements. Pairs that only ever meet where
even those rare elements are crowded, or in buckets over MAX_CROWD texts, are compared with the first text there alone;
`Links.crowded` marks their texts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from cogumi_utils.data.shingles import batches, mix, ngrams, tokenise

CROWDED = 64  # texts in a bucket beyond which not every pair is compared
MAX_CROWD = 20_000  # texts in a bucket beyond which no rare elements are looked for (memory)
PAIRS_AT_ONCE = 20_000
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)


class ShingleSets:
    """The n-gram sets of some texts as rows of a sparse 0/1 matrix whose column is the n-gram's 63-bit hash."""

    def __init__(self, texts: Sequence[str], n_gram: int):
        from scipy.sparse import csr_array

        parts = [ngrams(tokenise(texts[first:stop]), n_gram) for first, stop in batches(texts)]
        columns = np.concatenate([(hashes >> np.uint64(1)).view(np.int64) for hashes, _ in parts] or [np.zeros(0, int)])
        counts = np.concatenate([np.diff(offsets) for _, offsets in parts] or [np.zeros(0, int)])
        rows = np.concatenate(([0], np.cumsum(counts)))
        shape = (len(texts), 2**63 - 1)
        self.matrix = csr_array((np.ones(len(columns), np.int8), columns, rows), shape=shape)
        self.matrix.sum_duplicates()
        self.matrix.data[:] = 1
        self.sizes = np.diff(self.matrix.indptr)

    def jaccard(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """[pairs] exact Jaccard similarity of rows; 1 for two empty sets."""
        shared = np.empty(len(left), dtype=np.int64)
        for first in range(0, len(left), PAIRS_AT_ONCE):
            part = slice(first, first + PAIRS_AT_ONCE)
            product = self.matrix[left[part]].multiply(self.matrix[right[part]]).tocsr()
            shared[part] = np.diff(product.indptr)
        union = self.sizes[left] + self.sizes[right] - shared
        return np.where(union > 0, shared / np.maximum(union, 1), 1.0)


@dataclass
class Links:
    """Connected texts so far. component: [texts] label; strength: [texts] highest verified similarity, 0 if none;
    crowded: [texts] met others in a bucket too crowded to settle all pairs; compared, verified: numbers of pairs."""

    sets: ShingleSets
    threshold: float
    apart: np.ndarray | None = None  # [texts] texts of different values are never linked
    component: np.ndarray = field(init=False)
    strength: np.ndarray = field(init=False)
    crowded: np.ndarray = field(init=False)
    compared: int = 0
    verified: int = 0

    def __post_init__(self):
        self.component = np.arange(len(self.sets.sizes))
        self.strength = np.zeros(len(self.sets.sizes))
        self.crowded = np.zeros(len(self.sets.sizes), dtype=bool)
        self._linked = self._different = np.zeros(0, dtype=np.uint64)

    def settle(self, left: np.ndarray, right: np.ndarray) -> None:
        """Compare the pairs that are still open, and connect those that reach the threshold."""
        pairs = np.unique((np.minimum(left, right) << _HALF) | np.maximum(left, right))
        pairs = self._open(pairs)
        left, right = _split(pairs)
        jaccard = self.sets.jaccard(left, right)
        similar = jaccard >= self.threshold
        self.compared += len(pairs)
        self.verified += int(similar.sum())
        self._different = np.union1d(self._different, pairs[~similar])
        if similar.any():
            self._linked = np.concatenate((self._linked, pairs[similar]))
            for side in (left, right):
                np.maximum.at(self.strength, side[similar], jaccard[similar])
            self._connect()

    def _open(self, pairs: np.ndarray) -> np.ndarray:
        left, right = _split(pairs)
        smaller, larger = (
            np.minimum(self.sets.sizes[left], self.sets.sizes[right]),
            self.sets.sizes[[left, right]].max(0),
        )
        keep = (self.component[left] != self.component[right]) & (
            smaller / larger.clip(1) >= self.threshold * (larger > 0)
        )
        if self.apart is not None:
            keep &= self.apart[left] == self.apart[right]
        return np.setdiff1d(pairs[keep], self._different, assume_unique=True)

    def _connect(self) -> None:
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        left, right = _split(self._linked)
        size = len(self.component)
        graph = coo_array((np.ones(len(left), np.int8), (left, right)), shape=(size, size))
        self.component = connected_components(graph, directed=False)[1]


def link(keys: np.ndarray, texts: Sequence[str], threshold: float, n_gram: int, apart: np.ndarray | None) -> Links:
    """Links among `texts` ([texts, bands] `keys`); their order decides only which pairs are skipped."""
    links = Links(ShingleSets(texts, n_gram), threshold, apart)
    for band in range(keys.shape[1]):
        runs, members = bucket(keys[:, band])
        for left, right in pairs_in_runs(runs, members):
            links.settle(left, right)
        _settle_crowds(links, runs, members)
    return links


def bucket(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(key, text) of the texts that share a key, sorted by both."""
    packed = np.sort((keys.astype(np.uint64) << _HALF) | np.arange(len(keys), dtype=np.uint64))
    runs = packed >> _HALF
    same, shared = runs[1:] == runs[:-1], np.zeros(len(runs), dtype=bool)
    shared[1:] |= same
    shared[:-1] |= same
    return runs[shared], packed[shared] & _LOW


def pairs_in_runs(runs: np.ndarray, members: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """All pairs inside each run of equal values; in a crowded run only those with its first member."""
    starts, lengths = _run_bounds(runs)
    first, length = np.repeat(starts, lengths), np.repeat(lengths, lengths)
    rank = np.arange(len(runs)) - first
    counts = np.where(length > CROWDED, np.minimum(rank, 1), rank)
    ends = np.cumsum(counts)
    part = ends // (50 * PAIRS_AT_ONCE)
    for begin, size in zip(*_run_bounds(part), strict=True):
        here = slice(begin, begin + size)
        left = np.repeat(np.arange(begin, begin + size), counts[here])
        offset = np.arange(len(left)) - np.repeat(
            ends[here] - counts[here] - (ends[begin] - counts[begin]), counts[here]
        )
        yield members[left], members[np.repeat(first[here], counts[here]) + offset]


def _settle_crowds(links: Links, runs: np.ndarray, members: np.ndarray) -> None:
    """Settle crowded buckets, about MAX_CROWD texts at a time, and mark what stays open."""
    runs, members = _still_open(links, runs, members)
    starts, lengths = _run_bounds(runs)
    huge = np.repeat(lengths > MAX_CROWD, lengths)
    links.crowded[members[huge]] = True
    runs, members, lengths = runs[~huge], members[~huge], lengths[lengths <= MAX_CROWD]
    part = np.repeat(np.cumsum(lengths) // MAX_CROWD, lengths)
    for begin, size in zip(*_run_bounds(part), strict=True):
        keys, owners = _rare_ngrams(links, runs[begin : begin + size], members[begin : begin + size])
        for left, right in pairs_in_runs(keys, owners):
            links.settle(left, right)
        links.crowded[_still_open(links, keys, owners)[1]] = True


def _still_open(links: Links, runs: np.ndarray, members: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The crowded runs whose members are not all connected."""
    starts, lengths = _run_bounds(runs)
    if not len(starts):
        return runs, members
    labels = links.component[members]
    mixed = np.minimum.reduceat(labels, starts) != np.maximum.reduceat(labels, starts)
    keep = np.repeat(mixed & (lengths > CROWDED), lengths)
    return runs[keep], members[keep]


def _rare_ngrams(links: Links, runs: np.ndarray, members: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(bucket and n-gram as one 64-bit key, text), sorted, for the rarest n-grams of each text inside its bucket."""
    sizes = links.sets.sizes[members]
    row = np.repeat(np.arange(len(members)), sizes)
    keys = mix(links.sets.matrix[members].indices.astype(np.uint64) ^ mix(runs[row]))
    _, inverse, counts = np.unique(keys, return_inverse=True, return_counts=True)
    order = np.lexsort((keys, counts[inverse], row))
    rank = np.arange(len(row)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    prefix = sizes - np.ceil(links.threshold * sizes - 1e-9).astype(np.int64) + 1
    rare = order[rank < prefix[row]]
    rare = rare[np.lexsort((members[row[rare]], keys[rare]))]
    return keys[rare], members[row[rare]]


def _run_bounds(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(start, length) of each run of equal neighbours."""
    if not len(values):
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    starts = np.concatenate(([0], np.flatnonzero(values[1:] != values[:-1]) + 1))
    return starts, np.diff(np.append(starts, len(values)))


def _split(pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return pairs >> _HALF, pairs & _LOW
