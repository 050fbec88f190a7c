"""Hours, dollars and memory before they are spent: our arithmetic beside the brief's own rows (`params/plan.yaml`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cogumi_utils.errors import CogumiError
from cogumi_utils.judge.sizes import lora_parameters, setting, shape_counts, tensors, widths
from cogumi_utils.paths import params_dir
from cogumi_utils.yaml_lines import read_yaml

if TYPE_CHECKING:
    import pandas as pd

SECTIONS = (
    "usd_per_hour",
    "gpu_bytes",
    "mean_tokens",
    "rates",
    "rows",
    "headings",
    "sums",
    "work",
    "compression",
    "modifiers",
)
HOURS_PER_WEEK = 168


@dataclass(frozen=True, slots=True)
class Work:
    """One piece of GPU work: `count · tokens · epochs` tokens at the rate of its kind, or `hours` as given."""

    stage: str
    phase: str
    name: str
    kind: str
    count: float = 0
    tokens: float | None = None  # None: the mean example
    epochs: float = 1
    hours: float = 0
    basis: str = ""  # of `hours`
    brief_usd: float = 0
    brief_weeks: float = 0

    def gpu_hours(self, mean_tokens: float, rates: Mapping[str, float]) -> float:
        if self.kind == "hours":
            return self.hours
        tokens = self.count * self.epochs * (mean_tokens if self.tokens is None else self.tokens)
        return tokens / rates[self.kind] / 3600


def load_plan(path: Path | None = None) -> dict[str, Any]:
    """`params/plan.yaml`, its sections checked and `work` turned into `Work`."""
    path = path or params_dir() / "plan.yaml"
    plan, _ = read_yaml(path)
    missing, unknown = set(SECTIONS) - set(plan), set(plan) - set(SECTIONS)
    if missing or unknown:
        raise _bad_plan(path, f"missing: {sorted(missing) or 'none'}; unknown: {sorted(unknown) or 'none'}")
    kinds, names = {*plan["rates"], "hours"}, {field.name for field in fields(Work)}
    for row in plan["work"]:
        if not {"stage", "phase", "name", "kind"} <= set(row) <= names or row["kind"] not in kinds:
            raise _bad_plan(path, f"a work row {row}")
    return {**plan, "work": [Work(**row) for row in plan["work"]]}


def _bad_plan(path: Path, found: str) -> CogumiError:
    return CogumiError(
        expected=f"the sections {', '.join(SECTIONS)}, and work rows with stage, phase, name and a known kind",
        found=f"{path}: {found}",
        why="hours and dollars are computed from this file",
        fix=f"mend {path}",
    )


def stage_costs(
    rates: Mapping[str, float] | None = None,
    usd_per_hour: float | None = None,
    mean_tokens: float | None = None,
    plan: Mapping[str, Any] | None = None,
) -> pd.DataFrame:
    """GPU hours and dollars per stage, beside what the brief plans for it, with a row of totals.

    rates: tokens/s that were measured ({"train": 11000.0}); the others are the plan's published or assumed ones.
    mean_tokens: tokens of the mean example, once notebook 01 knows it. Teachers' API calls are not in here: their
    price table and spending limit are `data/teachers`'. One phase's pieces are added up;
    `basis` says what their rates are: measured, published or assumed.
    """
    import pandas as pd

    plan = plan or load_plan()
    price, mean = usd_per_hour or plan["usd_per_hour"], mean_tokens or plan["mean_tokens"]
    speed = {kind: rate["tokens_per_second"] for kind, rate in plan["rates"].items()} | dict(rates or {})
    basis = {kind: rate["basis"].split(":")[0] for kind, rate in plan["rates"].items()}
    basis |= dict.fromkeys(rates or {}, "measured")
    rows = [
        {
            "stage": work.stage,
            "phase": work.phase,
            "hours": work.gpu_hours(mean, speed),
            "brief weeks": work.brief_weeks,
            "brief USD": work.brief_usd,
            "work": work.name,
            "basis": work.basis or basis[work.kind],
        }
        for work in plan["work"]
    ]
    table = pd.DataFrame(rows).groupby(["stage", "phase"], sort=False, as_index=False)
    joined = {"work": "; ".join, "basis": lambda kinds: ", ".join(dict.fromkeys(kinds))}
    table = table.agg({"hours": "sum", "brief weeks": "sum", "brief USD": "sum", **joined})
    table.insert(3, "USD", table["hours"] * price)
    table.insert(6, "brief hours paid for", table["brief USD"] / price)
    total = table[["hours", "USD", "brief weeks", "brief USD", "brief hours paid for"]].sum()
    return pd.concat(
        [table, pd.DataFrame([{"stage": "all", "phase": "", **total, "work": "", "basis": ""}])], ignore_index=True
    )


def brief_sums(plan: Mapping[str, Any] | None = None) -> pd.DataFrame:
    """Every total that the brief states, the sum of the parts it gives for it, and the difference."""
    import pandas as pd

    rows = [
        {"total": name, "unit": unit, "claimed": claimed, "sum of its parts": total, "difference": total - claimed}
        for name, unit, claimed, total in _totals(plan or load_plan())
    ]
    table = pd.DataFrame(rows)
    table["verdict"] = ["adds up" if abs(row) < 0.05 else "does not add up" for row in table["difference"]]
    return table


def brief_sum(name: str, plan: Mapping[str, Any] | None = None) -> float:
    """The sum of the parts behind one of the brief's totals, e.g. "MVP weeks" → 20."""
    return {total: value for total, _, _, value in _totals(plan or load_plan())}[name]


def _totals(plan: Mapping[str, Any]) -> list[tuple[str, str, float, float]]:
    """(name, unit, claimed, sum of the parts) of the headings over the phase rows, then of the other totals."""
    found = []
    for heading, claimed in plan["headings"].items():
        phases = [row for row in plan["rows"] if row["sum"] == heading]
        for unit in ("weeks", "usd"):
            label = {"weeks": "weeks", "usd": "USD"}[unit]
            found.append((f"{heading} {label}", label, claimed[unit], sum(row[unit] for row in phases)))
    others = plan["sums"].items()
    return found + [(name, entry["unit"], entry["claimed"], sum(entry["parts"])) for name, entry in others]


def qlora_memory(
    config: Mapping[str, Any],
    rank: int = 64,
    tokens: int = 4096,
    limit_bytes: float | None = None,
    checkpointing: bool = True,
    dense_bytes: float = 4,
) -> pd.DataFrame:
    """Estimated peak memory of QLoRA on all linear layers, part by part, and whether it fits. An estimate, to be judged
    by the measured peak.

    - NF4 matrices: 4 bits, and with double quantisation 0.127 bits of scales (Dettmers et al. 2023, section 3).
    - Embeddings, output, norms: `dense_bytes` each; PEFT's `prepare_model_for_kbit_training` casts them to float32.
    - Adapter: float32 weight, gradient and AdamW's two moments, 16 bytes a parameter.
    - Activations of `tokens` in flight, bf16: every layer's input; the inside of one layer (of all layers without
      checkpointing) after Korthikanti et al. 2022, without the attention scores that flash attention never stores.
    - Logits: bf16, their float32 copy and its gradient. The largest matrix is dequantised to bf16 while it is used.

    tokens: of one forward pass (batch · length). limit_bytes: the GPU's memory; default, the plan's 80 GB.
    """
    import pandas as pd

    limit = limit_bytes or load_plan()["gpu_bytes"]
    shapes, layers = shape_counts(config), setting(config, "num_hidden_layers")
    hidden, queries, keys = widths(config)
    inside = 2 * tokens * (6 * hidden + 2 * queries + 2 * keys + 4 * setting(config, "intermediate_size"))
    largest = max(tensor.count for tensor in tensors(config) if tensor.kind in ("attention", "mlp"))
    parts = {
        "matrices in NF4": shapes.linear * 4.127 / 8,
        "embeddings, output, norms": (shapes.total - shapes.linear) * dense_bytes,
        "adapter, gradient, AdamW": 16 * lora_parameters(config, rank),
        "inputs of all layers": 2 * tokens * hidden * layers,
        "inside of one layer" if checkpointing else "inside of all layers": inside * (1 if checkpointing else layers),
        "logits": tokens * setting(config, "vocab_size") * (2 + 4 + 4),
        "largest matrix in bf16": 2 * largest,
    }
    total = sum(parts.values())
    verdict = f"fits in {limit / 1e9:.0f} GB" if total <= limit else f"does not fit in {limit / 1e9:.0f} GB"
    rows = [*parts.items(), ("all", total)]
    return pd.DataFrame([{"part": part, "bytes": size, "GB": size / 1e9} for part, size in rows]).assign(
        verdict=[""] * len(parts) + [verdict]
    )
