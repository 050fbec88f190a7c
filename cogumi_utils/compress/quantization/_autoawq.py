"""The second backend: AutoAWQ, where it is installed."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cogumi_utils.compress.quantization._silence import silent
from cogumi_utils.errors import CogumiError


def require_autoawq() -> None:
    """Raise CogumiError where AutoAWQ is not installed."""
    try:
        importlib.import_module("awq")
    except ImportError as error:
        raise CogumiError(
            expected="AutoAWQ for the method autoawq",
            found=str(error),
            why="it is no dependency of ours: its last release is 0.2.9 and it is no longer maintained",
            fix="take the method awq, which is llm-compressor's, or `pip install --no-deps autoawq==0.2.9`",
        ) from None


def autoawq(
    folder: Path, tokenizer: Any, rows: Sequence[Sequence[int]], *, bits: int, group: int,
    target: Path,
) -> None:  # fmt: skip
    """Quantise the checkpoint in `folder` into `target`, in AutoAWQ's own format (GEMM, zero points)."""
    require_autoawq()
    with silent():
        awq = importlib.import_module("awq")
        quantiser = awq.AutoAWQForCausalLM.from_pretrained(str(folder), device_map="auto", safetensors=True)
        config = {"zero_point": True, "q_group_size": group, "w_bit": bits, "version": "GEMM"}
        length = max(map(len, rows))
        texts = tokenizer.batch_decode([list(row) for row in rows])
        quantiser.quantize(
            tokenizer, quant_config=config, calib_data=texts, max_calib_samples=len(rows), max_calib_seq_len=length
        )
        quantiser.save_quantized(str(target), safetensors=True)
    tokenizer.save_pretrained(target)
