"""Few-shot retrieval: 5 of up to 50,000 examples in this process, embedding of the query included.

python benchmarks/retrieval.py [--examples 50000] [--queries 2000] [--quick]

The store holds the public training sets (where COGUMI_DATA or the hub has them) and, up to the number asked for,
examples of task families. Queries: held-out questions of the same sets and of families in the store. Beside it, in
turns, the same search by sklearn's sparse product and, as a check, the same similarities. One thread.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from random import Random
from statistics import median

import numpy as np
import pandas as pd
import report
from scipy.sparse import csr_matrix
from sklearn.preprocessing import normalize

from cogumi_utils.data import sources
from cogumi_utils.data.skills import families
from cogumi_utils.route import examples
from cogumi_utils.schema import Example

TARGET_MS, BATCHES = 5.0, 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--examples", type=int, default=50_000)
    parser.add_argument("--queries", type=int, default=2_000)
    parser.add_argument("--quick", action="store_true", help="2,000 examples, 100 queries, nothing written")
    options = parser.parse_args()
    count, asked = (2_000, 100) if options.quick else (options.examples, options.queries)
    stored, queries = corpus(count, asked)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "store"
        seconds = {"build": clock(lambda: examples.build(stored, folder))}
        seconds["open"] = clock(lambda: examples.open_store(folder))
        size = sum(path.stat().st_size for path in folder.iterdir())
        table = race(examples.open_store(folder), stored, queries)
    notes = [f"{len(stored):,} examples, {size / 1e6:.0f} MB on disk, built in {seconds['build']:.1f} s and opened in "
             f"{seconds['open']:.1f} s; target: p99 at most {TARGET_MS:g} ms."]  # fmt: skip
    if options.quick:
        print(table.to_markdown(index=False, floatfmt=".4g"), *notes, sep="\n")
    else:
        report.keep("retrieval", table, notes, seconds)


def corpus(count: int, asked: int) -> tuple[list[Example], list[str]]:
    """(examples, queries): real sets first, families for the rest; the last queries are odd ones."""
    draw = Random(1)
    real = [row for name in sources.names("train") for row in _read(name, "train") if row.answer]
    draw.shuffle(real)
    real = real[:count]
    held_out = [row for name in sources.names("evaluation") for row in _read(name, "evaluation")]
    some = families.families("train", 1000)
    each = max(5, -(-(count - len(real)) // len(some)))
    episodes = families.episodes(some, min(each, 12), 2, seed=1)
    made = [row for one in episodes for row in one.support]
    queries = [examples.question(row) for row in draw.sample(held_out, min(asked // 2, len(held_out)))]
    queries += [examples.question(row) for row in draw.sample([q for e in episodes for q in e.queries], asked // 2)]
    return (real + made)[:count], queries + ["", "a " * 500_000, "\x00\x01\x02", "ما هو الطقس اليوم؟"] * 5


def _read(name: str, purpose: str) -> list[Example]:
    if not os.environ.get("COGUMI_DATA"):
        return []
    return sources.load_examples(name, purpose=purpose)


def race(store: examples.ExampleStore, stored: list[Example], queries: list[str]) -> pd.DataFrame:
    """The lists against the sparse matrix product, in turns, in `BATCHES` parts; both give the same cosines."""
    matrix = product(store, stored)
    for query in queries[:20]:
        assert np.allclose(by_product(matrix, store, query), store.similarities(query), atol=1e-5)
    arms = {
        "lists": lambda q: store.nearest(q, 5),
        "sparse product": lambda q: by_product(matrix, store, q).argpartition(-5),
    }
    times = {name: [] for name in arms}
    for part in range(BATCHES):
        for name, search in arms.items():
            times[name].append([clock(lambda q=q, s=search: s(q)) * 1e3 for q in queries[part::BATCHES]])
    rows = []
    for name, parts in times.items():
        every = np.concatenate(parts)
        ratio = median(median(parts[i]) / median(times["lists"][i]) for i in range(BATCHES))
        p50, p99 = np.quantile(every, [0.5, 0.99])
        row = {"search": name, "queries": len(every), "p50 ms": p50, "p99 ms": p99, "worst ms": every.max()}
        rows.append(row | {"median over lists": ratio})
    return pd.DataFrame(rows)


def product(store: examples.ExampleStore, stored: list[Example]) -> csr_matrix:
    """Unit rows of all examples."""
    counts = examples.counts([examples.question(row) for row in stored])
    return normalize(counts.multiply(store._idf).tocsr())


def by_product(matrix: csr_matrix, store: examples.ExampleStore, query: str) -> np.ndarray:
    words, weights = store._embedded(query)
    vector = csr_matrix((weights, words, [0, len(words)]), shape=(1, examples.FEATURES))
    return (matrix @ normalize(vector).T).toarray().ravel()


def clock(call) -> float:
    """Seconds of this thread's own work: others on the machine do not count."""
    started = time.thread_time()
    call()
    return time.thread_time() - started


if __name__ == "__main__":
    main()
