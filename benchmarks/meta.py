"""FOMAML's outer step against as many plain steps: what meta-learning costs beyond its passes.

python benchmarks/meta.py [--rounds 7] [--quick]

One outer step adapts `tasks` adapters in K steps of SGD and takes one step of Adam along the gradient of fresh queries:
K + 1 passes forward and backward. The plain side is K + 1 steps of Adam of one shared adapter on batches of the same
rows. Batches are made beforehand. In turns, one thread, this process's own CPU time. The model: a Llama of hidden size
256, 2 layers and FFN 256, random weights.
"""

from __future__ import annotations

import argparse
import time
from statistics import median

import pandas as pd
import report
import torch

from cogumi_utils.data import corpus
from cogumi_utils.data.skills import families
from cogumi_utils.model import meta_train, student
from cogumi_utils.model.meta_adapters import Learner

TARGET, STEPS, INNER, REPEATS = 1.15, ((4, 16), (8, 16), (8, 48)), 3, 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="one shape, two rounds, nothing written")
    options = parser.parse_args()
    torch.set_num_threads(1)
    shapes, rounds = (STEPS[:1], 2) if options.quick else (STEPS, options.rounds)
    tokenizer = student.train_tokenizer(corpus.sample(1, 3000), 1024)
    rows = [race(tokenizer, tasks, rank, rounds) for tasks, rank in shapes]
    table = pd.DataFrame([{name: value for name, value in row.items() if name != "ratios"} for row in rows])
    notes = [f"Median of {rounds} rounds of {REPEATS} steps; the ratio is of each round. Target: at most {TARGET:g}."]
    if options.quick:
        print(table.to_markdown(index=False, floatfmt=".4g"), *notes, sep="\n")
    else:
        report.keep("meta", table, notes, rows)


def race(tokenizer, tasks: int, rank: int, rounds: int) -> dict:
    """Both sides in turns; each round's ratio, and their median."""
    model = student.small_llama(len(tokenizer), hidden=256, layers=2, heads=8, kv_heads=8, ffn=256, context=512, seed=1)
    learner = Learner(model, rank, ["q_proj", "v_proj"] if rank == 48 else ())
    some = families.episodes(families.families("train", tasks), 5, 5, seed=1)
    dials = {"tokens": 1, "tasks": tasks, "shots": 5, "inner_steps": INNER, "inner_rate": 0.1, "outer_rate": 1e-4}
    recipe = meta_train.MetaRecipe("fomaml", **dials, rate_rate=0.01, seed=1, families=tasks, longest=1.0)
    meta, plain = (meta_train._Training(learner, tokenizer, recipe) for _ in range(2))
    support, queries = (meta._batch([getattr(e, side) for e in some]) for side in ("support", "queries"))
    times: dict[str, list[float]] = {"meta": [], "plain": []}
    for turn in range(rounds + 1):  # the first warms up
        found = {"meta": clock(lambda: meta.first_order(support, queries))}
        found["plain"] = clock(lambda: [plain.plain(batch) for batch in [support] * INNER + [queries]])
        if turn:
            for name, seconds in found.items():
                times[name].append(seconds)
    ratios = [one / other for one, other in zip(times["meta"], times["plain"], strict=True)]
    return {
        "families a step": tasks, "rank": rank, "FOMAML s": median(times["meta"]),
        f"{INNER + 1} plain steps s": median(times["plain"]), "ratio": median(ratios), "ratios": ratios,
    }  # fmt: skip


def clock(call) -> float:
    started = time.process_time()
    for _ in range(REPEATS):
        call()
    return (time.process_time() - started) / REPEATS


if __name__ == "__main__":
    main()
