"""From a graded battery to the table of patterns: found on one half of the tasks, their rates measured on the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from cogumi_utils.data.teachers import Teacher
from cogumi_utils.failures import clusters, naming, regions
from cogumi_utils.failures.clusters import Clustering
from cogumi_utils.failures.texts import failure_views, masked, prompt_views, question, together
from cogumi_utils.schema import Example

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from sentence_transformers import SentenceTransformer

EXAMPLES, SHOWN = 20, 5  # example ids kept of a pattern; prompts of them that a teacher sees


@dataclass(frozen=True)
class Space:
    """The battery in vectors. failed, finding: bool [n], the latter for tasks in which patterns are looked for.

    prompts: float32 [n, d]; views: {"prompt", "words", "answer", "error"}, float32 [failed, d] each, in the battery's
    order; failures: all views in one.
    """

    prompts: np.ndarray
    views: dict[str, np.ndarray]
    failed: np.ndarray
    finding: np.ndarray

    @cached_property
    def failures(self) -> np.ndarray:
        return together(self.views)

    @property
    def of_failures(self) -> np.ndarray:
        """bool [failed]: which failures patterns are looked for in."""
        return self.finding[self.failed]


def by_eye(embedder: SentenceTransformer, texts: Sequence[str]) -> str:
    """Two clusters of a handful of texts: a line each with its cluster, then each cluster's terms."""
    plain = [masked(text) for text in texts]
    labels = clusters.cluster(together(prompt_views(embedder, plain)), lowest=2, highest=2, seed=0).labels
    labels = labels if labels[0] == 0 else 1 - labels
    terms = naming.class_terms(plain, labels.tolist(), 2, n=4)
    lines = [f"{label}  {text}" for label, text in zip(labels, texts, strict=True)]
    return "\n".join([*lines, *(f"cluster {number}: {', '.join(own)}" for number, own in enumerate(terms))])


def embed_battery(embedder: SentenceTransformer, examples: Sequence[Example], battery: pd.DataFrame) -> Space:
    """Vectors of all prompts and of all failures; every second task is set aside for the rates.

    battery: of `judge.grade`, rows as `examples`.
    """
    import numpy as np

    failed = ~battery["passed"].to_numpy(dtype=bool)
    views = prompt_views(embedder, [question(example) for example in examples])
    prompts, found = together(views), battery[failed]
    kinds = [example.verifier["kind"] for example, bad in zip(examples, failed, strict=True) if bad]
    views = {name: vectors[failed] for name, vectors in views.items()}
    views |= failure_views(embedder, kinds, list(found["answer"]), list(found["reason"]))
    return Space(prompts, views, failed, np.arange(len(failed)) % 2 == 0)


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
    own, passed = space.failed & space.finding, ~space.failed & space.finding
    where = regions.fit(space.prompts[own], labels[space.of_failures], k, space.prompts[passed])
    base = pd.DataFrame({"pattern": range(k), "n": sizes, "share": sizes / len(labels)}).join(where)
    order = [nearest_first(space.prompts[space.failed], labels, number, where["centre"][number]) for number in range(k)]
    base["examples"] = [wrong["id"].iloc[rows[:EXAMPLES]].tolist() for rows in order]
    base = base.assign(**_named(wrong, labels, order, k, teacher))
    rest = ~space.finding
    measured = regions.rates(regions.assign(space.prompts[rest], base), space.failed[rest], range(k))
    return base.merge(measured, on="pattern")


def nearest_first(prompts: np.ndarray, labels: np.ndarray, number: int, centre: list[float]) -> np.ndarray:
    """The failures of one pattern, int rows, those nearest to its centre first."""
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


def with_patterns(graded: pd.DataFrame, battery: pd.DataFrame, failed: np.ndarray, labels: np.ndarray) -> pd.DataFrame:
    """`graded` with the column `pattern`: -1 where the answer passed, or where it is not in the battery."""
    own = dict(zip(battery["id"][failed], labels.tolist(), strict=True))
    return graded.assign(pattern=[own.get(name, regions.OUTSIDE) for name in graded["id"]])
