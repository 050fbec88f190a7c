"""Where a pattern lies among all tasks, failed or not: a centre and a radius in the space of prompts, and its rate.

A region asks for the prompt alone, so that new tasks can be sorted into patterns before anyone has answered them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cogumi_utils.errors import CogumiError
from cogumi_utils.stats import fdr, wilson

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

OUTSIDE = -1
COVERS = 0.95  # share of a pattern's own failures that its region holds where no task passed
ALPHA = 0.05  # false discovery rate
COLUMNS = (
    "pattern", "name", "terms", "n", "share", "region_n", "region_failed", "rate", "low", "high", "p", "q",
    "significant", "centre", "radius", "examples", "label_source",
)  # fmt: skip


def fit(failed: np.ndarray, labels: np.ndarray, k: int, passed: np.ndarray) -> pd.DataFrame:
    """centre (unit vector as a list) and radius of clusters 0 to k - 1.

    failed: prompt vectors of failures, float32 [n, d], with their cluster in labels, int [n]; passed: those of tasks
    that were answered right, float32 [m, d]. Every cluster must have a member.
    """
    import numpy as np
    import pandas as pd

    rows = []
    for number in range(k):
        own = failed[labels == number]
        centre = own.mean(axis=0)
        centre /= max(float(np.linalg.norm(centre)), 1e-12)
        inside, outside = (np.linalg.norm(prompts - centre, axis=1) for prompts in (own, passed))
        rows.append((centre.astype(float).tolist(), _radius(inside, outside)))
    return pd.DataFrame(rows, columns=["centre", "radius"])


def _radius(own: np.ndarray, passed: np.ndarray) -> float:
    """The radius with most own failures above passed tasks inside, in the middle of the gap behind it.

    A quantile of the members alone lets one stray failure blow the region up, and leaves out new tasks that lie a
    little beyond the few members that were seen.
    """
    import numpy as np

    if not len(passed):
        return float(np.quantile(own, COVERS))
    edges = np.unique(np.concatenate([own, passed]))
    held = [np.searchsorted(np.sort(some), edges, side="right") for some in (own, passed)]
    best = int((held[0] - held[1]).argmax())
    return float(edges[best : best + 2].mean())


def assign(prompts: np.ndarray, patterns: pd.DataFrame) -> np.ndarray:
    """The pattern whose centre is nearest among those whose region holds the prompt, int [n]; -1 outside of all.

    prompts: float32 [n, d] of `texts.prompt_vectors`; patterns: with the columns pattern, centre and radius.
    """
    import numpy as np

    centres = np.array(patterns["centre"].tolist(), dtype=np.float32)
    if prompts.shape[1:] != centres.shape[1:]:
        raise CogumiError(
            expected=f"prompt vectors of {centres.shape[1]} numbers, as the patterns' centres are",
            found=f"{prompts.shape[1]} numbers",
            why="patterns and tasks can be compared only in the vectors of one embedding model",
            fix="embed the tasks with failures.texts.prompt_vectors and the model that found the patterns",
        )
    squares = (prompts**2).sum(axis=1)[:, None] + (centres**2).sum(axis=1) - 2 * prompts @ centres.T
    distances = np.sqrt(np.maximum(squares, 0))
    distances[distances > patterns["radius"].to_numpy()[None] * (1 + 1e-5)] = np.inf  # rounding leaves no member out
    nearest = distances.argmin(axis=1)
    inside = np.isfinite(distances[np.arange(len(prompts)), nearest])
    return np.where(inside, patterns["pattern"].to_numpy()[nearest], OUTSIDE)


def rates(regions: Sequence[int], failed: Sequence[bool], patterns: Sequence[int]) -> pd.DataFrame:
    """One row a pattern: does its region fail more often than all other tasks do?

    region_n, region_failed, rate with Wilson's low and high, rest_rate, p (Fisher's exact test, one-sided), q
    (Benjamini-Hochberg), significant (q < 5%). A region without a task has no rate and p = 1.
    The tasks must be others than those that the patterns were found in, or p is too good.
    """
    import numpy as np
    import pandas as pd

    regions, failed = np.asarray(regions), np.asarray(failed, dtype=bool)
    rows = [_rate(number, regions == number, failed) for number in patterns]
    names = ["pattern", "region_n", "region_failed", "rate", "low", "high", "rest_rate", "p"]
    table = pd.DataFrame(rows, columns=names)
    table["q"] = fdr(table["p"].tolist())
    return table.assign(significant=table["q"] < ALPHA)


def _rate(number: int, inside: np.ndarray, failed: np.ndarray) -> tuple:
    from scipy.stats import fisher_exact

    n, k = int(inside.sum()), int(failed[inside].sum())
    rest_n, rest_k = int((~inside).sum()), int(failed[~inside].sum())
    rest = rest_k / rest_n if rest_n else float("nan")
    if not n:
        return number, 0, 0, float("nan"), 0.0, 1.0, rest, 1.0
    share = wilson(k, n)
    p = float(fisher_exact([[k, n - k], [rest_k, rest_n - rest_k]], alternative="greater").pvalue)
    return number, n, k, share.value, share.low, share.high, rest, p


def write_patterns(path: Path, patterns: pd.DataFrame) -> Path:
    patterns[list(COLUMNS)].to_parquet(path, index=False)
    return path


def read_patterns(path: Path) -> pd.DataFrame:
    """The table of `patterns.parquet`, most failures first. Raises CogumiError for another file."""
    import pandas as pd

    table = pd.read_parquet(path)
    missing = [name for name in COLUMNS if name not in table.columns]
    if missing:
        raise CogumiError(
            expected=f"columns {', '.join(COLUMNS)}",
            found=f"{Path(path).name} without {', '.join(missing)}",
            why="patterns are assigned by centre and radius, and ordered by their share",
            fix="run 03_failure_clusters again",
        )
    return table
