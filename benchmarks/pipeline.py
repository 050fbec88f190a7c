"""What the workflow costs beside the work: a start with nothing to do, and the overhead of a notebook.

    python benchmarks/pipeline.py [--rounds 5]

Needs a finished `smoke` chain (`./run_all.sh smoke`); reruns nothing but the toy notebook that it times.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from statistics import median

import pandas as pd
import report

from cogumi_utils.lineage import finished_stages
from cogumi_utils.paths import repo_root


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    no_op = [seconds("./run_all.sh", "smoke") for _ in range(rounds)]
    fresh = [seconds("./run_all.sh", "smoke", "--only", "14_validation", "--fresh") for _ in range(rounds)]
    inside = finished_stages("smoke")["14_validation"]["seconds"]
    imports = [seconds(sys.executable, "-c", "import cogumi_utils") for _ in range(rounds)]
    bare = [seconds(sys.executable, "-c", "") for _ in range(rounds)]
    rows = [
        ("start with nothing to do", median(no_op), min(no_op), max(no_op)),
        ("one notebook (14_validation, smoke), all told", median(fresh), min(fresh), max(fresh)),
        ("of it inside the notebook, last run", inside, inside, inside),
        ("import cogumi_utils", median(imports), min(imports), max(imports)),
        ("python with nothing to do (the limit)", median(bare), min(bare), max(bare)),
    ]
    table = pd.DataFrame(rows, columns=["what", "seconds, median", "lowest", "highest"])
    notes = [f"Overhead of a notebook: {median(fresh) - inside:.1f} s (kernel, imports, Snakemake, rendering)."]
    report.keep("pipeline", table, notes, {"no_op": no_op, "fresh": fresh, "import": imports, "python": bare})


def seconds(*command: str) -> float:
    started = time.perf_counter()
    subprocess.run(command, cwd=repo_root(), check=True, capture_output=True)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
