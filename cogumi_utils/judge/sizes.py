"""How many weights a Llama has, and how few bytes they can take: shapes, entropy, and what real formats write."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cogumi_utils.errors import CogumiError

# Llama-3.1-8B(-Instruct)'s own configuration file.
LLAMA_3_1_8B: dict[str, Any] = {
    "vocab_size": 128256,
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "tie_word_embeddings": False,
}
# (weights in a block, bytes of a block), as in ggml-common.h and the `gguf` package's GGML_QUANT_SIZES. A K-quant's
GGML_BLOCKS = {
    "F32": (1, 4),
    "F16": (1, 2),
    "BF16": (1, 2),
    "Q4_0": (32, 18),
    "Q5_0": (32, 22),
    "Q5_1": (32, 24),
    "Q8_0": (32, 34),
    "Q3_K": (256, 110),
    "Q4_K": (256, 144),
    "Q5_K": (256, 176),
    "Q6_K": (256, 210),
}
GGUF_TYPES = {"F16": "F16", "Q8_0": "Q8_0", "Q6_K": "Q6_K", "Q5_K_M": "Q5_K", "Q4_K_M": "Q4_K", "Q3_K_M": "Q3_K"}
_FALLBACK = {
    "Q3_K": "Q4_0", "Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0", "Q8_0": "F16", "Q4_0": "F16", "Q5_0": "F16",
    "Q5_1": "F16",
}  # fmt: skip
LINEAR = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")


@dataclass(frozen=True, slots=True)
class Tensor:
    """One weight, named as in GGUF. rows × columns = outputs × inputs; a vector has one row. layer: -1 outside them."""

    name: str
    kind: str
    rows: int
    columns: int
    layer: int = -1

    @property
    def count(self) -> int:
        return self.rows * self.columns


@dataclass(frozen=True, slots=True)
class Shapes:
    """Parameters by kind. embeddings: both matrices, or the one that tied models share."""

    embeddings: int
    attention: int
    mlp: int
    norms: int
    tied: bool

    @property
    def total(self) -> int:
        return self.embeddings + self.attention + self.mlp + self.norms

    @property
    def linear(self) -> int:
        """The matrices inside the layers: what pruning, AWQ and LoRA work on."""
        return self.attention + self.mlp

    @property
    def multiplied(self) -> int:
        """Weights that each token is multiplied with: the layers and the output matrix (the input is looked up)."""
        return self.linear + (self.embeddings if self.tied else self.embeddings // 2)


def setting(config: Mapping[str, Any], name: str) -> Any:
    if config.get(name) is None:
        raise CogumiError(
            expected=f"a Llama configuration with {name}",
            found=f"only {', '.join(sorted(map(str, config))) or 'nothing'}",
            why="the number of weights follows from it",
            fix="pass LlamaConfig(...).to_dict(), or the model's config.json read as a dictionary",
        )
    return config[name]


def widths(config: Mapping[str, Any]) -> tuple[int, int, int]:
    """(hidden size, width of all query heads, width of all key-value heads). Missing key-value heads: one a head."""
    hidden, heads = setting(config, "hidden_size"), setting(config, "num_attention_heads")
    head = config.get("head_dim") or hidden // heads
    return hidden, heads * head, (config.get("num_key_value_heads") or heads) * head


def layer_tensors(config: Mapping[str, Any], layer: int) -> list[Tensor]:
    """The weights of one decoder layer."""
    hidden, queries, keys = widths(config)
    inner = setting(config, "intermediate_size")
    shapes = {
        "attn_q": ("attention", queries, hidden),
        "attn_k": ("attention", keys, hidden),
        "attn_v": ("attention", keys, hidden),
        "attn_output": ("attention", hidden, queries),
        "ffn_gate": ("mlp", inner, hidden),
        "ffn_up": ("mlp", inner, hidden),
        "ffn_down": ("mlp", hidden, inner),
        "attn_norm": ("norms", 1, hidden),
        "ffn_norm": ("norms", 1, hidden),
    }
    biased = LINEAR[:4] * bool(config.get("attention_bias")) + LINEAR[4:] * bool(config.get("mlp_bias"))
    biases = [Tensor(f"{name}.bias", shapes[name][0], 1, shapes[name][1], layer) for name in biased]
    return [Tensor(name, *shape, layer) for name, shape in shapes.items()] + biases


def tensors(config: Mapping[str, Any]) -> list[Tensor]:
    """Every weight of a Llama-architecture model with this Hugging Face configuration."""
    hidden, vocabulary = setting(config, "hidden_size"), setting(config, "vocab_size")
    found = [Tensor("token_embd", "embeddings", vocabulary, hidden)]
    for layer in range(setting(config, "num_hidden_layers")):
        found += layer_tensors(config, layer)
    found.append(Tensor("output_norm", "norms", 1, hidden))
    if not config.get("tie_word_embeddings"):
        found.append(Tensor("output", "embeddings", vocabulary, hidden))
    return found


def shape_counts(config: Mapping[str, Any]) -> Shapes:
    """Parameters by kind; Llama-3.1-8B's configuration gives 8,030,261,248 in all."""
    counts = dict.fromkeys(("embeddings", "attention", "mlp", "norms"), 0)
    for tensor in tensors(config):
        counts[tensor.kind] += tensor.count
    return Shapes(**counts, tied=bool(config.get("tie_word_embeddings")))


def entropy(share: float) -> float:
    """H(share) in bits: what one yes-or-no costs when `share` of them are yes (Shannon 1948). H(0.35) = 0.934."""
    if not 0 <= share <= 1:
        raise CogumiError(
            expected="a share between 0 and 1",
            found=str(share),
            why="the entropy of a share is defined only there",
            fix="give sparsity as a fraction, 0.65 for 65%",
        )
    return sum(p * math.log2(1 / p) for p in (share, 1 - share) if p > 0)


def bound_bytes(count: float, sparsity: float, bits: float) -> float:
    """Fewest bytes for `count` weights of which `sparsity` are zero anywhere and the kept ones carry `bits` each.

    n · [H(s) + (1 - s) · bits] / 8: first which weights were kept, then their values. `bits` is the information in a
    kept value: the code's width where codes are used evenly, less where they are not (bfloat16's 16 bits hold 10.9).
    """
    return count * (entropy(sparsity) + (1 - sparsity) * bits) / 8


def bits_per_weight(size_bytes: float, count: float) -> float:
    return 8 * size_bytes / count


def group_bits(bits: float = 4, group: int = 128, scale_bits: float = 16, zero_bits: float = 16) -> float:
    """Bits a weight of group-wise quantisation with its scale and zero point.

    AWQ 4-bit, groups of 128: 4.25; with the zero points packed to 4 bits, as AutoAWQ's files hold them, 4.156.
    """
    return bits + (scale_bits + zero_bits) / group


def awq_bytes(config: Mapping[str, Any], bits: float = 4, group: int = 128) -> float:
    """An AutoAWQ file: the layers' matrices quantised (packed zero points), embeddings, output and norms in 16 bits."""
    shapes = shape_counts(config)
    return (shapes.linear * group_bits(bits, group, zero_bits=bits) + (shapes.total - shapes.linear) * 16) / 8


def _more_bits(layer: int, layers: int) -> bool:
    """llama.cpp's `use_more_bits`: the first and last eighth of the layers, and every third between."""
    return layer < layers // 8 or layer >= 7 * layers // 8 or (layer - layers // 8) % 3 == 2


def gguf_type(tensor: Tensor, config: Mapping[str, Any], file_type: str) -> str:
    """The block type that llama.cpp's quantiser gives a tensor (llama-quant.cpp, `llama_tensor_get_type`).

    The output matrix (the embedding, where they are tied) is Q6_K in every K-quant; the mixtures (_M) raise what is
    sensitive; vectors stay F32; rows that a block does not divide get a type with smaller blocks.
    """
    if tensor.rows == 1:
        return "F32"
    chosen, tied = GGUF_TYPES[file_type], bool(config.get("tie_word_embeddings"))
    is_output = tensor.name == "output" or (tied and tensor.name == "token_embd")
    if is_output and chosen.endswith("_K"):
        chosen = "Q6_K" if tensor.columns % 256 == 0 else "Q8_0"
    elif file_type.endswith("_K_M"):
        chosen = _raised(tensor, config, chosen)
    return fallback(chosen, tensor.columns)


def _raised(tensor: Tensor, config: Mapping[str, Any], chosen: str) -> str:
    """What a mixture gives a tensor inside the layers: Q4_K_M and Q5_K_M raise half of the layers' values and FFN
    outputs; Q3_K_M all of them, and what attention gives back.
    """
    layers = setting(config, "num_hidden_layers")
    if chosen == "Q3_K":
        early = {"attn_v": 2, "ffn_down": layers // 16, "attn_output": 0}.get(tensor.name)
        chosen = "Q3_K" if early is None else "Q5_K" if tensor.layer < early else "Q4_K"
    elif tensor.name in ("attn_v", "ffn_down") and _more_bits(tensor.layer, layers):
        return "Q6_K"
    # Llama 70B, which llama.cpp knows by its 80 layers: few key-value heads, so more bits for them cost little.
    grouped = widths(config)[1] != widths(config)[2]
    return "Q5_K" if tensor.name == "attn_v" and layers == 80 and grouped and chosen == "Q4_K" else chosen


def fallback(block_type: str, columns: int) -> str:
    """The type that llama.cpp takes where a block does not divide a row of `columns` weights."""
    while columns % GGML_BLOCKS[block_type][0]:
        block_type = _FALLBACK[block_type]
    return block_type


def gguf_bytes(config: Mapping[str, Any], file_type: str) -> int:
    """Bytes of all tensors in a GGUF file of this type; header and tokenizer come on top (7.8 MB at 128K words)."""
    if file_type not in GGUF_TYPES:
        raise CogumiError(
            expected=f"one of {', '.join(GGUF_TYPES)}",
            found=file_type,
            why="each file type is its own mixture of block types",
            fix="choose one of these types",
        )
    blocks = [(tensor.count, *GGML_BLOCKS[gguf_type(tensor, config, file_type)]) for tensor in tensors(config)]
    return sum(count // size * width for count, size, width in blocks)


def lora_parameters(config: Mapping[str, Any], rank: int, targets: tuple[str, ...] = LINEAR) -> int:
    """Parameters of a LoRA adapter: rank · (inputs + outputs) of every matrix that it adapts."""
    return sum(rank * (tensor.rows + tensor.columns) for tensor in tensors(config) if tensor.name in targets)
