"""Small checkpoints beside the model that they were made from: written, asked the same tasks, compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from cogumi_utils.compress.quantization import quantize
from cogumi_utils.compress.quantization._silence import silent
from cogumi_utils.judge import grade, summary
from cogumi_utils.judge.fidelity import Fidelity
from cogumi_utils.model import generate
from cogumi_utils.schema import Example
from cogumi_utils.stats import Interval, Paired

if TYPE_CHECKING:
    import pandas as pd


def write(
    parent: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example],
    wanted: Mapping[str, Mapping[str, Any]], folder: Path, **settings: Any,
) -> dict[str, Path]:  # fmt: skip
    """{name: folder of its checkpoint}. wanted: {name: what it has of its own}; settings: what all have; both are
    those of `quantize.quantise`.
    """
    return {
        name: quantize.quantise(parent, tokenizer, examples, target=folder / name, **{**settings, **own}).folder
        for name, own in wanted.items()
    }


def answers(
    folders: Mapping[str, Path], examples: Sequence[Example], *, like: PreTrainedModel, max_new_tokens: int,
    packed: bool = False,
) -> dict[str, pd.DataFrame]:  # fmt: skip
    """{name: graded answers}, each checkpoint in the type and on the device of `like`, one in memory at a time.

    packed: as transformers loads the folder by itself, see `quantize.load`.
    """
    found = {}
    for name, folder in folders.items():
        model, tokenizer = quantize.load(folder, packed=packed, dtype=like.dtype, device_map=str(like.device))
        with silent():  # codes that were left packed are unpacked in the first forward, under a progress bar
            found[name] = grade.evaluate(examples, generate.answerer(model, tokenizer, max_new_tokens=max_new_tokens))
        del model  # before the next is loaded
    return found


def change(parent: pd.DataFrame, child: pd.DataFrame, seed: int = 0) -> Paired:
    """Paired difference of the child's results to its parent's, over the tasks that the child was asked.

    Raises CogumiError for a task that the parent was not asked.
    """
    return summary.differences(parent[parent["id"].isin(child["id"])], child, seed=seed)["overall"]


def scores(
    folders: Mapping[str, Path], near: Mapping[str, Fidelity], graded: Mapping[str, pd.DataFrame],
    parent: pd.DataFrame, seed: int = 0,
) -> pd.DataFrame:  # fmt: skip
    """A row a checkpoint: bits a weight, KL and token agreement (`near`), share right and change (`graded`).

    Intervals are in brackets; n: tasks that were answered.
    """
    import pandas as pd

    stored, rows = bits_a_weight(folders), []
    for name in folders:
        kl, points = near[name].kl, change(parent, graded[name], seed)
        rows.append((
            name, stored.get(name), f"{kl.value:.2g} [{kl.low:.2g}, {kl.high:.2g}]",
            f"{100 * near[name].agreement.value:.1f}%", f"{100 * summary.share(graded[name]).value:.1f}%",
            f"{100 * points.value:+.1f} [{100 * points.low:+.1f}, {100 * points.high:+.1f}]", points.n,
        ))  # fmt: skip
    columns = ["checkpoint", "bits a weight", "KL, nats a token", "same top token", "right", "points to parent", "n"]
    return pd.DataFrame(rows, columns=columns)


def bits_a_weight(folders: Mapping[str, Path]) -> dict[str, float]:
    """{name: bits a weight in the layers, scales included}; checkpoints of AutoAWQ, packed otherwise, are left out."""
    table = quantize.size_table({name: folder for name, folder in folders.items() if not quantize.is_gemm(folder)})
    return dict(zip(table["checkpoint"], table["bits a weight"], strict=True))


def by_size(folders: Mapping[str, Path], graded: Mapping[str, pd.DataFrame]) -> dict[str, list[tuple[float, Interval]]]:
    """{kind: [(bits a weight, share right)]}, for `plots.estimates`; a kind is a name up to its first comma."""
    found: dict[str, list[tuple[float, Interval]]] = {}
    for name, bits in bits_a_weight(folders).items():
        found.setdefault(name.partition(",")[0], []).append((bits, summary.share(graded[name])))
    return found
