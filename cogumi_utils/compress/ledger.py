"""The byte ledger: what each planned step of compression may weigh at least, and what its format really writes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cogumi_utils.errors import CogumiError
from cogumi_utils.judge.costs import load_plan
from cogumi_utils.judge.sizes import (
    GGUF_TYPES,
    LLAMA_3_1_8B,
    Shapes,
    awq_bytes,
    bits_per_weight,
    bound_bytes,
    entropy,
    gguf_bytes,
    lora_parameters,
    setting,
    shape_counts,
)

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["File", "Shapes", "capacity", "encoder_bytes", "plan_ledger", "shape_counts", "written"]

ADAPTER_BITS = 16


def encoder_bytes(config: Mapping[str, Any], encoding: str, sparsity: float = 0) -> float:
    """Bytes that a real format writes for all weights.

    - bf16: 16 bits each; zeros are written like any other value.
    - bitmask: 16 bits a kept weight and one bit each for which were kept (compressed-tensors' sparse-bitmask).
    - awq: 4-bit groups of 128 inside the layers, 16 bits outside; stores no sparsity.
    - a GGUF type: llama.cpp's mixture; stores no sparsity. Zstandard is taken to save nothing: what it saves on the
      real file is measured, never assumed.
    """
    total = shape_counts(config).total
    if encoding == "bf16":
        return 2 * total
    if encoding == "bitmask":
        return total * (1 + 16 * (1 - sparsity)) / 8
    if encoding == "awq":
        return awq_bytes(config)
    if encoding in GGUF_TYPES:
        return gguf_bytes(config, encoding)
    raise CogumiError(
        expected=f"an encoding among bf16, bitmask, awq, {', '.join(GGUF_TYPES)}",
        found=str(encoding),
        why="only formats whose layout is known can be counted",
        fix="mend the encoding in params/plan.yaml, section compression",
    )


def plan_ledger(config: Mapping[str, Any], plan: Mapping[str, Any] | None = None) -> pd.DataFrame:
    """The brief's compression, step by step, for the student with this configuration.

    planned: the brief's bytes; for another student than the brief's 8B, the same bits a weight. mask: what telling the
    kept weights apart costs alone, n · H(sparsity) / 8. bound: mask and kept values together (`bound_bytes`), the least
    any encoder can reach, adapters in 16 bits. encoder: what the named format writes. Bytes throughout. What was
    really written is `written`'s.
    """
    import pandas as pd

    plan, shapes = plan or load_plan(), shape_counts(config)
    scale = shapes.total / shape_counts(LLAMA_3_1_8B).total
    rows = []
    for step in plan["compression"]:
        adapter = _adapter_bytes(config, step.get("rank", 0))
        planned = step["planned_mb"] * 1e6 * scale
        mask = shapes.total * entropy(step["sparsity"]) / 8
        bound = bound_bytes(shapes.total, step["sparsity"], step["bits"]) + adapter
        encoder = encoder_bytes(config, step["encoding"], step["sparsity"]) + adapter
        names = {"step": step["step"], "name": step["name"], "stage": step["stage"]}
        sizes = {"planned": planned, "mask": mask, "bound": bound, "encoder": encoder}
        rows.append({**names, **sizes, "planned bits/weight": bits_per_weight(planned, shapes.total)})
    table = pd.DataFrame(rows)
    table["verdict"] = [
        _verdict(*row) for row in table[["planned", "mask", "bound", "encoder"]].itertuples(index=False)
    ]
    return table


@dataclass(frozen=True, slots=True)
class File:
    """A file that was written. weights: parameters that it holds, zeros among them. bound_bytes: the fewest that its
    values take if each is coded by itself: mask, codes at their order-0 entropy, scales.
    """

    name: str
    weights: int
    bound_bytes: float
    file_bytes: int

    @property
    def gap(self) -> float:
        """Above the bound, as a share of it; below 0 where values repeat in longer patterns."""
        return self.file_bytes / self.bound_bytes - 1


def written(files: Iterable[File], near: float = 0.05) -> pd.DataFrame:
    """A row a file: bytes beside its bound and the distance between them. near: a gap that is as good as none."""
    import pandas as pd

    rows = [
        (one.name, one.weights, one.bound_bytes, one.file_bytes, one.gap, bits_per_weight(one.file_bytes, one.weights))
        for one in files
    ]
    table = pd.DataFrame(rows, columns=["file", "weights", "bound", "bytes", "gap", "bits/weight"])
    table["verdict"] = ["at its bound" if gap <= near else "an entropy coder would save more" for gap in table["gap"]]
    return table


def _adapter_bytes(config: Mapping[str, Any], rank: int) -> float:
    """A 16-bit LoRA adapter on all linear layers; the rank, meant for the 8B, is scaled with the hidden size."""
    scaled = round(rank * setting(config, "hidden_size") / LLAMA_3_1_8B["hidden_size"])
    return lora_parameters(config, scaled) * ADAPTER_BITS / 8


def _verdict(planned: float, mask: float, bound: float, encoder: float) -> str:
    if planned < mask:
        return "impossible: smaller than the mask alone"
    if planned < bound:
        return "impossible: below the bound"
    return "possible" if planned >= encoder else "above the bound, but the named format writes more"


def capacity(config: Mapping[str, Any], budget_bytes: float = 520e6) -> pd.DataFrame:
    """How many parameters the budget holds in each format, at the bits a weight that this configuration gets.

    520 MB hold about 730M parameters at Q5_K_M and 850M at Q4_K_M (8B mixtures). share: of this student's own number.
    """
    import pandas as pd

    total = shape_counts(config).total
    bits = {name: bits_per_weight(encoder_bytes(config, name), total) for name in ("bf16", "awq", *GGUF_TYPES)}
    rows = [
        {"format": name, "bits/weight": width, "parameters": 8 * budget_bytes / width} for name, width in bits.items()
    ]
    return pd.DataFrame(rows).assign(share=lambda table: table["parameters"] / total)
