"""Structured pruning: a Llama with fewer layers, heads, FFN columns and words, which is a smaller file at once.

Unstructured zeros save bytes only in a format that stores no zeros; here whole rows and columns go, so that every
program that reads a Llama reads the smaller one. What is lost is learned again from the parent (`model.transfer`):
Minitron, Muralidharan et al. 2024, arXiv 2407.14679.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedModel, PreTrainedTokenizerBase

from cogumi_utils.compress.pruning import _vocabulary
from cogumi_utils.compress.pruning._importance import Importance, check_parent, measure_importance, token_counts
from cogumi_utils.compress.pruning._rounding import dense_bytes
from cogumi_utils.errors import CogumiError
from cogumi_utils.judge.sizes import setting, shape_counts

__all__ = ["Importance", "Shape", "candidates", "measure_importance", "shrink", "smallest_vocabulary", "token_counts"]

FFN_STEPS = (256, 32, 1)  # a K-quant's block, the smallest block of any GGUF type, anything
smallest_vocabulary = _vocabulary.smallest


@dataclass(frozen=True, slots=True)
class Shape:
    """What can be cut; the hidden size stays, since everything reads and writes it. kv_heads: groups of query heads."""

    layers: int
    kv_heads: int
    ffn: int
    vocab: int

    def config(self, parent: Mapping[str, Any]) -> dict[str, Any]:
        """The parent's configuration in this shape. The width of a head is named, as it no longer follows."""
        heads, groups = setting(parent, "num_attention_heads"), kv_heads(parent)
        return dict(parent) | {
            "num_hidden_layers": self.layers,
            "num_key_value_heads": self.kv_heads,
            "num_attention_heads": self.kv_heads * (heads // groups),
            "head_dim": parent.get("head_dim") or setting(parent, "hidden_size") // heads,
            "intermediate_size": self.ffn,
            "vocab_size": self.vocab,
        }

    def parameters(self, parent: Mapping[str, Any]) -> int:
        """Parameters of the parent in this shape, tied ones once."""
        return shape_counts(self.config(parent)).total

    def bytes(self, parent: Mapping[str, Any]) -> float:
        """The parent in this shape with 4-bit values, as `routes` counts all of its variants (see `_rounding`)."""
        return dense_bytes(self.config(parent))

    def __str__(self) -> str:
        return f"{self.layers} layers, {self.kv_heads} key-value heads, FFN {self.ffn}, {self.vocab} words"


def shape_of(config: Mapping[str, Any]) -> Shape:
    """A model's own shape."""
    names = ("num_hidden_layers", "intermediate_size", "vocab_size")
    layers, ffn, vocab = (setting(config, name) for name in names)
    return Shape(layers, kv_heads(config), ffn, vocab)


def kv_heads(config: Mapping[str, Any]) -> int:
    return config.get("num_key_value_heads") or setting(config, "num_attention_heads")


def candidates(config: Mapping[str, Any], target_bytes: float, *, vocabularies: Sequence[int] = ()) -> list[Shape]:
    """All shapes of at most `target_bytes` with 4-bit values that can not grow in any direction, largest first.

    vocabularies: numbers of entries to choose among; none: the parent's. FFN widths go in steps of 256 where the
    parent's is such a multiple: rows of other lengths get no K-quant. Query heads divide the hidden size, as
    transformers wants it. Raises CogumiError where no shape is so small.
    """
    whole = shape_of(config)
    step = next(step for step in FFN_STEPS if whole.ffn % step == 0)
    heads = [count for count in range(1, whole.kv_heads + 1) if _divides(count, config)]
    dials = product(range(1, whole.layers + 1), heads, vocabularies or (whole.vocab,))
    found = [
        _widest(config, Shape(layers, count, step, vocab), target_bytes, whole.ffn) for layers, count, vocab in dials
    ]
    shapes = [shape for shape in found if shape]
    if not shapes:
        least = Shape(1, heads[0], step, min(vocabularies or (whole.vocab,)))
        raise _unreachable(least, least.bytes(config), target_bytes)
    largest = [shape for shape in shapes if not any(_covers(other, shape) for other in shapes)]
    return sorted(largest, key=lambda shape: (-shape.bytes(config), *asdict(shape).values()))


def _widest(config: Mapping[str, Any], narrow: Shape, target_bytes: float, most: int) -> Shape | None:
    """`narrow` with the widest FFN of at most `most` that fits into `target_bytes`; None where not even it does.

    Bytes are linear in the width, so two counts tell all of them.
    """
    layers, heads, step, vocab = asdict(narrow).values()
    least = narrow.bytes(config)
    each = Shape(layers, heads, 2 * step, vocab).bytes(config) - least
    if least > target_bytes:
        return None
    return Shape(layers, heads, min(most, step + int((target_bytes - least) // each) * step), vocab)


def _divides(kv_heads_kept: int, config: Mapping[str, Any]) -> bool:
    """Whether the query heads of so many groups divide the hidden size: transformers takes no other configuration."""
    queries = kv_heads_kept * (setting(config, "num_attention_heads") // kv_heads(config))
    return setting(config, "hidden_size") % queries == 0


def _covers(one: Shape, other: Shape) -> bool:
    pairs = zip(asdict(one).values(), asdict(other).values(), strict=True)
    return one != other and all(a >= b for a, b in pairs)


def shrink(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, importance: Importance, shape: Shape
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A new, smaller Llama of the parent's most important parts, with its tokenizer; the parent stays as it is.

    Parts keep their order. Raises CogumiError for a shape that is no part of the parent's, a model that is no Llama or
    is quantised, and a vocabulary that could not write every text.
    """
    check_parent(model)
    _check_shape(shape, model.config.to_dict())
    counts = [int(count) for count in importance.entries]
    entries = list(range(shape.vocab))
    if shape.vocab < model.config.vocab_size:
        tokenizer, entries = _vocabulary.reduced(tokenizer, counts, shape.vocab)
    config = LlamaConfig.from_dict(shape.config(model.config.to_dict()) | _special_ids(model.config, entries))
    with torch.random.fork_rng(devices=[]):  # the first weights are drawn, then replaced
        smaller = AutoModelForCausalLM.from_config(config, dtype=model.dtype).to(model.device)
    _copy(model, smaller, importance, shape, torch.tensor(entries))
    _carry_generation(model, smaller, entries)
    return smaller.eval(), tokenizer


@torch.no_grad()
def _copy(
    model: PreTrainedModel, smaller: PreTrainedModel, importance: Importance, shape: Shape, entries: Tensor
) -> None:
    """Every weight of `smaller` from the parts of `model` that stay."""
    parent = dict(model.named_parameters())
    layers = _most(importance.layers, shape.layers)
    config = smaller.config
    for name, weight in smaller.named_parameters():
        if ".layers." not in name:
            source = parent[name]
            weight.copy_(source[entries.to(source.device)] if source.ndim == 2 else source)
            continue
        before, place, part = _place(name)
        layer = int(layers[place])
        columns = _most(importance.columns[layer], shape.ffn)
        groups = _most(importance.groups[layer], shape.kv_heads)
        queries = _spread(groups, config.num_attention_heads // shape.kv_heads * config.head_dim)
        keys = _spread(groups, config.head_dim)
        weight.copy_(_taken(parent[f"{before}{layer}.{part}"], part, columns, queries, keys))


def _taken(weight: Tensor, part: str, columns: Tensor, queries: Tensor, keys: Tensor) -> Tensor:
    """The rows (outputs) or columns (inputs) of one weight or bias of a layer that stay; a norm as it is."""
    kind, _, what = part.rpartition(".")
    rows = {"q_proj": queries, "k_proj": keys, "v_proj": keys, "gate_proj": columns, "up_proj": columns}
    inputs = {"o_proj": queries, "down_proj": columns}
    kind = kind.rpartition(".")[2]
    if kind in rows:
        return weight[rows[kind].to(weight.device)]
    return weight[:, inputs[kind].to(weight.device)] if kind in inputs and what == "weight" else weight


def _place(name: str) -> tuple[str, int, str]:
    """ "model.layers.3.mlp.up_proj.weight" as ("model.layers.", 3, "mlp.up_proj.weight")."""
    before, _, rest = name.partition("layers.")
    place, _, part = rest.partition(".")
    return f"{before}layers.", int(place), part


def _most(values: Tensor, count: int) -> Tensor:
    """Places of the `count` largest values in rising order; of equal ones the first."""
    return torch.argsort(values, descending=True, stable=True)[:count].sort().values


def _spread(groups: Tensor, width: int) -> Tensor:
    """Rows of whole groups, `width` each."""
    return (groups[:, None] * width + torch.arange(width)).flatten()


def _special_ids(config: Any, entries: Sequence[int]) -> dict[str, Any]:
    """Start, end and padding tokens under their new ids; a configuration may name several end tokens."""
    new = {old: place for place, old in enumerate(entries)}
    found = {name: getattr(config, name, None) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    return {
        name: [new[i] for i in old if i in new] if isinstance(old, list) else new.get(old)
        for name, old in found.items()
    }


def _carry_generation(model: PreTrainedModel, smaller: PreTrainedModel, entries: Sequence[int]) -> None:
    """The parent's settings for generation, with the new ids."""
    if model.generation_config is not None:
        smaller.generation_config = type(model.generation_config).from_dict(
            model.generation_config.to_dict() | _special_ids(model.generation_config, entries)
        )


def _check_shape(shape: Shape, config: Mapping[str, Any]) -> None:
    whole = shape_of(config)
    wrong = [name for name, value in asdict(shape).items() if not 1 <= value <= getattr(whole, name)]
    if wrong:
        raise CogumiError(
            expected=f"at least one and at most the parent's of each: {whole}",
            found=f"{shape} ({', '.join(wrong)})",
            why="a part that is not there can not be kept",
            fix="take a shape that candidates(...) returned for this parent",
        )
    if not _divides(shape.kv_heads, config):
        raise CogumiError(
            expected=f"query heads that divide the hidden size, {config['hidden_size']}",
            found=f"{shape.config(config)['num_attention_heads']} of them ({shape})",
            why="transformers takes no other configuration of a Llama",
            fix="take a shape that candidates(...) returned for this parent",
        )


def _unreachable(least: Shape, least_bytes: float, target_bytes: float) -> CogumiError:
    return CogumiError(
        expected=f"at least {least_bytes:,.0f} bytes",
        found=f"{target_bytes:,.0f} bytes",
        why=f"that is the smallest shape: {least}",
        fix="raise the target, or offer a smaller vocabulary",
    )
