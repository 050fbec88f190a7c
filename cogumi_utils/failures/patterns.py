"""From a graded battery to the table of patterns: found on one half of the tasks, their rates measured on the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cogumi_utils.data.teachers import Teacher
from cogumi_utils.failures import clusters, naming, regions
from cogumi_utils.failures.clusters import Clustering
from cogumi_utils.failures.texts import failure_vectors, masked, prompt_vectors
from cogumi_utils.schema import Example

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from sentence_transformers import SentenceTransformer

EXAMPLES, SHOWN = 20, 5  # example ids kept of a pattern; prompts of them that a teacher sees


@dataclass(frozen=True)
class Space:
    """The battery in vectors. finding: bool [n], tasks in which patterns are looked for; failed: bool [n].

    prompts: float32 [n, d]; failures: float32 [failed, D], rows in the battery's order.
    """

    prompts: np.ndarray
    failures: np.ndarray
    failed: np.ndarray
    finding: np.ndarray

    @property
    def of_failures(self) -> np.ndarray:
        """bool [failed]: which failures patterns are looked for in."""
        return self.finding[self.failed]


def embed_battery(embedder: SentenceTransformer, examples: Sequence[Example], battery: pd.DataFrame) -> Space:
    """Vectors of all prompts and of all failures; every second task is set aside for the rates.

    battery: of `judge.grade`, rows as `examples`.
    """
    import numpy as np

    failed = ~battery["passed"].to_numpy(dtype=bool)
    prompts = prompt_vectors(embedder, examples)
    wrong = [example for example, bad in zip(examples, failed, strict=True) if bad]
    found = battery[failed]
    vectors = failure_vectors(embedder, wrong, list(found["answer"]), list(found["reason"]), prompts[failed])
    return Space(prompts, vectors, failed, np.arange(len(failed)) % 2 == 0)


def find(space: Space, *, lowest: int, highest: int, seed: int) -> Clustering:
    """Clusters of the failures in the finding half. Raises CogumiError where there are none."""
    return clusters.cluster(space.failures[space.of_failures], lowest=lowest, highest=highest, seed=seed)


def pattern_of_failures(space: Space, found: Clustering) -> np.ndarray:
    """The pattern of every failure, int [failed]: its cluster, numbered so that 0 has most failures."""
    import numpy as np

    labels = found.assign(space.failures)
    labels[space.of_failures] = found.labels
    sizes = np.bincount(labels, minlength=found.k)
    rank = np.empty(found.k, dtype=int)
    rank[np.argsort(-sizes, kind="stable")] = np.arange(found.k)
    return rank[labels]


def table(
    space: Space, battery: pd.DataFrame, labels: np.ndarray, teacher: Teacher | None = None
) -> pd.DataFrame:  # fmt: skip
    """One row a pattern, with the columns `regions.COLUMNS` and rest_rate.

    n and share count all failures; centre and radius come from the finding half, region_n to significant from the
    other one. labels: int [failed] of `pattern_of_failures`.
    """
    import numpy as np
    import pandas as pd

    k = int(labels.max()) + 1
    wrong = battery[space.failed].reset_index(drop=True)
    sizes = np.bincount(labels, minlength=k)
    where = regions.fit(space.prompts[space.failed][space.of_failures], labels[space.of_failures], k)
    base = pd.DataFrame({"pattern": range(k), "n": sizes, "share": sizes / len(labels)}).join(where)
    order = [
        _nearest_first(space.prompts[space.failed], labels, number, where["centre"][number]) for number in range(k)
    ]
    base["examples"] = [wrong["id"].iloc[rows[:EXAMPLES]].tolist() for rows in order]
    base = base.assign(**_named(wrong, labels, order, k, teacher))
    rest = ~space.finding
    measured = regions.rates(regions.assign(space.prompts[rest], base), space.failed[rest], range(k))
    return base.merge(measured, on="pattern")


def _nearest_first(prompts: np.ndarray, labels: np.ndarray, number: int, centre: list[float]) -> np.ndarray:
    import numpy as np

    rows = np.flatnonzero(labels == number)
    distances = np.linalg.norm(prompts[rows] - np.asarray(centre, dtype=np.float32), axis=1)
    return rows[np.argsort(np.round(distances, 6), kind="stable")]


def _named(
    wrong: pd.DataFrame, labels: np.ndarray, order: list[np.ndarray], k: int, teacher: Teacher | None
) -> dict[str, list]:
    terms = naming.class_terms([masked(prompt) for prompt in wrong["prompt"]], labels.tolist(), k)
    if teacher is None:
        return {"terms": terms, "name": naming.names_of_terms(terms), "label_source": ["terms"] * k}
    shown = [wrong["prompt"].iloc[rows[:SHOWN]].tolist() for rows in order]
    names, sources = naming.names_of_teacher(teacher, terms, shown)
    return {"terms": terms, "name": names, "label_source": sources}


def with_patterns(battery: pd.DataFrame, failed: np.ndarray, labels: np.ndarray) -> pd.DataFrame:
    """The battery with the column `pattern`: -1 where the answer passed."""
    import numpy as np

    pattern = np.full(len(battery), regions.OUTSIDE)
    pattern[failed] = labels
    return battery.assign(pattern=pattern)
