"""Which matrices need more bits: sensitivity measured one matrix at a time, bits chosen under a size target.

Rounding one matrix at a time and adding up what each costs is what HAWQ (Dong et al. 2019, arXiv 1905.03696) does with
second derivatives; here the cost is measured, as KL divergence from the parent on calibration answers. The sum is a
forecast: errors of several matrices meet in one model, so the chosen model is measured too.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from cogumi_utils.compress.pruning.prune import matrices
from cogumi_utils.compress.quantization._packed import Checkpoint
from cogumi_utils.compress.quantization.quantize import code_table
from cogumi_utils.errors import CogumiError
from cogumi_utils.judge.fidelity import compare
from cogumi_utils.model.score import answer_ids, answer_log_probs
from cogumi_utils.schema import Example

if TYPE_CHECKING:
    import pandas as pd

# vLLM runs these as one matrix each, so they must have the same bits.
FUSED = {"q_proj": "qkv_proj", "k_proj": "qkv_proj", "v_proj": "qkv_proj", "gate_proj": "gate_up_proj",
         "up_proj": "gate_up_proj"}  # fmt: skip


def sensitivity(
    parent: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example],
    children: Mapping[int, Path], *, batch: int = 64,
) -> pd.DataFrame:  # fmt: skip
    """KL divergence (nats a token) of the parent with one matrix at a time taken from each of `children`.

    children: {bits: checkpoint with all matrices at these bits}. A row a matrix and width: matrix, unit (what must have
    the same bits), weights, bits, stored (bits a weight with scales), kl. The parent is changed and put back; its
    log-probabilities are kept, 4 bytes · answer tokens · vocabulary.
    """
    import pandas as pd

    before = list(answer_log_probs(parent, tokenizer, examples, batch=batch))
    ids, rows = list(answer_ids(tokenizer, examples)), []
    for bits, folder in children.items():
        checkpoint, stored = Checkpoint(folder), code_table(folder).set_index("matrix")
        _check_uniform(checkpoint, bits, set(matrices(parent)))
        for name in checkpoint.names:
            with _replaced(parent, checkpoint, name):
                kl = compare(before, answer_log_probs(parent, tokenizer, examples, batch=batch), ids, seed=0).kl.value
            rows.append((name, unit(name), int(stored.weights[name]), bits, float(stored.stored[name]), kl))
    return pd.DataFrame(rows, columns=["matrix", "unit", "weights", "bits", "stored", "kl"])


def choose(table: pd.DataFrame, target: float) -> dict[str, int]:
    """{matrix: bits} with the least sum of KL divergences at no more than `target` bits a weight, scales included.

    table: of `sensitivity`; matrices of one unit get the same bits (`table.assign(unit=table.matrix)` frees them). An
    integer programme solved to its optimum (HiGHS through SciPy). Raises CogumiError for a target below the smallest
    that can be reached.
    """
    import numpy as np
    from scipy.optimize import Bounds, LinearConstraint, milp

    options = _options(table)
    _check_target(options, target)
    one_each = np.stack([options.unit == name for name in options.unit.unique()]).astype(float)
    fits = LinearConstraint(options.total.to_numpy()[None, :], ub=_budget(options, target))
    found = milp(
        options.kl.to_numpy(), constraints=[LinearConstraint(one_each, 1, 1), fits], bounds=Bounds(0, 1),
        integrality=np.ones(len(options)), options={"mip_rel_gap": 0},
    )  # fmt: skip
    return _assignment(table, options[found.x > 0.5])


def at_random(table: pd.DataFrame, target: float, seed: int) -> dict[str, int]:
    """{matrix: bits} that fill the same size without looking: units in random order get the next width as it fits."""
    options, draw = _options(table), random.Random(seed)
    _check_target(options, target)
    left = _budget(options, target) - options.groupby("unit")["total"].min().sum()
    levels = {name: list(group.sort_values("total").itertuples()) for name, group in options.groupby("unit")}
    place, waiting = dict.fromkeys(levels, 0), sorted(levels)
    while waiting:
        name = draw.choice(waiting)
        here = levels[name][place[name] : place[name] + 2]
        step = here[1].total - here[0].total if len(here) == 2 else float("inf")
        if step <= left:
            place[name], left = place[name] + 1, left - step
        else:
            waiting.remove(name)
    chosen = [levels[name][place[name]].Index for name in levels]
    return _assignment(table, options.loc[chosen])


def forecast(table: pd.DataFrame, bits: Mapping[str, int]) -> dict[str, float]:
    """{"bits a weight": scales included, "kl": sum over matrices, nats a token} of an assignment."""
    rows = table[table.bits == table.matrix.map(dict(bits))]
    return {
        "bits a weight": float((rows.weights * rows.stored).sum() / rows.weights.sum()), "kl": float(rows.kl.sum()),
    }  # fmt: skip


def assignments(table: pd.DataFrame, targets: Sequence[float], *, draws: int, seed: int) -> dict[str, dict[str, int]]:
    """{name: {matrix: bits}}: for each target the choice, then `draws` assignments at random of the same size."""
    found = {f"by sensitivity, {target:g} bits": choose(table, target) for target in targets}
    for target in targets:
        for draw in range(draws):
            found[f"at random, {target:g} bits, {draw + 1}"] = at_random(table, target, seed + draw)
    return found


def costs(table: pd.DataFrame, chosen: Mapping[str, Mapping[str, int]]) -> pd.DataFrame:
    """A row a matrix: its weights, its KL at each width, and its bits in each of the named assignments."""
    wide = table.set_index(["matrix", "bits"])["kl"].unstack().reindex(table.matrix.unique())
    wide.columns = [f"KL at {bits} bits" for bits in wide.columns]
    wide.insert(0, "weights", table.groupby("matrix").weights.first())
    return wide.assign(**{name: wide.index.map(dict(bits)) for name, bits in chosen.items()}).reset_index()


def unit(name: str) -> str:
    """The matrix that vLLM makes of this one and its neighbours."""
    stem, kind = name.rsplit(".", 1)
    return f"{stem}.{FUSED.get(kind, kind)}"


@contextmanager
def _replaced(parent: PreTrainedModel, checkpoint: Checkpoint, name: str) -> Iterator[None]:
    weight = parent.get_submodule(name).weight
    original = weight.detach().clone()
    with torch.no_grad():
        weight.copy_(checkpoint.weight(name))
    try:
        yield
    finally:
        with torch.no_grad():
            weight.copy_(original)


def _options(table: pd.DataFrame) -> pd.DataFrame:
    """A row a unit and width: unit, bits, weights, total (bits), kl (sum over its matrices)."""
    sized = table.copy()
    sized["total"] = table.weights * table.stored
    return sized.groupby(["unit", "bits"])[["weights", "total", "kl"]].sum().reset_index()


def _budget(options: pd.DataFrame, target: float) -> float:
    """Bits in all; a millionth more, so that a target which is met exactly is not missed by a rounding."""
    return target * options.groupby("unit").weights.first().sum() * (1 + 1e-6)


def _assignment(table: pd.DataFrame, chosen: pd.DataFrame) -> dict[str, int]:
    bits = dict(zip(chosen.unit, chosen.bits, strict=True))
    return {matrix: int(bits[one]) for matrix, one in dict(zip(table.matrix, table.unit, strict=True)).items()}


def _check_target(options: pd.DataFrame, target: float) -> None:
    smallest = options.groupby("unit")["total"].min().sum() / options.groupby("unit").weights.first().sum()
    if not target * (1 + 1e-6) >= smallest:
        raise CogumiError(
            expected=f"a target of at least {smallest:.3f} bits a weight",
            found=str(target),
            why=f"that is what all matrices take at {options.bits.min()} bits with their scales",
            fix="raise the target, measure a smaller width too, or take larger groups",
        )


def _check_uniform(checkpoint: Checkpoint, bits: int, names: set[str]) -> None:
    found = {checkpoint.bits(name) for name in checkpoint.names}
    if found != {bits} or set(checkpoint.names) != names:
        raise CogumiError(
            expected=f"a checkpoint of the parent with all its {len(names)} matrices at {bits} bits",
            found=f"{len(checkpoint.names)} matrices at {sorted(found)} bits in {checkpoint.folder}",
            why="each matrix is tried at these bits with the others untouched",
            fix="write one with quantise(..., bits=...) for each width",
        )
