"""What a router is compared with: chance, one route for all, oracles, and classifiers that anybody would try first.

Each of `REFERENCES` is called `fit(texts, targets, routes, seed, weights=None)` and gives an object with
`probabilities(texts)`; `oracle` is told the truth instead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from cogumi_utils.errors import CogumiError
from cogumi_utils.route import minilm

if TYPE_CHECKING:
    import numpy as np

Weights = Sequence[float] | None  # of the texts; all alike where there are none
NEIGHBOURS = 15


class Reference(Protocol):
    def probabilities(self, texts: Sequence[str]) -> np.ndarray:
        """[texts, routes], each row sums to 1."""


@dataclass(frozen=True)
class Chance:
    """A route drawn for each query, deterministic in seed and number of queries."""

    routes: int
    seed: int

    def probabilities(self, texts: Sequence[str]) -> np.ndarray:
        import numpy as np

        return np.eye(self.routes)[np.random.default_rng(self.seed).integers(0, self.routes, len(texts))]


@dataclass(frozen=True)
class Constant:
    """The same for every query. row: [routes]."""

    row: np.ndarray

    def probabilities(self, texts: Sequence[str]) -> np.ndarray:
        import numpy as np

        return np.tile(self.row, (len(texts), 1))


@dataclass(frozen=True)
class Oracle:
    """known: {query: [routes], sums to 1}."""

    known: dict[str, np.ndarray]
    routes: int

    def probabilities(self, texts: Sequence[str]) -> np.ndarray:
        """Raises CogumiError for a query whose truth it was not told."""
        import numpy as np

        unknown = [text for text in texts if text not in self.known]
        if unknown:
            raise CogumiError(
                expected="queries whose truth the oracle was told",
                found=f"{len(unknown)} others, the first {unknown[0][:60]!r}",
                why="an oracle knows, it does not guess",
                fix="make it of the queries that it is asked: oracle(texts, truth)",
            )
        return np.stack([self.known[text] for text in texts]) if len(texts) else np.zeros((0, self.routes))


@dataclass(frozen=True)
class Linear:
    """Logistic regression on what `vectors` makes of the texts. columns: the routes that it saw, of `routes`."""

    vectors: Callable[[Sequence[str]], Any]
    model: Any
    columns: np.ndarray
    routes: int

    def probabilities(self, texts: Sequence[str]) -> np.ndarray:
        import numpy as np

        found = np.zeros((len(texts), self.routes))
        if len(texts):
            found[:, self.columns] = self.model.predict_proba(self.vectors(texts))
        return found


@dataclass(frozen=True)
class Nearest:
    """The mean target of the nearest training queries by cosine. vectors: [n, d], unit. targets: [n, routes]."""

    vectors: np.ndarray
    targets: np.ndarray

    def probabilities(self, texts: Sequence[str]) -> np.ndarray:
        import numpy as np

        if not len(texts):
            return np.zeros((0, self.targets.shape[1]))
        similar = minilm.embed(texts) @ self.vectors.T
        nearest = np.argsort(-similar, axis=1, kind="stable")[:, :NEIGHBOURS]
        return self.targets[nearest].mean(axis=1)


def chance(
    texts: Sequence[str], targets: np.ndarray, routes: Sequence[str], seed: int, weights: Weights = None
) -> Chance:
    return Chance(len(routes), seed)


def best_single(
    texts: Sequence[str], targets: np.ndarray, routes: Sequence[str], seed: int, weights: Weights = None
) -> Constant:
    """The route that is right most often in training."""
    return Constant(_shares(targets.mean(axis=0, keepdims=True))[0])


def tfidf(
    texts: Sequence[str], targets: np.ndarray, routes: Sequence[str], seed: int, weights: Weights = None
) -> Linear:
    """TF-IDF of words and pairs, then logistic regression."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, max_features=100_000).fit(texts)
    return _linear(vectorizer.transform, texts, targets, weights)


def knn_minilm(
    texts: Sequence[str], targets: np.ndarray, routes: Sequence[str], seed: int, weights: Weights = None
) -> Nearest:
    """The `NEIGHBOURS` nearest by MiniLM's sentence embedding, exact search."""
    import numpy as np

    says = np.flatnonzero(targets.sum(axis=1) > 0)
    return Nearest(minilm.embed([texts[place] for place in says]), _shares(targets[says]))


def linear_minilm(
    texts: Sequence[str], targets: np.ndarray, routes: Sequence[str], seed: int, weights: Weights = None
) -> Linear:
    return _linear(minilm.embed, texts, targets, weights)


def static_minilm(
    texts: Sequence[str], targets: np.ndarray, routes: Sequence[str], seed: int, weights: Weights = None
) -> Linear:
    """A static embedding distilled from MiniLM by model2vec, then logistic regression."""
    return _linear(lambda some: minilm.static_model().encode(list(some)), texts, targets, weights)


def oracle(texts: Sequence[str], truth: np.ndarray) -> Oracle:
    """Knows each query's right routes, [texts, routes] of 0 and 1: of the domain, or of the answers.

    Where no route is right all are alike, so that the choice costs nothing.
    """
    shares = _shares(truth)
    return Oracle(dict(zip(texts, shares, strict=True)), truth.shape[1])


REFERENCES: dict[str, Callable[..., Reference]] = {
    "random": chance,
    "best single route": best_single,
    "TF-IDF + logistic regression": tfidf,
    "MiniLM + logistic regression": linear_minilm,
    "MiniLM + kNN": knn_minilm,
    "model2vec of MiniLM + logistic regression": static_minilm,
}


def _linear(vectors: Callable, texts: Sequence[str], targets: np.ndarray, weights: Weights) -> Linear | Constant:
    """A query with several right routes counts for each of them, with the share of its target."""
    import numpy as np
    from sklearn.linear_model import LogisticRegression

    query, route = np.nonzero(targets)
    if len(set(route)) < 2:  # nothing to tell apart
        return Constant(_shares(targets.sum(axis=0, keepdims=True))[0])
    share = _shares(targets)[query, route] * (1.0 if weights is None else np.asarray(weights)[query])
    model = LogisticRegression(C=10.0, max_iter=300).fit(vectors(texts)[query], route, sample_weight=share)
    return Linear(vectors, model, model.classes_, targets.shape[1])


def _shares(targets: np.ndarray) -> np.ndarray:
    """Rows that sum to 1; a row of zeros becomes an even one."""
    import numpy as np

    total = targets.sum(axis=1, keepdims=True)
    even = np.full(targets.shape, 1 / targets.shape[1])
    return np.where(total > 0, targets / np.where(total > 0, total, 1), even)
