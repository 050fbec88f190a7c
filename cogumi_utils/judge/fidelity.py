"""Is it still the same model? A child's distributions beside its parent's, token by token, on the same texts.

The measures are those of llama.cpp's `--kl-divergence`: KL divergence, share of equal top tokens, perplexity. Tokens of
one text are not independent, so intervals come from a bootstrap over texts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cogumi_utils.errors import CogumiError
from cogumi_utils.stats import Interval

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

RESAMPLES = 2000
ENDS = ("value", "low", "high")


@dataclass(frozen=True, slots=True)
class Fidelity:
    """kl: nats a token, parent against child. agreement: share of tokens whose likeliest successor is the same.
    perplexity: the child's over the parent's on the given tokens. Intervals at 95%; n is the number of texts.
    """

    kl: Interval
    agreement: Interval
    perplexity_ratio: Interval
    tokens: int

    def row(self) -> dict[str, str | int]:
        """For a table: intervals as words."""
        return {
            "KL, nats a token": str(self.kl), "same top token": str(self.agreement),
            "perplexity, child over parent": str(self.perplexity_ratio), "tokens": self.tokens,
        }  # fmt: skip


def compare(
    parent: Iterable[np.ndarray], child: Iterable[np.ndarray], ids: Iterable[np.ndarray], seed: int
) -> Fidelity:
    """Both models' natural-log probabilities, [tokens, vocabulary] a text, and the tokens that are there, [tokens].

    Read text by text, so generators will do. Raises CogumiError where the two do not fit together.
    """
    import numpy as np

    sums = [_sums(*three) for three in zip(parent, child, ids, strict=True)]
    if not sums:
        raise _mismatch("no texts at all")
    tokens, kl, equal, parent_nats, child_nats = np.array(sums, dtype=float).T
    per_token = [_ratio(part, tokens, seed) for part in (kl, equal, child_nats - parent_nats)]
    ratio = replace(per_token[2], **{name: float(np.exp(getattr(per_token[2], name))) for name in ENDS})
    return Fidelity(per_token[0], replace(per_token[1], unit="%"), ratio, int(tokens.sum()))


def _sums(parent: np.ndarray, child: np.ndarray, ids: np.ndarray) -> tuple[float, ...]:
    """Tokens, and sums over them: KL, equal top tokens, nats of parent and child."""
    import numpy as np

    if parent.shape != child.shape or len(parent) != len(ids):
        raise _mismatch(f"shapes {parent.shape} and {child.shape} for {len(ids)} tokens")
    kl = (np.exp(parent) * (parent - child)).sum()
    equal = (parent.argmax(-1) == child.argmax(-1)).sum()
    rows = np.arange(len(ids))
    return len(ids), kl, equal, -parent[rows, ids].sum(), -child[rows, ids].sum()


def _ratio(totals: np.ndarray, tokens: np.ndarray, seed: int) -> Interval:
    """Sum over sum, with a percentile bootstrap over texts."""
    import numpy as np

    rows = np.random.default_rng(seed).integers(0, len(tokens), (RESAMPLES, len(tokens)))
    low, high = np.quantile(totals[rows].sum(-1) / tokens[rows].sum(-1), [0.025, 0.975])
    return Interval(float(totals.sum() / tokens.sum()), float(low), float(high), len(tokens), unit="")


def table(found: dict[str, Fidelity], name: str = "model") -> pd.DataFrame:
    """One row a child."""
    import pandas as pd

    return pd.DataFrame([{name: child, **fidelity.row()} for child, fidelity in found.items()])


def _mismatch(found: str) -> CogumiError:
    return CogumiError(
        expected="log-probabilities of both models for the same tokens of the same texts",
        found=found,
        why="distributions are compared token by token",
        fix="score both models on one list of examples with the same tokenizer",
    )
