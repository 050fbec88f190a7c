from __future__ import annotations

import numpy as np
import pytest
from scipy.special import log_softmax
from scipy.stats import entropy

from cogumi_utils.errors import CogumiError
from cogumi_utils.judge import fidelity


def texts(n: int, seed: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    rng = np.random.default_rng(seed)
    logits = [log_softmax(rng.normal(size=(3 + i % 4, 7)), axis=-1) for i in range(n)]
    return logits, [rng.integers(0, 7, len(one)) for one in logits]


def test_a_model_is_itself():
    parent, ids = texts(20, seed=1)
    found = fidelity.compare(iter(parent), iter(parent), iter(ids), seed=1)
    assert (found.kl.value, found.kl.low, found.kl.high) == (0, 0, 0)
    assert (found.agreement.value, found.agreement.low) == (1, 1)
    assert (found.perplexity_ratio.value, found.tokens) == (1, sum(map(len, ids)))


def test_the_measures_are_those_of_the_definitions():
    parent, ids = texts(40, seed=1)
    child, _ = texts(40, seed=2)
    found = fidelity.compare(parent, child, ids, seed=1)
    rows, others, tokens = (np.concatenate(part) for part in (parent, child, ids))
    assert found.kl.value == pytest.approx(entropy(np.exp(rows), np.exp(others), axis=-1).mean())
    assert found.agreement.value == (rows.argmax(-1) == others.argmax(-1)).mean()
    nats = [-part[np.arange(len(tokens)), tokens].mean() for part in (rows, others)]
    assert found.perplexity_ratio.value == pytest.approx(np.exp(nats[1]) / np.exp(nats[0]))


def test_intervals_are_over_texts_and_cover_the_truth():
    """50 draws of 60 texts whose tokens agree or not all together: an interval over tokens would be half as wide."""
    covered = 0
    for seed in range(50):
        rng = np.random.default_rng(seed)
        right = rng.random(60) < 0.8
        parent = [np.log(np.tile([0.9, 0.1], (4, 1)))] * 60
        child = [np.log(np.tile([0.9, 0.1] if yes else [0.1, 0.9], (4, 1))) for yes in right]
        found = fidelity.compare(parent, child, [np.zeros(4, int)] * 60, seed=seed).agreement
        covered += found.low <= 0.8 <= found.high
    assert covered == 48


def test_what_does_not_fit_together_is_refused():
    parent, ids = texts(3, seed=1)
    for child, tokens in ((parent[:2] + [parent[2][:, :5]], ids), (parent, ids[:2] + [ids[2][:1]])):
        with pytest.raises(CogumiError, match="same tokenizer"):
            fidelity.compare(parent, child, tokens, seed=1)
    with pytest.raises(CogumiError, match="no texts"):
        fidelity.compare([], [], [], seed=1)


def test_a_row_a_child():
    parent, ids = texts(9, seed=1)
    found = fidelity.compare(parent, parent, ids, seed=1)
    table = fidelity.table({"Q8_0": found, "Q4_K_M": found}, "type")
    assert (
        list(table["type"]) == ["Q8_0", "Q4_K_M"] and list(table["same top token"]) == ["100.0% [100.0, 100.0] n=9"] * 2
    )
