"""The escalation detector: time of a decision of teacher, student and int8 student in turn, and bytes of their files.

    python benchmarks/escalation.py [--quick] [--rounds 7]

The user turns are those of the embedded test dialogues, the last turns joined, tokenizer's time included; one core. The
student is trained for a moment only: its time depends on its shape and not on what it knows.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import pandas as pd
import report
import torch

from cogumi_utils.route.escalation import data, dialogues, student, teacher
from cogumi_utils.route.escalation.detector import token_ids
from cogumi_utils.route.escalation.turns import joined

TARGET_MS = 0.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer decisions, nothing written")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(1)
    taught, detector = trained()
    turns = [list(one.turns) for one in dialogues.make(50 if options.quick else 400, "test", seed=1)]
    quiet = detector.using(threshold=1.0)  # nothing escalates: the decision alone
    contenders = {
        "teacher, torch on the CPU": lambda said: taught.probabilities([joined(said)]),
        "student, float32": quiet.score,
        "student, int8": quiet.using(int8=True).score,
        "student, int8, with reasons": detector.using(threshold=0.0, int8=True).score,
    }
    times = measured(contenders, turns, 2 if options.quick else options.rounds)
    table = latencies(times)
    print(table) if options.quick else report.keep(
        "escalation", table, notes(taught, detector, turns, times), times_raw(times)
    )


def trained() -> tuple[teacher.Teacher, student.Detector]:
    rows = data.read(["dialogues"], "train", dialogues=300)
    texts, labels = rows["text"].tolist(), rows["label"].tolist()
    taught = teacher.fit(texts, labels, teacher.TeacherSettings(frozen_layers=5, epochs=1))
    shape = student.StudentSettings(epochs=1)
    return taught, student.distil(taught, taught.probabilities(texts), texts, labels, shape)


def measured(contenders: dict[str, Callable], turns: list[list[str]], rounds: int) -> dict[str, list[list[float]]]:
    """{contender: milliseconds of each decision in each round}, in turn; the first round only warms up.

    Thread time and not wall time: on a shared machine the wall clock measures the neighbours.
    """
    times: dict[str, list[list[float]]] = {name: [] for name in contenders}
    for number in range(rounds + 1):
        for name, decide in contenders.items():
            some = turns if not name.startswith("teacher") else turns[: max(20, len(turns) // 8)]
            found = [timed(decide, said) for said in some]
            if number:
                times[name].append(found)
    return times


def timed(decide: Callable, said: list[str]) -> float:
    start = time.thread_time()
    decide(said)
    return 1e3 * (time.thread_time() - start)


def latencies(times: dict[str, list[list[float]]]) -> pd.DataFrame:
    """Medians over the rounds of each round's p50 and p99, and how many times faster than the teacher."""
    halves = {name: median(np.quantile(one, 0.5) for one in rounds) for name, rounds in times.items()}
    tails = {name: median(np.quantile(one, 0.99) for one in rounds) for name, rounds in times.items()}
    slowest = halves[next(iter(halves))]
    rows = [(name, len(rounds), halves[name], tails[name], slowest / halves[name]) for name, rounds in times.items()]
    return pd.DataFrame(rows, columns=["decides", "rounds", "p50, ms", "p99, ms", "times faster than the teacher"])


def notes(taught: teacher.Teacher, detector: student.Detector, turns: list[list[str]], times: dict) -> list[str]:
    pieces = [len(token_ids(detector._tokenizer, joined(said))) for said in turns]
    tail = median(np.quantile(one, 0.99) for one in times["student, int8"])
    with tempfile.TemporaryDirectory() as scratch:
        weights = (taught.save(Path(scratch)) / "model.safetensors").stat().st_size
    lines = [
        f"{len(turns)} decisions a round, {median(pieces):.0f} word pieces in the median, {max(pieces)} at most; the "
        "teacher decides an eighth of them. CPU time of the deciding thread.",
        f"p99 of the int8 student: {tail:.3f} ms, {'within' if tail <= TARGET_MS else 'ABOVE'} {TARGET_MS} ms.",
        f"Load average while measuring: {os.getloadavg()[0]:.1f}; a neighbour on the core lengthens the tail.",
        f"Teacher: {weights:,} bytes of safetensors.",
    ]
    for name, size in detector.sizes().items():
        lines.append(
            f"Student, {name}: {size['file']:,} bytes, of them table of words {size['table']:,}, rest {size['rest']:,}."
        )
    return lines


def times_raw(times: dict[str, list[list[float]]]) -> dict[str, list[dict[str, float]]]:
    return {
        name: [{"p50": float(np.quantile(one, 0.5)), "p99": float(np.quantile(one, 0.99))} for one in rounds]
        for name, rounds in times.items()
    }


if __name__ == "__main__":
    main()
