"""Scores of how much a question gains by the strong model, learned from verdicts on both: references for routers.

A scorer is called as `scorer(questions, train, test, target)`: it learns the target [n] from the rows `train` alone and
scores the rows `test`; higher means sooner to the strong model. Any router fits in, wrapped so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from cogumi_utils.route.weak_strong import Questions

NEIGHBOURS, PENALTIES = (20, 50, 100, 200), (1.0, 10.0, 100.0)  # PENALTIES: C, the inverse of the penalty
TARGETS: dict[str, Callable[[Questions], np.ndarray]] = {  # what a router learns; its score is the expectation
    "only the strong one right": lambda q: ((q.strong == 1) & (q.weak == 0)).astype(int),
    "the weak one wrong": lambda q: (q.weak == 0).astype(int),
    "strong less weak": lambda q: (q.strong - q.weak).astype(int),
}
Scorer = Callable[["Questions", "np.ndarray", "np.ndarray", "np.ndarray"], "np.ndarray"]


def expected(model, train, target: np.ndarray, test) -> np.ndarray:
    """A fitted scikit-learn classifier's expectation of the target, [rows of test]."""
    fitted = model.fit(train, target)
    return fitted.predict_proba(test) @ fitted.classes_


def of_texts(make: Callable[[], object]) -> Scorer:
    """A scorer from a scikit-learn classifier of texts, made anew each time."""

    def score(questions: Questions, train: np.ndarray, test: np.ndarray, target: np.ndarray) -> np.ndarray:
        texts = questions.texts
        return expected(make(), [texts[i] for i in train], target[train], [texts[i] for i in test])

    return score


def of_vectors(vectors: np.ndarray, make: Callable[[], object]) -> Scorer:
    """A scorer from a scikit-learn classifier of `vectors`, one a question, such as MiniLM's."""

    def score(questions: Questions, train: np.ndarray, test: np.ndarray, target: np.ndarray) -> np.ndarray:
        return expected(make(), vectors[train], target[train], vectors[test])

    return score


def of_neighbours(vectors: np.ndarray, k: int) -> Scorer:
    """The mean of the `k` nearest questions by cosine, of all where there are fewer."""
    from sklearn.neighbors import KNeighborsClassifier

    def score(questions: Questions, train: np.ndarray, test: np.ndarray, target: np.ndarray) -> np.ndarray:
        model = KNeighborsClassifier(min(k, len(train)), metric="cosine")
        return expected(model, vectors[train], target[train], vectors[test])

    return score


def of_router(learn: Callable[[list[str], np.ndarray], Callable[[list[str]], np.ndarray]]) -> Scorer:
    """A scorer from a router of two routes, the weak model and the strong one.

    learn: (texts, targets [n, 2]) to a function that gives the probabilities [m, 2] of other texts. The target is moved
    to 0 to 1, so that "strong less weak" says 0.5 where both models are right, or both wrong.
    """

    def score(questions: Questions, train: np.ndarray, test: np.ndarray, target: np.ndarray) -> np.ndarray:
        import numpy as np

        texts, known = questions.texts, target[train]
        wanted = (known - known.min()) / max(1, np.ptp(known))
        router = learn([texts[i] for i in train], np.column_stack([1 - wanted, wanted]))
        return np.asarray(router([texts[i] for i in test]), dtype=float)[:, 1]

    return score


def by_subject(questions: Questions, train: np.ndarray, test: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The subject's mean among the rows learned from; the mean of all where it is not among them."""
    import numpy as np

    means = {name: target[train][questions.subject[train] == name].mean() for name in set(questions.subject[train])}
    return np.array([means.get(questions.subject[i], target[train].mean()) for i in test])


def by_length(questions: Questions, train: np.ndarray, test: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Long questions first, or short ones: whichever the rows learned from say."""
    import numpy as np

    length = np.log1p([len(text) for text in questions.texts])
    return length[test] * np.sign(np.corrcoef(length[train], target[train])[0, 1])


def scorers(vectors: np.ndarray | None = None) -> dict[str, dict[str, Scorer]]:
    """{router: {variant: Scorer}}: TF-IDF, the subject and the length; with MiniLM's `vectors` [n, 384] kNN too."""
    from sklearn.linear_model import LogisticRegression

    found = {
        "TF-IDF + logistic regression": {"": of_texts(_tfidf)},
        "mean of the subject": {"": by_subject}, "length of the question": {"": by_length},
    }  # fmt: skip
    if vectors is not None:
        found["MiniLM + logistic regression"] = {
            f"C={c:g}": of_vectors(vectors, lambda c=c: LogisticRegression(C=c, max_iter=500)) for c in PENALTIES
        }
        found["kNN on MiniLM"] = {f"k={k}": of_neighbours(vectors, k) for k in NEIGHBOURS}
    return found


def _tfidf():
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2, max_features=100_000)
    return make_pipeline(words, LogisticRegression(max_iter=500))
