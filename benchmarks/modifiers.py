"""The domain adapters side by side: all at a time through Snakemake against one after the other.

    python benchmarks/modifiers.py [--profile tiny] [--rounds 5] [--jobs 3]

Needs a finished chain of the profile (`./run_all.sh`): only 10_modifiers runs, again and again.
"""

from __future__ import annotations

import argparse
import subprocess
import time
from statistics import median

import pandas as pd
import report

from cogumi_utils.paths import repo_root


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--profile", default="tiny")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=3)
    options = parser.parse_args()
    alone, together = [], []
    for _ in range(options.rounds):  # alternating, so that a busy minute meets both
        alone.append(seconds(options.profile, 1))
        together.append(seconds(options.profile, options.jobs))
        print(f"{alone[-1]:.0f} s one after the other, {together[-1]:.0f} s together", flush=True)
    ratios = [one / other for one, other in zip(alone, together, strict=True)]
    rows = [
        ("one after the other", median(alone), min(alone), max(alone)),
        (f"{options.jobs} at a time", median(together), min(together), max(together)),
        ("ratio (the limit is the number of cores)", median(ratios), min(ratios), max(ratios)),
    ]
    table = pd.DataFrame(rows, columns=["what", "seconds, median", "lowest", "highest"])
    notes = [
        f"{options.profile}, the profile's default domains, {options.rounds} rounds; each stage uses one thread.",
        "All at a time, also on fewer cores: threads of equal work share cores better than two queues of whole stages.",
    ]
    report.keep("modifiers", table, notes, {"alone": alone, "together": together})


def seconds(profile: str, jobs: int) -> float:
    command = ["./run_all.sh", profile, "--only", "10_modifiers", "--fresh", "--jobs", str(jobs)]
    started = time.perf_counter()
    subprocess.run(command, cwd=repo_root(), check=True, capture_output=True)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
