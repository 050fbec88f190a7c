"""A Llama in Hugging Face's files as one GGUF file, tensor by tensor: an 8B needs the memory of its largest matrix.

Two things differ between the formats. llama.cpp's rotary embedding turns neighbouring pairs of a head's dimensions (Su
et al. 2021), transformers turns dimension i with i + d/2: the rows of the query and key projections are reordered. And
what Llama 3.1 does to the rotary frequencies is not named but given, as a tensor that they are divided by.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import gguf
import torch
from safetensors import SafetensorError, safe_open
from transformers import AutoConfig, LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from cogumi_utils.compress.gguf.file import FileType, file_type, write
from cogumi_utils.compress.gguf.tokenizer import add_tokenizer
from cogumi_utils.errors import CogumiError
from cogumi_utils.judge import sizes
from cogumi_utils.model.student import require_llama

INDEX, SINGLE = "model.safetensors.index.json", "model.safetensors"
ROPE_FREQUENCIES = "rope_freqs.weight"
_DERIVED = "rotary_emb.inv_freq"  # in old files: computed from the configuration


def export(
    folder: str | Path, target: str | Path, *, dtype: str = "F16", name: str = "", licence: str = "",
    base_model: str = "",
) -> Path:  # fmt: skip
    """Write the model in `folder` (config.json, safetensors, tokenizer) to the GGUF file `target`, or nothing at all.

    name, licence (an SPDX id or the licence's own name) and base_model go into the file's metadata.
    Raises CogumiError for what is no unquantised Llama, for a tokenizer that llama.cpp does not know, for weights
    beyond the range of `dtype`, and for too little disk before anything is written.
    """
    folder, target, kind = Path(folder), Path(target), file_type(dtype)
    config = read_config(folder)
    with ExitStack() as stack:
        weights = _open_weights(folder, stack)
        layout = _layout(config, weights)
        writer = gguf.GGUFWriter(None, "llama")
        _add_metadata(writer, name or folder.resolve().name, licence, base_model, kind)
        _add_architecture(writer, config)
        add_tokenizer(writer, folder, config.vocab_size)
        names = {**{name: shape for name, (_, shape) in layout.items()}, **_frequency_shape(config)}
        tokenizer_bytes = 2 * (folder / "tokenizer.json").stat().st_size
        write(writer, target, names, kind, _tensors(config, weights, layout), tokenizer_bytes)
    return target


def read_config(folder: Path) -> LlamaConfig:
    """The model's configuration. Raises CogumiError for what the file would silently leave out."""
    try:
        config = AutoConfig.from_pretrained(folder)
    except (OSError, ValueError) as error:
        raise _unusable(folder, str(error).splitlines()[0]) from error
    require_llama(config.model_type, str(folder))
    if getattr(config, "quantization_config", None):
        raise _unusable(folder, "quantised weights")
    if config.hidden_act != "silu":
        raise _unusable(folder, f"the activation {config.hidden_act}")
    if rope_kind(config) not in ("default", "linear", "llama3"):
        raise _unusable(folder, f"rotary frequencies of type {rope_kind(config)} (known: default, linear, llama3)")
    return config


def rope_kind(config: LlamaConfig) -> str:
    return config.rope_parameters.get("rope_type", "default")


def _add_metadata(writer: gguf.GGUFWriter, name: str, licence: str, base_model: str, kind: FileType) -> None:
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_name(name)
    if licence:
        writer.add_license(licence)
    if base_model:
        writer.add_base_model_count(1)
        writer.add_base_model_name(0, base_model)
    writer.add_file_type(kind.file)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)


def _add_architecture(writer: gguf.GGUFWriter, config: LlamaConfig) -> None:
    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    if rope_kind(config) == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(config.rope_parameters["factor"])


def _open_weights(folder: Path, stack: ExitStack) -> dict[str, Any]:
    """{name in transformers: the open file that holds it}; nothing is read yet."""
    try:
        index = folder / INDEX
        shards = set(json.loads(index.read_text())["weight_map"].values()) if index.is_file() else {SINGLE}
        files = [stack.enter_context(safe_open(folder / shard, framework="pt")) for shard in sorted(shards)]
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise _unusable(folder, str(error).splitlines()[0]) from error
    return {name: file for file in files for name in file.keys() if not name.endswith(_DERIVED)}


def _layout(config: LlamaConfig, weights: Mapping[str, Any]) -> dict[str, tuple[str, tuple[int, ...]]]:
    """{name in GGUF: (name in transformers, shape)} of exactly the tensors that this configuration has."""
    names = gguf_names(config, weights)
    if config.tie_word_embeddings:
        names.pop("output.weight", None)  # the same matrix again
    expected = {gguf_name(tensor): shape_of(tensor) for tensor in sizes.tensors(config.to_dict())}
    found = {name: tuple(weights[theirs].get_slice(theirs).get_shape()) for name, theirs in names.items()}
    if odd := sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)):
        what = f"{odd[0]} of shape {found.get(odd[0])}, expected {expected.get(odd[0])}"
        raise _unusable("the safetensors", f"{what}; {len(odd)} tensors differ from config.json")
    return {name: (names[name], shape) for name, shape in expected.items()}


def gguf_names(config: LlamaConfig, theirs: Mapping[str, Any]) -> dict[str, str]:
    """{name in GGUF: name in transformers}; a name that GGUF does not know stays as it is."""
    known = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    return {known.get_name(name, (".weight", ".bias")) or name: name for name in theirs}


def gguf_name(tensor: sizes.Tensor) -> str:
    place = f"blk.{tensor.layer}." if tensor.layer >= 0 else ""
    return f"{place}{tensor.name}" if tensor.name.endswith(".bias") else f"{place}{tensor.name}.weight"


def shape_of(tensor: sizes.Tensor) -> tuple[int, ...]:
    return (tensor.columns,) if tensor.rows == 1 else (tensor.rows, tensor.columns)


def _tensors(
    config: LlamaConfig, weights: Mapping[str, Any], layout: Mapping[str, tuple[str, tuple[int, ...]]]
) -> Iterator[tuple[str, torch.Tensor]]:
    """Name in GGUF and values, one tensor in memory at a time."""
    for name, (theirs, _) in layout.items():
        yield name, as_llama_cpp_turns(config, name, weights[theirs].get_tensor(theirs))
    if rope_kind(config) == "llama3":
        yield ROPE_FREQUENCIES, frequency_divisors(config)


def as_llama_cpp_turns(config: LlamaConfig, name: str, rows: torch.Tensor) -> torch.Tensor:
    """Rows [outputs, ...] of a query or key projection with dimensions i and i + d/2 of each head as neighbours."""
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}.get(name.split(".")[-2])
    return rows if heads is None else rows.unflatten(0, (heads, 2, -1)).transpose(1, 2).flatten(0, 2)


def frequency_divisors(config: LlamaConfig) -> torch.Tensor:
    """float32 [head dimension / 2]: what Llama 3.1 divides each rotary frequency by, from 1 to `factor`."""
    scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](config, torch.device("cpu"))
    exponents = torch.arange(0, config.head_dim, 2, dtype=torch.float32) / config.head_dim
    return config.rope_parameters["rope_theta"] ** -exponents / scaled


def _frequency_shape(config: LlamaConfig) -> dict[str, tuple[int, ...]]:
    return {ROPE_FREQUENCIES: (config.head_dim // 2,)} if rope_kind(config) == "llama3" else {}


def _unusable(where: Path | str, found: str) -> CogumiError:
    return CogumiError(
        expected="an unquantised Llama: config.json, safetensors as it says, tokenizer.json",
        found=f"{where}: {found}",
        why="what the file cannot say would be left out, and llama.cpp would run another model",
        fix="save the model with student.save (merge adapters and dequantise first), and export that folder",
    )
