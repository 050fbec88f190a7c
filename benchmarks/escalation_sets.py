"""The escalation detector on real sets: student against teacher, a set left out, false alarms, risk, and more seeds.

    python benchmarks/escalation_sets.py [--quick] [--parts seeds few_labels public left_out] [--seeds 0 1 2]

seeds: the embedded dialogues alone, as on `tiny`, once a seed. few_labels: as on `public`, 3,000 labelled texts of each
set, without and with the other texts of the sets that have users of both kinds. public: all of go_emotions and bitext
with the dialogues, judged on the test splits, and on banking77 and clinc150, whose users are calm. left_out: each set
judged by models that saw nothing of it. The public sets come from COGUMI_DATA or the hub.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator

import pandas as pd
import report
import torch

from cogumi_utils.route.escalation import data, study, summary
from cogumi_utils.route.escalation.dialogues import SPLITS

BASE_RATE = 0.1  # share of users taken to be dissatisfied
LEARNED = [data.DIALOGUES, "go_emotions", data.BITEXT]
CALM = ["banking77", "clinc150"]
DIALOGUES = 3000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few texts, nothing written")
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=list(PARTS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    options = parser.parse_args()
    torch.set_num_threads(1)
    tables, notes = [], []
    for part in options.parts:
        for name, judged, line in PARTS[part](options):
            tables.append(judged.assign(part=name))
            notes += [line, *risks(name, judged)]
            print(name, judged.to_string(), line, sep="\n", flush=True)
    table = pd.concat(tables, ignore_index=True)
    table = table[["part", *(column for column in table if column != "part")]]
    if not options.quick:
        report.keep("escalation_sets", table.map(shown), notes, table.map(str).to_dict("records"))


def seeds(options: argparse.Namespace) -> Iterator[tuple]:
    for seed in options.seeds:
        rows = split_rows([data.DIALOGUES], options.quick, seed)
        yield f"dialogues, seed {seed}", *trained_and_judged(rows, seed)


def few_labels(options: argparse.Namespace) -> Iterator[tuple]:
    """The same teacher twice: it learns from what is labelled."""
    count, dialogues = (2, 300) if options.quick else (150, DIALOGUES)
    rows = data.read_splits([*LEARNED[1:], *CALM], count, dialogues=dialogues, seed=1)
    every = rows["train"]
    for name, train in (("labelled texts", every[every["label"] >= 0]), ("and texts without a label", every)):
        yield name, *trained_and_judged(rows | {"train": train}, 1)


def public(options: argparse.Namespace) -> Iterator[tuple]:
    rows = split_rows(LEARNED, options.quick)
    rows["test"] = pd.concat([rows["test"], split_rows(CALM, options.quick)["test"]], ignore_index=True)
    yield "trained on " + ", ".join(LEARNED), *trained_and_judged(rows, 0)


def left_out(options: argparse.Namespace) -> Iterator[tuple]:
    start, rows = time.process_time(), split_rows(LEARNED, options.quick)
    judged = study.leave_one_out(*(rows[split] for split in SPLITS), base_rate=BASE_RATE)
    yield "the set left out", judged, f"The set left out: {time.process_time() - start:.0f} s of CPU."


PARTS = {"seeds": seeds, "few_labels": few_labels, "public": public, "left_out": left_out}


def split_rows(sets: list[str], quick: bool, seed: int = 0) -> dict[str, pd.DataFrame]:
    """{split: rows} as `data.read` gives them; few where `quick`."""
    options = {"limit": 300, "dialogues": 300} if quick else {"dialogues": DIALOGUES}
    return {split: data.read(sets, split, seed=seed, **options) for split in SPLITS}


def trained_and_judged(rows: dict[str, pd.DataFrame], seed: int) -> tuple[pd.DataFrame, str]:
    start = time.process_time()
    trained = study.train(rows["train"], rows["validation"], base_rate=BASE_RATE, seed=seed)
    learned = time.process_time() - start
    judged = study.judged(trained, rows["test"], base_rate=BASE_RATE, seed=seed)
    size = trained.detector.sizes()["int8"]["file"]
    return judged, f"{len(rows['train'])} texts, {learned:.0f} s of CPU to train; {size:,} bytes in int8."


def risks(part: str, judged: pd.DataFrame) -> list[str]:
    """What becomes of 1000 users, by the int8 student's recall and false alarms in each set with both kinds."""
    rows = summary.risk(judged, BASE_RATE).to_dict("records")
    return [
        f"{part}, {row.pop('set')}, of 1000 users: " + ", ".join(f"{count} {what}" for what, count in row.items())
        for row in rows
    ]


def shown(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else "" if value is None else str(value)


if __name__ == "__main__":
    main()
