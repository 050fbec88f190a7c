"""What the command line shows: the plan, a line per stage while it runs, and the table at the end."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cogumi_utils.plan import Step


def plan_table(steps: Iterable[Step]) -> str:
    """What would run, why, and what it is expected to take."""
    rows, running = [], []
    for step in steps:
        state = "run" if step.runs else "blocked" if step.why and step.blocked and step.chosen else "keep"
        why = step.blocked if state == "blocked" else step.why if step.chosen else f"not chosen ({step.why or 'fresh'})"
        cost = (_minutes(step.minutes()), f"${step.usd():.2f}") if step.runs else ("-", "-")
        rows.append((state, step.name, *cost, why or "fresh"))
        running += [step] if step.runs else []
    known = [step.minutes() for step in running if step.minutes() is not None]
    more = "" if len(known) == len(running) else f" and {len(running) - len(known)} of unknown length"
    total = f"{len(running)} to run: {sum(known):.1f} minutes{more}, ${sum(step.usd() for step in running):.2f}"
    return f"{table(('', 'stage', 'minutes', 'dollars', 'why'), rows)}\n{total}"


def result_table(steps: Iterable[Step], manifests: dict[str, dict[str, Any]], failed: Iterable[str]) -> str:
    """stage, minutes, peak memory, dollars, gates, notebook, headline of each chosen stage."""
    rows, failed = [], set(failed)
    for step in steps:
        manifest = manifests.get(step.name)
        if manifest is None:
            state = "FAILED" if step.name in failed else "not run"
            rows.append((step.name, "-", "-", "-", state, "-", step.blocked))
            continue
        memory = f"{manifest['peak_memory_bytes'] / 1e9:.2f} GB"
        notebook = shown_path(step.stage.rendered) if step.stage.rendered.exists() else "-"
        cost = f"${manifest['cost_usd']:.2f}"
        minutes = _minutes(manifest["seconds"] / 60)
        rows.append((step.name, minutes, memory, cost, gate_verdict(manifest), notebook, manifest["headline"]))
    return table(("stage", "minutes", "memory", "dollars", "gates", "notebook", "result"), rows)


def gate_verdict(manifest: dict[str, Any]) -> str:
    """`3 PASS`, `1 FAIL, 2 PASS`, or `-` where the stage judges none."""
    count = Counter(gate["verdict"] for gate in manifest.get("gates", {}).values())
    return ", ".join(f"{count[verdict]} {verdict}" for verdict in sorted(count)) or "-"


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Columns aligned with two spaces between them, the last one as wide as it is."""
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head) - 1)]
    lines = [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]])
        for row in [head, *rows]
    ]
    rule = "  ".join(["-" * width for width in widths] + ["-" * len(head[-1])])
    return "\n".join(line.rstrip() for line in [lines[0], rule, *lines[1:]])


def _minutes(minutes: float | None) -> str:
    return "?" if minutes is None else f"{minutes:.1f}" if minutes >= 0.1 else f"{minutes:.2f}"


def shown_path(path: Path) -> str:
    """The path as the user would type it from here."""
    short = os.path.relpath(path)
    return str(path) if short.startswith("..") else short


def clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


class Progress:
    """A line per stage: redrawn in place while it runs on a terminal, elsewhere printed at its begin and its end."""

    def __init__(self, total: int):
        self.total, self.done = total, 0
        self.begun: dict[str, float] = {}
        self._live = sys.stdout.isatty()
        self._drawn = 0

    def started(self, step: Step) -> None:
        self.begun[step.name] = time.monotonic()
        if not self._live:
            print(f"{step.name:<24} started{self._about(step)}", flush=True)

    def running(self, states: list[tuple[Step, int | None]]) -> None:
        """Redraw the lines of the stages in progress; each comes with the number of the cell that it is in."""
        if not self._live:
            return
        self._erase()
        width = shutil.get_terminal_size().columns
        for step, cell in states:
            where = "" if cell is None else f", cell {cell}"
            line = f"{step.name:<24} {clock(self.elapsed(step))}{self._about(step)}{where}"
            print(line[: width - 1], flush=True)
        self._drawn = len(states)

    def ended(self, step: Step, text: str) -> None:
        self._erase()
        self.done += 1
        print(f"{step.name:<24} {clock(self.elapsed(step))}  [{self.done}/{self.total}]  {text}", flush=True)

    def elapsed(self, step: Step) -> float:
        return time.monotonic() - self.begun.get(step.name, time.monotonic())

    def _about(self, step: Step) -> str:
        return "" if step.minutes() is None else f", about {clock(step.minutes() * 60)}"

    def _erase(self) -> None:
        if self._drawn:
            print(f"\x1b[{self._drawn}A\x1b[J", end="")
        self._drawn = 0
