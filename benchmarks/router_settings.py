"""The router on sets left out, its settings chosen without seeing the sets that judge them; TF-IDF beside it.

python benchmarks/router_settings.py [--per-set 150] [--folds 3] [--seed 1] [--quick]

Needs the public sets (the hub or COGUMI_DATA). Not a timing: nested leave-one-set-out, see `route.nested`. To save
time, networks are judged by torch and not exported to ONNX, which changes probabilities by less than 1e-5.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
import report
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from cogumi_utils.route import features, forms, nested, prompts, references, training
from cogumi_utils.route.held_out import Fit
from cogumi_utils.route.nested import Candidate, Nested
from cogumi_utils.route.settings import Settings

TARGET, LOWEST = 0.75, 0.40  # of the mean over sets, and of any set
TRAININGS = itertools.count(1)
AT_ONCE = 32  # texts judged in a batch, which is as wide as its longest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--per-set", type=int, default=150, help="prompts of each set at most")
    parser.add_argument("--folds", type=int, default=nested.FOLDS)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="few prompts, two candidates each, nothing written")
    options = parser.parse_args()
    torch.set_num_threads(1)
    began = time.process_time()
    frames = variants(20 if options.quick else options.per_set, options.seed)
    found = {}
    for kind, grid in (("hashed router", routers(frames)), ("TF-IDF + logistic regression", linear(frames["forms"]))):
        some = dict(list(grid.items())[:2]) if options.quick else grid
        found[kind] = nested.choose(some, seed=options.seed, folds=options.folds)
    minutes = (time.process_time() - began) / 60
    table, notes = summary(found), said(found, options, minutes)
    if options.quick:
        print(table.to_markdown(index=False), *notes, sep="\n")
    else:
        report.keep("router_settings", table, notes, raw(found))


def variants(per_set: int, seed: int) -> dict[str, pd.DataFrame]:
    """The same prompts as different candidates want them."""
    bare = prompts.collect(per_set=per_set)
    made = pd.concat([bare, forms.made(bare, seed)], ignore_index=True)
    return {"bare": bare, "forms": made, "one line": made.assign(text=made["text"].str.split().str.join(" "))}


def routers(frames: dict[str, pd.DataFrame]) -> dict[str, Candidate]:
    """The default first, then each with one thing otherwise."""
    made = frames["forms"]
    return {
        "default": Candidate(made, network(Settings())),
        "strength 1": Candidate(made, network(Settings(strength=1.0))),
        "strength 100": Candidate(made, network(Settings(strength=100.0))),
        "row dropout 0.5": Candidate(made, network(Settings(row_dropout=0.5))),
        "no made forms": Candidate(frames["bare"], network(Settings())),
        "line ends as blanks": Candidate(frames["one line"], network(Settings())),
    }


def linear(made: pd.DataFrame) -> dict[str, Candidate]:
    return {f"C {strength:g}": Candidate(made, tfidf(strength)) for strength in (10.0, 1.0, 100.0)}


@dataclass(frozen=True)
class Network:
    bag: torch.nn.Module

    def probabilities(self, texts: Sequence[str]) -> np.ndarray:
        parts = [features.padded(texts[at : at + AT_ONCE]) for at in range(0, len(texts), AT_ONCE)]
        with torch.inference_mode():
            return np.concatenate([self.bag(*map(torch.from_numpy, part)).softmax(-1).numpy() for part in parts])


def network(settings: Settings) -> Fit:
    """What `router.train` fits, without its export."""

    def fit(texts, targets, routes, seed, weights=None) -> Network:
        progress()
        return Network(training.fit(texts, targets, settings, seed, weights))

    return fit


def tfidf(strength: float) -> Fit:
    """`references.tfidf` with a penalty of one's choice; its own is C 10."""

    def fit(texts, targets, routes, seed, weights=None) -> references.Linear:
        progress()
        vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, max_features=100_000).fit(texts)
        model = LogisticRegression(C=strength, max_iter=300)
        model.fit(vectorizer.transform(texts), targets.argmax(1), sample_weight=weights)
        return references.Linear(vectorizer.transform, model, model.classes_, len(routes))

    return fit


def progress() -> None:
    """A line now and then: on a busy machine this takes an hour."""
    trained = next(TRAININGS)
    if trained % 24 == 0:
        print(f"{trained} trained, {time.process_time():.0f} s of CPU", file=sys.stderr, flush=True)


def summary(found: dict[str, Nested]) -> pd.DataFrame:
    """Two rows a router: with what the other folds chose, and with its default."""
    rows = [
        (kind, settings, *(100 * share for share in (mean.value, mean.low, mean.high, worst)))
        for kind, result in found.items()
        for settings, mean, worst in (
            ("chosen by other sets", result.macro, result.worst), ("default", result.flat.macro, result.flat.worst)
        )
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["router", "settings", "accuracy, %", "low, %", "high, %", "worst set, %"])


def said(found: dict[str, Nested], options: argparse.Namespace, minutes: float) -> list[str]:
    notes = [
        f"Mean over {len(prompts.JUDGED)} sets of at most {options.per_set} prompts, each left out of training, with "
        f"its bootstrap interval over sets and prompts; {options.folds} folds, seed {options.seed}, {minutes:.0f} CPU "
        f"minutes. Target: {TARGET:.0%}, no set under {LOWEST:.0%}.",
    ]
    for kind, result in found.items():
        each = (f"{row['set']} {row['nested']:.1%}" for _, row in result.table().sort_values("nested").iterrows())
        notes += [f"{kind}, chosen less default: {result.against_default()}.", f"{kind}, by set: {', '.join(each)}."]
        notes += [
            f"{kind}, fold of {row['sets']}: {row['candidate']}, {row['inner accuracy']:.1%} on the other sets, "
            f"{100 * row['ahead by']:.1f} points ahead of the next." for _, row in result.chosen.iterrows()
        ]  # fmt: skip
    return ["\n".join(f"- {note}" for note in notes)]


def raw(found: dict[str, Nested]) -> dict[str, Any]:
    """Every accuracy: of each set, and of the choices outside each fold."""
    return {
        kind: {"sets": result.table().to_dict("records"), "inner": result.inner().to_dict("records")}
        for kind, result in found.items()
    }


if __name__ == "__main__":
    main()
