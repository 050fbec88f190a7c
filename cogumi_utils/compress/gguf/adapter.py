"""A PEFT LoRA adapter as a GGUF file that llama.cpp puts on a running model and takes off again (Hu et al. 2022)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import gguf
import torch
from peft import LoraConfig, PeftConfig
from peft.utils.other import get_pattern_key
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import LlamaConfig

from cogumi_utils.compress.gguf.export import as_llama_cpp_turns, gguf_name, gguf_names, read_config, shape_of
from cogumi_utils.compress.gguf.file import file_type, write
from cogumi_utils.errors import CogumiError
from cogumi_utils.judge import sizes

WEIGHTS = "adapter_model.safetensors"
_PREFIX, _A, _B = "base_model.model.", ".lora_A.weight", ".lora_B.weight"
# What makes an adapter more than products B·A with one factor each.
_BEYOND_PRODUCTS = (
    "use_dora", "modules_to_save", "lora_bias", "layer_replication", "trainable_token_indices", "target_parameters",
    "fan_in_fan_out", "alora_invocation_tokens", "arrow_config",
)  # fmt: skip


def export_adapter(
    adapter_folder: str | Path, base_folder: str | Path, target: str | Path, *, dtype: str = "F32"
) -> Path:
    """Write the adapter to the GGUF file `target`. Of `base_folder` only config.json is read.

    Raises CogumiError for an adapter that is more than low-rank products, or that is none of this base.
    """
    adapter_folder, target, kind = Path(adapter_folder), Path(target), file_type(dtype)
    settings, config = _settings(adapter_folder), read_config(Path(base_folder))
    products = _products(adapter_folder, config)
    writer = gguf.GGUFWriter(None, "llama")
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, float(settings.lora_alpha))
    factors = dict(_factors(products, settings, config))
    shapes = {name: tuple(factor.shape) for name, factor in factors.items()}
    write(writer, target, shapes, kind, iter(factors.items()))
    return target


def _settings(folder: Path) -> LoraConfig:
    try:
        settings = PeftConfig.from_pretrained(str(folder))
    except (OSError, ValueError, TypeError) as error:
        raise _unusable(folder, str(error).splitlines()[0]) from error
    if not isinstance(settings, LoraConfig) or settings.bias != "none" or not settings.lora_alpha:
        raise _unusable(folder, f"{settings.peft_type.value} with {getattr(settings, 'bias', 'no')} bias")
    if odd := [name for name in _BEYOND_PRODUCTS if getattr(settings, name, None)]:
        raise _unusable(folder, f"settings {', '.join(odd)}")
    return settings


def _products(folder: Path, config: LlamaConfig) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """{module in transformers: (A [rank, inputs], B [outputs, rank])}, checked against the base's shapes."""
    try:
        stored = load_file(folder / WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise _unusable(folder, str(error).splitlines()[0]) from error
    modules = {name.removeprefix(_PREFIX).removesuffix(_A) for name in stored if name.endswith(_A)}
    if stored.keys() != {f"{_PREFIX}{module}{end}" for module in modules for end in (_A, _B)} or not modules:
        raise _unusable(folder, f"tensors such as {min(stored, default='none')}")
    linear = {gguf_name(tensor): shape_of(tensor) for tensor in sizes.tensors(config.to_dict()) if tensor.layer >= 0}
    found = {}
    for module in sorted(modules):
        a, b = (stored[f"{_PREFIX}{module}{end}"] for end in (_A, _B))
        (name,) = gguf_names(config, [f"{module}.weight"])
        if linear.get(name) != (b.shape[0], a.shape[1]) or a.shape[0] != b.shape[1]:
            raise _unusable(folder, f"{module} of {b.shape[0]} × {a.shape[1]} where the base has {linear.get(name)}")
        found[module] = (a, b)
    return found


def _factors(
    products: dict[str, tuple[torch.Tensor, torch.Tensor]], settings: LoraConfig, config: LlamaConfig
) -> Iterator[tuple[str, torch.Tensor]]:
    """Name in GGUF and values. llama.cpp knows one alpha and divides it by the rank: what a module has of its own
    (alpha_pattern, or rank-stabilised LoRA's square root) goes into its B.
    """
    for module, (a, b) in products.items():
        (name,) = gguf_names(config, [f"{module}.weight"])
        rank = a.shape[0]
        alpha = settings.alpha_pattern.get(get_pattern_key(settings.alpha_pattern, module), settings.lora_alpha)
        own = alpha / settings.lora_alpha * (rank**0.5 if settings.use_rslora else 1.0)
        yield f"{name}.lora_a", a
        yield f"{name}.lora_b", as_llama_cpp_turns(config, name, b) * own


def _unusable(folder: Path, found: str) -> CogumiError:
    return CogumiError(
        expected=f"a LoRA adapter on linear layers of the base's blocks: adapter_config.json and {WEIGHTS}",
        found=f"{folder}: {found}",
        why="llama.cpp adds products B·A to matrices of the base, and nothing else",
        fix="save it with sft.save_adapter and name the base that it was trained on, or merge it and export the model",
    )
