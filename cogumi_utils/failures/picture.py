"""The failures as points on a page: UMAP (McInnes et al. 2018) of a sample."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cogumi_utils.errors import CogumiError

if TYPE_CHECKING:
    import numpy as np

NEIGHBOURS = 15
FEWEST = 5  # points below which there are no neighbourhoods to draw


def coordinates(reduced: np.ndarray, *, points: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(rows of the sample, in order; their places on the page, float32 [m, 2]); at most `points` of them.

    reduced: float [n, components] of `clusters.cluster`. One thread and a seed: the same picture each time on one
    machine. The first call of a process waits some seconds for numba's compiler.
    """
    import numpy as np

    if len(reduced) < FEWEST:
        raise CogumiError(
            expected=f"at least {FEWEST} failures to draw",
            found=f"{len(reduced)}",
            why="UMAP places each point among its neighbours",
            fix="ask more tasks (per_skill)",
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # umap's import speaks of TensorFlow, its seed of lost parallelism
        from umap import UMAP

        rows = np.sort(np.random.default_rng(seed).permutation(len(reduced))[:points])
        layout = UMAP(n_neighbors=min(NEIGHBOURS, len(rows) - 1), init="pca", random_state=seed, n_jobs=1)
        return rows, layout.fit_transform(np.asarray(reduced[rows], dtype=np.float32))


def groups(places: np.ndarray, labels: Sequence[int], names: Sequence[str]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """{name of a pattern: (x, y) of its points}, as `plots.scatter` takes them; labels: int [m]."""
    import numpy as np

    labels = np.asarray(labels)
    return {name: tuple(places[labels == number].T) for number, name in enumerate(names)}
