"""Exact and near duplicates: found by MinHash LSH, verified by exact Jaccard similarity, kept as groups.

Nothing disappears silently: of each group one representative stays, and every other row is listed with its group, its
representative and their exact Jaccard similarity. A group is a connected component of verified pairs (single linkage):
a row may be linked through others, and then its similarity to the representative can lie below the threshold.
"Exact" means on 64-bit n-gram hashes: two different n-grams of a pair collide once in about 10^15 pairs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cogumi_utils.data.minhash import Bands, band_keys, plan_bands
from cogumi_utils.errors import CogumiError
from cogumi_utils.schema import Example

if TYPE_CHECKING:
    import pandas as pd

    from cogumi_utils.data.neighbours import Links


@dataclass(frozen=True)
class Duplicates:
    """What to keep, and why the rest is not kept.

    keep: row numbers, ascending. groups: one line for each removed row, sorted by group and row: `row`, `id`, `group`
    (its number depends on the texts, not on their order), `representative_row`, `representative_id`, `kind` ("exact":
    the same text as the representative's, "near"), `jaccard` (to the representative) and `linked_jaccard` (the highest
    that was verified between this row and a member: at least the threshold). group: [rows] the row's group, -1 if it
    has none. counts: texts, unique texts, pairs compared and verified, texts in crowded buckets (see
    `neighbours`), rows removed.
    """

    keep: list[int]
    groups: pd.DataFrame
    group: np.ndarray
    counts: dict[str, int]
    bands: Bands

    def same_group(self, pairs: Sequence[tuple[int, int]]) -> np.ndarray:
        """[pairs] whether the two rows of each pair were found to be duplicates."""
        left, right = np.asarray(pairs, dtype=np.int64).reshape(-1, 2).T
        return (self.group[left] == self.group[right]) & (self.group[left] >= 0)


def deduplicate(
    texts: Sequence[str],
    ids: Sequence[str] | None = None,
    *,
    threshold: float = 0.8,
    n_gram: int = 3,
    num_perm: int = 128,
    bands: int | None = None,
    seed: int = 42,
    workers: int = 1,
    quality: Sequence[float] | None = None,
    apart: Sequence[str] | None = None,
) -> Duplicates:
    """Group the texts whose word n-gram sets have a Jaccard similarity of at least `threshold`.

    ids: default the row numbers. bands: default the plan of `minhash.plan_bands`. quality: the best text of a group
    represents it (NaN is worst), then the smallest content hash, then the smallest id. apart: texts whose value differs
    are never duplicates (for tasks the verifier: two sums that differ in one digit read alike but are two tasks).
    Texts without a token (empty, white space) are duplicates of each other; a text shorter than an n-gram is only a
    duplicate of the same words. Neither the input order nor `workers` changes which texts are kept.
    """
    from cogumi_utils.data.neighbours import link

    plan = plan_bands(threshold, num_perm, bands)
    ids = [str(row) for row in range(len(texts))] if ids is None else ids
    _check(len(texts), n_gram, ids=ids, quality=quality, apart=apart)
    unique, text_of = _by_content(texts, apart)
    distinct = [texts[row] for row in unique]
    keys = band_keys(distinct, plan, n_gram=n_gram, seed=seed, workers=workers)
    shared = _sharing(keys)
    codes = None if apart is None else _codes([apart[row] for row in unique[shared]])
    links = link(keys[shared], [distinct[number] for number in shared], threshold, n_gram, codes)
    component = np.arange(len(unique))
    component[shared] = len(unique) + links.component
    rows, starts = _by_merit(component[text_of], text_of, quality, ids)
    place = np.searchsorted(shared, text_of)
    groups, group = _tabulate(rows, starts, text_of, ids, place, links)
    counts = {"texts": len(texts), "unique": len(unique), "compared": links.compared, "verified": links.verified}
    removed = set(groups["row"])
    keep = [row for row in range(len(texts)) if row not in removed]
    return Duplicates(
        keep, groups, group, {**counts, "crowded": int(links.crowded.sum()), "removed": len(removed)}, plan
    )


def deduplicate_examples(examples: Sequence[Example], **options) -> Duplicates:
    """`deduplicate` over chats: all messages but the system's, the row's quality, and tasks kept apart by verifier."""
    import json

    options = {"quality": [example.quality for example in examples], **options}
    if "apart" not in options:
        checked = (example.verifier if example.verifier["kind"] != "none" else None for example in examples)
        options["apart"] = [json.dumps(verifier, sort_keys=True) for verifier in checked]
    return deduplicate([chat_text(example) for example in examples], [example.id for example in examples], **options)


def chat_text(example: Example) -> str:
    """What a chat says, a line per message. System messages are left out: many rows share them."""
    return "\n".join(message["content"] for message in example.messages if message["role"] != "system")


def _check(rows: int, n_gram: int, **columns: Sequence | None) -> None:
    wrong = [f"{name}: {len(column)}" for name, column in columns.items() if column is not None and len(column) != rows]
    if wrong or n_gram < 1:
        raise CogumiError(
            expected=f"{rows} values (one per text) in each of ids, quality and apart, and n_gram of at least 1",
            found=", ".join(wrong) or f"n_gram={n_gram}",
            why="rows are kept and removed by their position, and compared by their n-grams",
            fix="build texts, ids, quality and apart from the same list of rows",
        )


def _by_content(texts: Sequence[str], apart: Sequence[str] | None) -> tuple[np.ndarray, np.ndarray]:
    """(first row of each distinct text, [rows] its number), numbered by content hash: an order free of the input's."""
    digests = np.empty((len(texts), 2), dtype=np.uint64)
    for row, text in enumerate(texts):
        digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16)
        if apart is not None:
            digest.update(b"\0" + apart[row].encode("utf-8", "surrogatepass"))
        digests[row] = np.frombuffer(digest.digest(), dtype=">u8")
    order = np.lexsort((digests[:, 1], digests[:, 0]))
    ranked = digests[order]
    new = np.ones(len(texts), dtype=bool)
    new[1:] = (ranked[1:] != ranked[:-1]).any(axis=1)
    text_of = np.empty(len(texts), dtype=np.int64)
    text_of[order] = np.cumsum(new) - 1
    return order[new], text_of


def _sharing(keys: np.ndarray) -> np.ndarray:
    """Numbers of the texts that share at least one band with another."""
    from cogumi_utils.data.neighbours import bucket

    shares = np.zeros(len(keys), dtype=bool)
    for band in range(keys.shape[1]):
        shares[bucket(keys[:, band])[1]] = True
    return np.flatnonzero(shares)


def _codes(values: Sequence[str]) -> np.ndarray:
    """[values] a number each, equal for equal values."""
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(value, len(numbers)) for value in values], dtype=np.int64)


def _by_merit(component: np.ndarray, text_of: np.ndarray, quality, ids) -> tuple[np.ndarray, np.ndarray]:
    """(rows that have a duplicate, representative first in each group; start of each group among them)."""
    _, member, sizes = np.unique(component, return_inverse=True, return_counts=True)
    rows = np.flatnonzero(sizes[member] > 1)
    scores = (
        np.zeros(len(rows)) if quality is None else -np.asarray(quality, dtype=float)[rows]
    )  # lexsort puts NaN last
    names = np.array([ids[row] for row in rows], dtype=str)
    rows = rows[np.lexsort((rows, names, text_of[rows], scores, member[rows]))]
    starts = np.flatnonzero(np.diff(member[rows], prepend=-1))
    return rows, starts


def _tabulate(rows: np.ndarray, starts: np.ndarray, text_of: np.ndarray, ids, place: np.ndarray, links: Links):
    """(the table of removed rows, [rows] group numbers: the order of the components, which is free of the input's)."""
    import pandas as pd

    sizes = np.diff(np.append(starts, len(rows)))
    group, best = np.full(len(text_of), -1), np.repeat(rows[starts], sizes)
    group[rows] = np.repeat(np.arange(len(starts)), sizes)
    removed = rows != best
    rows, best = rows[removed], best[removed]
    exact = text_of[rows] == text_of[best]
    jaccard, linked = np.ones(len(rows)), np.ones(len(rows))
    jaccard[~exact] = links.sets.jaccard(place[rows[~exact]], place[best[~exact]])
    linked[~exact] = links.strength[place[rows[~exact]]]
    table = pd.DataFrame({"row": rows, "id": [ids[row] for row in rows], "group": group[rows]})
    table["representative_row"], table["representative_id"] = best, [ids[row] for row in best]
    table["kind"] = np.where(exact, "exact", "near")
    table["jaccard"], table["linked_jaccard"] = jaccard, linked
    return table.sort_values(["group", "row"], ignore_index=True), group
