"""Few-bit checkpoints of a whole model, and what each of their matrices loses.

Groups of weights in a row share a scale; embeddings, head and norms stay in 16 bits. Ways to find the codes:
round-to-nearest; GPTQ (Frantar et al. 2022, arXiv 2210.17323), which makes up for each column's error in the columns
that follow; AWQ (Lin et al. 2023, arXiv 2306.00978), which scales up the columns that large inputs meet and then rounds
to nearest; AWQ's scales with GPTQ's rounding. All are llm-compressor's, written by compressed-tensors, and load in
transformers and vLLM.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor
from transformers import CompressedTensorsConfig, PreTrainedModel, PreTrainedTokenizerBase

from cogumi_utils.compress._calibration import calibration_rows
from cogumi_utils.compress._oneshot import one_shot_run
from cogumi_utils.compress.pruning.prune import matrices
from cogumi_utils.compress.quantization._autoawq import autoawq, require_autoawq
from cogumi_utils.compress.quantization._awq import recorded, unpinned
from cogumi_utils.compress.quantization._codes_by_eye import codes_by_eye
from cogumi_utils.compress.quantization._gemm import is_gemm, unpacked
from cogumi_utils.compress.quantization._packed import Checkpoint, keep_scales
from cogumi_utils.compress.quantization._silence import silent
from cogumi_utils.compress.quantization._tables import code_table, layer_errors, size_table
from cogumi_utils.errors import CogumiError
from cogumi_utils.judge.fidelity import Fidelity, compare
from cogumi_utils.model import student
from cogumi_utils.model.score import answer_ids, answer_log_probs
from cogumi_utils.schema import Example

__all__ = [
    "Quantised", "code_table", "codes_by_eye", "fidelities", "is_gemm", "layer_errors", "load", "quantise",
    "size_table", "stated_bits",
]  # fmt: skip

METHODS = ("awq", "awq+gptq", "gptq", "rtn", "autoawq")
LEAST_BITS, MOST_BITS = 2, 8
BATCH = 8  # rows at a time while calibrating

Bits = int | Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Quantised:
    """A checkpoint in `folder`. bits: of each matrix. tokens: read in calibration. seconds: with saving."""

    folder: Path
    method: str
    bits: dict[str, int]
    group: int
    symmetric: bool
    tokens: int
    seconds: float


def quantise(
    source: str | Path | PreTrainedModel, tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example], *,
    target: Path, method: str = "awq", bits: Bits = 4, group: int = 128, symmetric: bool = False, rows: int = 16,
    length: int = 256, seed: int = 1,
) -> Quantised:  # fmt: skip
    """Write a quantised copy of `source` into the folder `target`; `source` itself stays as it is.

    bits: 2 to 8 for all matrices inside the layers, or {matrix: bits} (see `mixed.choose`). group: weights of a row
    that share a 16-bit scale and, unless `symmetric`, a zero point of `bits` bits. rows, length: the calibration rows,
    packed out of `examples` in an order of `seed`; round-to-nearest reads none. A float32 parent's 16-bit tensors are
    float16, else they keep their type.
    Raises CogumiError for a model that is no Llama or quantised already, a group that does not divide a matrix, bits
    out of range, unfit calibration text, and AutoAWQ where it is not installed.
    """
    _check_choice(method, bits)
    model = _own_copy(source)
    widths = _widths(model, bits, group)
    started = time.perf_counter()
    data = calibration_rows(tokenizer, examples, rows=rows, length=length, seed=seed)
    target.mkdir(parents=True, exist_ok=True)
    if method == "autoawq":
        _by_autoawq(model, tokenizer, data.ids, bits=bits, group=group, target=target)
    else:
        with silent(), unpinned(), recorded() as scales:
            recipe = partial(_recipe, method, widths, group, symmetric)
            one_shot_run(model, tokenizer, recipe, data, batch=min(BATCH, rows))
        keep_scales(target, scales)
        _save(model, tokenizer, target)
    tokens = 0 if method == "rtn" else data.ids.numel()
    return Quantised(target, method, widths, group, symmetric, tokens, time.perf_counter() - started)


def load(
    folder: str | Path, *, packed: bool = False, **options: Any
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Model and tokenizer of a checkpoint, the matrices unpacked: weights that the codes stand for.

    packed: leave the codes packed, as transformers loads the folder by itself. options: of `student.load`, dtype
    (float32 unless given) and device_map. Raises CogumiError for no checkpoint.
    """
    if is_gemm(Path(folder)) and not packed:
        with unpacked(Path(folder)) as copied, silent():
            return student.load(copied, **options)
    Checkpoint(folder)
    how = {} if packed else {"quantization_config": CompressedTensorsConfig(dequantize=True)}
    with silent():
        return student.load(folder, **how, **options)


def stated_bits(folder: str | Path) -> int:
    """Bits of a code as config.json tells them to whoever loads the folder. Raises CogumiError for several widths."""
    widths = sorted({scheme.weights.num_bits for scheme in Checkpoint(folder).schemes})
    if len(widths) != 1:
        raise _unfit("one width for all matrices", f"{', '.join(map(str, widths))} bits in {folder}",
                     "a mixed checkpoint has no single number of bits", "look at code_table(folder)")  # fmt: skip
    return widths[0]


def fidelities(
    parent: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example],
    children: Mapping[str, Path], *, seed: int, batch: int = 64,
) -> dict[str, Fidelity]:  # fmt: skip
    """{name: how near the checkpoint is to its parent} on the reference answers of `examples`.

    The parent's log-probabilities are kept for all children: 4 bytes · answer tokens · vocabulary.
    """
    before, found = list(answer_log_probs(parent, tokenizer, examples, batch=batch)), {}
    ids = list(answer_ids(tokenizer, examples))
    for name, folder in children.items():
        model, _ = load(folder, dtype=parent.dtype, device_map=str(parent.device))
        found[name] = compare(before, answer_log_probs(model, tokenizer, examples, batch=batch), ids, seed)
    return found


def _own_copy(source: str | Path | PreTrainedModel) -> PreTrainedModel:
    if isinstance(source, str | Path):
        if is_gemm(Path(source)):
            raise _codes_already()
        with silent():
            model, _ = student.load(source, dtype="auto")
    else:
        student.require_llama(source.config.model_type, type(source).__name__)
        model = copy.deepcopy(source)
    if getattr(model.config, "quantization_config", None):
        raise _codes_already()
    return model


def _recipe(method: str, widths: Mapping[str, int], group: int, symmetric: bool) -> list[Any]:
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
    from llmcompressor.modifiers.gptq import GPTQModifier
    from llmcompressor.modifiers.quantization import QuantizationModifier
    from llmcompressor.modifiers.transform.awq import AWQModifier

    groups, several = {}, len(set(widths.values())) > 1
    for width in sorted(set(widths.values())):
        targets = [name for name in widths if widths[name] == width] if several else ["Linear"]
        how = QuantizationArgs(num_bits=width, group_size=group, strategy="group", symmetric=symmetric)
        groups[f"{width} bits"] = QuantizationScheme(targets=targets, weights=how)
    if "gptq" in method:
        rounding = GPTQModifier(config_groups=groups, ignore=["re:.*lm_head"])
    else:
        rounding = QuantizationModifier(config_groups=groups, ignore=["re:.*lm_head"])
    return [AWQModifier(), rounding] if "awq" in method else [rounding]


def _save(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, target: Path) -> None:
    """Codes are made in the model's own type; then whatever is not a code becomes 16 bits."""
    from compressed_tensors.compressors import ModelCompressor

    with silent():
        compressor = ModelCompressor.from_pretrained_model(model)
        compressor.compress_model(model)
        student.save(model.to(torch.float16) if model.dtype == torch.float32 else model, tokenizer, target)
        compressor.update_config(str(target))


def _by_autoawq(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, ids: Tensor, *, bits: int, group: int, target: Path
) -> None:
    with TemporaryDirectory() as folder:
        source = student.save(model, tokenizer, Path(folder))
        autoawq(source, tokenizer, ids.tolist(), bits=bits, group=group, target=target)


def _widths(model: PreTrainedModel, bits: Bits, group: int) -> dict[str, int]:
    """{matrix: bits}, checked against the model."""
    found = matrices(model)
    if isinstance(bits, Mapping) and set(bits) != set(found):
        different = sorted(set(bits) ^ set(found))
        raise _unfit("bits for each matrix of the model", f"{len(different)} too many or too few: {different[0]}",
                     "a matrix without bits would stay in 16", "take the bits that mixed.choose gives")  # fmt: skip
    for name, module in found.items():
        if group < 1 or module.in_features % group:
            raise _unfit(f"a group that divides the {module.in_features} columns of {name}", str(group),
                         "each group of a row has a scale of its own", "take a divisor: 128, 64 or 32")  # fmt: skip
    return {name: bits[name] if isinstance(bits, Mapping) else bits for name in found}


def _check_choice(method: str, bits: Bits) -> None:
    if method not in METHODS:
        raise _unfit(f"a method among {', '.join(METHODS)}", str(method), "each finds the codes in its own way",
                     "choose one of them")  # fmt: skip
    for width in bits.values() if isinstance(bits, Mapping) else [bits]:
        if type(width) is not int or not LEAST_BITS <= width <= MOST_BITS:
            raise _unfit(f"{LEAST_BITS} to {MOST_BITS} bits", str(width), "the format packs codes of these widths",
                         "take 4, or 8 where nothing may be lost")  # fmt: skip
    if method == "autoawq":
        if bits != 4:
            raise _unfit("4 bits for autoawq", str(bits), "its kernels know no other width", "take method awq")
        require_autoawq()


def _codes_already() -> CogumiError:
    return _unfit("a model in 16 or 32 bits", "a model that is quantised already",
                  "its weights are codes; rounding them again adds a second error to the first",
                  "start from the checkpoint that it was made from")  # fmt: skip


def _unfit(expected: str, found: str, why: str, fix: str) -> CogumiError:
    return CogumiError(expected=expected, found=found, why=why, fix=fix)
