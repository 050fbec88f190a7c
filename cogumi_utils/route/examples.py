"""Few-shot examples by similarity: an exact search over the words of up to some ten thousands of examples, no torch.

An example is a sparse unit vector: its question's words and pairs of neighbouring words, hashed (Weinberger et al.
2009), each weighted by how rare it is (idf). The cosine with a query needs only the lists of examples that share a word
with it, so that the search is exact and takes a millisecond or so.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cogumi_utils.artifacts import sha256_file
from cogumi_utils.errors import CogumiError
from cogumi_utils.schema import Example, from_table, to_table

if TYPE_CHECKING:
    import pandas as pd
    from scipy.sparse import csr_matrix

FEATURES = 2**18  # hashed words and pairs
LONGEST = 1000  # characters read of a text: a query of a megabyte costs no more than that
WIDEST = 64  # words and pairs of a query that are compared, the rarest
COMMON = 0.1  # words in more than this share of the examples are left out of the lists: they tell nothing apart
FEWEST = 1000  # examples below which no word counts as common
EXAMPLES, INDEX, CARD = "examples.parquet", "index.safetensors", "store.json"


@dataclass(frozen=True, slots=True)
class Found:
    """similarity: cosine, 0 to 1."""

    example: Example
    similarity: float


def readable(text: str) -> str:
    """What is compared of a text: its beginning, without what cannot be encoded (lone surrogates)."""
    return text[:LONGEST].encode("utf-8", "replace").decode()


def counts(texts: Sequence[str]) -> csr_matrix:
    """Words and pairs of words, [texts, FEATURES], float32; no rows are scaled."""
    from sklearn.feature_extraction.text import HashingVectorizer

    hashing = HashingVectorizer(
        n_features=FEATURES, ngram_range=(1, 2), token_pattern=r"(?u)\w+|[^\w\s]+", norm=None, alternate_sign=False,
        dtype=np.float32,
    )  # fmt: skip
    return hashing.transform([readable(text) for text in texts])


class ExampleStore:
    """Examples and the lists of who shares a word. Made by `build`, read back by `open_store`."""

    def __init__(self, table: pa.Table, tensors: dict[str, np.ndarray]):
        self._table, self._starts = table, tensors["starts"]
        self._rows, self._weights, self._idf = tensors["rows"], tensors["weights"], tensors["idf"]
        names = table.column("domain").to_pylist()
        self.domains = tuple(dict.fromkeys(names))
        self._domain = np.array([self.domains.index(name) for name in names], dtype=np.int32)

    def __len__(self) -> int:
        return self._table.num_rows

    def nearest(self, query: str, k: int = 5, *, domain: str = "") -> list[Found]:
        """The `k` examples with the highest cosine, the highest first; equal ones in the store's order.

        Fewer, or none, where fewer share a word with the query that is not common to all; an empty query finds none.
        domain: only examples of this one. Raises CogumiError for a domain that the store does not hold.
        """
        scores = self.similarities(query)
        if domain:
            scores[self._domain != self._code(domain)] = 0
        best = _highest(scores, k)
        rows = from_table(self._table.take(pa.array(best, pa.int64())))
        return [Found(row, float(scores[i])) for row, i in zip(rows, best, strict=True)]

    def similarities(self, query: str) -> np.ndarray:
        """Cosine of the query with every example, float64 [examples]."""
        words, weights = self._embedded(query)
        lists = [slice(self._starts[i], self._starts[i + 1]) for i in words]
        rows = np.concatenate([self._rows[part] for part in lists]) if lists else np.zeros(0, np.int32)
        parts = [self._weights[part] * weight for part, weight in zip(lists, weights, strict=True)]
        values = np.concatenate(parts) if parts else np.zeros(0, np.float32)
        return np.bincount(rows, values, minlength=len(self)) / max(float(np.linalg.norm(weights)), 1e-12)

    def _embedded(self, query: str) -> tuple[np.ndarray, np.ndarray]:
        """(places, weights) of the query's words: at most `WIDEST`, those of the highest weight."""
        found = counts([query])
        weights = found.data * self._idf[found.indices]
        kept = np.argsort(-weights, kind="stable")[:WIDEST]
        return found.indices[kept], weights[kept]

    def _code(self, domain: str) -> int:
        if domain not in self.domains:
            raise CogumiError(
                expected=f"a domain of the store: {', '.join(self.domains)}",
                found=repr(domain),
                why="a template takes its examples from its own domain",
                fix="correct the name, or build the store with examples of that domain",
            )
        return self.domains.index(domain)


def build(examples: Sequence[Example], folder: Path) -> ExampleStore:
    """Index the examples and write them: Parquet, safetensors, and a card with the sha256 of both, written last.

    Raises CogumiError without examples, and for one whose answer is not known.
    """
    from safetensors.numpy import save_file

    _check(examples)
    folder.mkdir(parents=True, exist_ok=True)
    table, tensors = to_table(examples), _index([question(example) for example in examples])
    pq.write_table(table, folder / EXAMPLES, compression="zstd")
    save_file(tensors, folder / INDEX)
    card = {name: sha256_file(folder / name) for name in (EXAMPLES, INDEX)}
    (folder / CARD).write_text(json.dumps(card, indent=1) + "\n")
    return ExampleStore(table, tensors)


def open_store(folder: Path) -> ExampleStore:
    """Read what `build` wrote. Raises CogumiError where a file is missing or not as it was written."""
    from safetensors.numpy import load_file

    try:
        card = json.loads((folder / CARD).read_text())
        wrong = [name for name in (EXAMPLES, INDEX) if card[name] != sha256_file(folder / name)]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(folder, f"{type(error).__name__}: {error}") from error
    if wrong:
        raise _damaged(folder, f"{', '.join(wrong)} changed on disk")
    return ExampleStore(pq.read_table(folder / EXAMPLES), load_file(folder / INDEX))


def found_own(store: ExampleStore, asked: Sequence[Example], k: int = 5) -> pd.DataFrame:
    """How often what is retrieved is of the query's own skill, and what a search costs; one row a domain, and all.

    Columns: domain, queries, nearest is its own, share of its own, ms (median), ms (p99); of this thread's own time.
    """
    import pandas as pd

    rows = []
    for example in asked:
        started = time.thread_time()
        found = store.nearest(question(example), k)
        took, own = 1e3 * (time.thread_time() - started), [one.example.skill == example.skill for one in found]
        rows.append((example.domain, own[:1] == [True], sum(own) / k, took))
    frame = pd.DataFrame(rows, columns=["domain", "first", "own", "ms"])
    groups = [*frame.groupby("domain"), ("all", frame)]
    columns = ["domain", "queries", "nearest is its own", "share of its own", "ms (median)", "ms (p99)"]
    table = [
        (n, len(g), g["first"].mean(), g["own"].mean(), g["ms"].median(), g["ms"].quantile(0.99)) for n, g in groups
    ]
    return pd.DataFrame(table, columns=columns)


def question(example: Example) -> str:
    """What a query is compared with: the last turn of the user."""
    return next((m["content"] for m in reversed(example.prompt) if m["role"] == "user"), "")


def _index(texts: Sequence[str]) -> dict[str, np.ndarray]:
    """starts: [FEATURES + 1], where each word's list begins; rows, weights: the lists; idf: [FEATURES]."""
    from scipy.sparse import diags_array

    found = counts(texts)
    shares = np.bincount(found.indices, minlength=FEATURES)
    idf = (np.log((1 + len(texts)) / (1 + shares)) + 1).astype(np.float32)
    if len(texts) >= FEWEST:
        idf[shares > COMMON * len(texts)] = 0
    weighted = found.multiply(idf).tocsr()
    norms = np.sqrt(np.asarray(weighted.multiply(weighted).sum(axis=1)).ravel())
    lists = (diags_array(1 / np.maximum(norms, 1e-12)) @ weighted).tocsc()
    lists.eliminate_zeros()
    return {
        "starts": lists.indptr.astype(np.int64), "rows": lists.indices.astype(np.int32),
        "weights": lists.data.astype(np.float32), "idf": idf,
    }  # fmt: skip


def _highest(scores: np.ndarray, k: int) -> list[int]:
    """Places of the `k` highest scores above 0, highest first, ties by place."""
    some = np.flatnonzero(scores)
    if len(some) > k > 0:
        limit = np.partition(scores[some], len(some) - k)[len(some) - k]
        some = some[scores[some] >= limit]
    order = np.argsort(-scores[some], kind="stable")
    return some[order][: max(k, 0)].tolist()


def _check(examples: Sequence[Example]) -> None:
    unanswered = sum(not example.answer for example in examples)
    if not examples or unanswered:
        raise CogumiError(
            expected="examples that end with an answer",
            found=f"{unanswered} of {len(examples)} without one" if examples else "none",
            why="an example without its answer shows nothing",
            fix="leave them out: [e for e in examples if e.answer]",
        )


def _damaged(folder: Path, found: str) -> CogumiError:
    return CogumiError(
        expected=f"a store of examples as it was written: {EXAMPLES}, {INDEX} and {CARD} in {folder.name}/",
        found=found,
        why="examples from a changed file would be put into prompts unseen",
        fix="build it again with route.examples.build",
    )
