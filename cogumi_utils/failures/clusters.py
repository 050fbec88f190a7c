"""Vectors → clusters: KMeans with k chosen by silhouette, HDBSCAN beside it, and how far either can be believed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cogumi_utils.errors import CogumiError
from cogumi_utils.stats import Interval

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

COMPONENTS = 15  # principal components that are clustered: the words that fill a task's slots are in the others
SILHOUETTE_SAMPLE = 5_000  # failures; all pairs of 50,000 would take 10 GB
INTERVAL = (0.025, 0.975)


@dataclass(frozen=True)
class Clustering:
    """labels: int [n]; k: clusters; table: k, silhouette, inertia, chosen; reduced: float [n, components]."""

    labels: np.ndarray
    k: int
    table: pd.DataFrame
    reduced: np.ndarray
    _steps: tuple[Any, ...] = ()

    def assign(self, vectors: np.ndarray) -> np.ndarray:
        """The nearest cluster of each vector, int [n]."""
        import numpy as np

        if not self._steps:  # fewer than three different failures: nothing was fitted
            return np.zeros(len(vectors), dtype=int)
        pca, kmeans = self._steps
        return kmeans.predict(pca.transform(vectors)) if len(vectors) else np.zeros(0, dtype=int)


def cluster(vectors: np.ndarray, *, lowest: int, highest: int, seed: int) -> Clustering:
    """KMeans with the k from `lowest` to `highest` whose silhouette is largest; deterministic in `seed`.

    Fewer different failures than `highest` allow fewer clusters, down to one; the table then says so.
    Raises CogumiError where there is nothing to cluster.
    """
    import numpy as np

    _require_some(vectors, lowest, highest)
    different = len(np.unique(vectors, axis=0))
    if different < 3:
        return _one(vectors)
    pca, reduced = reduce(vectors, seed)
    top = min(highest, different - 1)
    fits = {k: _kmeans(k, seed).fit(reduced) for k in range(min(lowest, top), top + 1)}
    table = _table(fits, reduced, seed)
    k = int(table.loc[table["silhouette"].idxmax(), "k"])
    return Clustering(fits[k].labels_, k, table.assign(chosen=table["k"] == k), reduced, (pca, fits[k]))


def _require_some(vectors: np.ndarray, lowest: int, highest: int) -> None:
    if not 1 < lowest <= highest:
        raise CogumiError(
            expected="2 <= fewest patterns <= most patterns",
            found=f"{lowest} and {highest}",
            why="the number of clusters is chosen between them",
            fix="correct min_patterns and max_patterns in the parameter file",
        )
    if not len(vectors):
        raise CogumiError(
            expected="failures to cluster",
            found="none: every answer of the battery is right",
            why="without failures there are no patterns to mend",
            fix="ask harder tasks or more of them (per_skill), or go on without the failure loop",
        )


def _one(vectors: np.ndarray) -> Clustering:
    import numpy as np
    import pandas as pd

    table = pd.DataFrame([(1, float("nan"), 0.0, True)], columns=["k", "silhouette", "inertia", "chosen"])
    return Clustering(np.zeros(len(vectors), dtype=int), 1, table, np.zeros((len(vectors), 1)))


def reduce(vectors: np.ndarray, seed: int) -> tuple[Any, np.ndarray]:
    """(the fitted PCA, the vectors' first principal components, float [n, `COMPONENTS` or fewer])."""
    from sklearn.decomposition import PCA

    pca = PCA(min(COMPONENTS, *vectors.shape), random_state=seed)
    return pca, pca.fit_transform(vectors)


def _kmeans(k: int, seed: int) -> Any:
    from sklearn.cluster import KMeans

    return KMeans(k, n_init=10, random_state=seed)


def relabel(vectors: np.ndarray, k: int, seed: int) -> np.ndarray:
    """k clusters of other vectors, int [n]: the same steps without a choice of k."""
    return _kmeans(k, seed).fit(reduce(vectors, seed)[1]).labels_


def _table(fits: dict[int, Any], reduced: np.ndarray, seed: int) -> pd.DataFrame:
    import pandas as pd
    from sklearn.metrics import silhouette_score

    sample = SILHOUETTE_SAMPLE if len(reduced) > SILHOUETTE_SAMPLE else None
    rows = [
        (k, float(silhouette_score(reduced, fit.labels_, sample_size=sample, random_state=seed)), float(fit.inertia_))
        for k, fit in fits.items()
    ]
    return pd.DataFrame(rows, columns=["k", "silhouette", "inertia"])


def density_labels(reduced: np.ndarray, smallest: int) -> np.ndarray:
    """HDBSCAN (Campello et al. 2013) on the same reduced vectors: int [n], -1 for noise; it chooses k itself.

    smallest: members of a cluster, at least 5. Fewer vectors than that are all noise.
    """
    import numpy as np
    from sklearn.cluster import HDBSCAN

    size = max(5, smallest)
    if len(reduced) < size:
        return np.full(len(reduced), -1)
    return HDBSCAN(min_cluster_size=size, copy=True).fit(reduced).labels_


def stability(found: Clustering, *, resamples: int, seed: int) -> Interval:
    """Mean ARI of refits on bootstrap resamples against the whole (Hennig 2007), and where 95% of the refits lie.

    One cluster is the same in every refit: its stability is 1 and says nothing.
    """
    import numpy as np
    from sklearn.metrics import adjusted_rand_score

    generator, scores = np.random.default_rng(seed), []
    for _ in range(resamples if found.k > 1 else 1):
        rows = generator.integers(0, len(found.reduced), len(found.reduced))
        labels = _kmeans(found.k, seed).fit(found.reduced[rows]).predict(found.reduced) if found.k > 1 else found.labels
        scores.append(adjusted_rand_score(found.labels, labels))
    low, high = np.quantile(scores, INTERVAL)
    return Interval(float(np.mean(scores)), float(low), float(high), len(scores), "")


def purity(truth: Sequence[Any], labels: Sequence[int]) -> float:
    """Share of rows that belong to their cluster's most frequent true group."""
    from sklearn.metrics.cluster import contingency_matrix

    return float(contingency_matrix(truth, labels).max(axis=0).sum() / len(labels))


def agreement(truth: Sequence[Any], labels: Sequence[int], *, seed: int, resamples: int = 300) -> dict[str, Interval]:
    """ARI, homogeneity, completeness and purity of clusters against true groups, with bootstrap intervals over rows.

    Empty where there are no rows.
    """
    import numpy as np
    from sklearn.metrics import adjusted_rand_score, completeness_score, homogeneity_score

    measures: dict[str, Callable] = {
        "ARI": adjusted_rand_score, "homogeneity": homogeneity_score, "completeness": completeness_score,
        "purity": purity,
    }  # fmt: skip
    if not len(labels):
        return {}
    true, labels = np.unique(np.asarray(truth), return_inverse=True)[1], np.asarray(labels)
    generator = np.random.default_rng(seed)
    draws = [generator.integers(0, len(labels), len(labels)) for _ in range(resamples)]
    found = {}
    for name, measure in measures.items():
        low, high = np.quantile([measure(true[rows], labels[rows]) for rows in draws], INTERVAL)
        found[name] = Interval(float(measure(true, labels)), float(low), float(high), len(labels), "")
    return found


def measured(found: dict[str, Interval], name: str) -> dict[str, Any]:
    """What `run.gate` takes for one measure of `agreement`; without failures of known truth the gate was not run."""
    return {"interval": found[name]} if found else {"not_run": "no failed skill task: the truth is known of none"}
