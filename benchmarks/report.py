"""What every benchmark prints and keeps: a table, the machine, and when."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import pandas as pd

from cogumi_utils import hardware

RESULTS = Path(__file__).parent / "results"


def machine() -> dict[str, Any]:
    """The machine that the numbers belong to."""
    return {
        "cpu": hardware.cpu_model(), "cores": hardware.cpu_cores(), "memory_gb": hardware.memory_bytes() / 1e9,
        "versions": hardware.versions(), "git_commit": hardware.git_commit(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }  # fmt: skip


def keep(name: str, table: pd.DataFrame, notes: list[str], raw: Any) -> None:
    """Print the table with its notes, and write results/<name>.json and .md."""
    where = machine()
    head = f"{where['cpu']}, {where['cores']} cores, {where['date']}"
    text = "\n".join([f"# {name}", "", head, "", table.to_markdown(index=False, floatfmt=".4g"), "", *notes, ""])
    print(text)
    RESULTS.mkdir(exist_ok=True)
    rows = table.to_dict("records")
    report = {"machine": where, "table": rows, "notes": notes, "raw": raw}
    (RESULTS / f"{name}.json").write_text(json.dumps(report, indent=2) + "\n")
    (RESULTS / f"{name}.md").write_text(text)
