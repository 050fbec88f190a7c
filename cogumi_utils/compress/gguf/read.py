"""What a GGUF file really holds: its tensors and their types, and its weights back in Hugging Face's files.

Training that is to mend a quantised model has to start from the weights that are shipped, not from those they were
made of. llama.cpp's own arithmetic is another matter: it rounds activations to 8 bits (Q8_K, Q8_0) before it multiplies
them with quantised weights, so its logits differ a little from those of the same weights in floating point.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import gguf
import torch
from gguf.quants import dequantize
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

from cogumi_utils.artifacts import fsync_path
from cogumi_utils.compress.gguf.export import (
    INDEX,
    ROPE_FREQUENCIES,
    SINGLE,
    gguf_names,
    read_config,
)
from cogumi_utils.compress.ledger import File
from cogumi_utils.errors import CogumiError
from cogumi_utils.hardware import require_disk
from cogumi_utils.judge import sizes
from cogumi_utils.model.student import load_tokenizer

if TYPE_CHECKING:
    import pandas as pd

OUTPUT, EMBEDDING = "output.weight", "token_embd.weight"
DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
SHARD_BYTES = 2 << 30


def read(file: str | Path) -> gguf.GGUFReader:
    """The file, mapped into memory: tensors are read when they are looked at. Raises CogumiError for what is none."""
    try:
        return gguf.GGUFReader(Path(file))
    except (OSError, ValueError, IndexError, KeyError, TypeError) as error:
        raise CogumiError(
            expected="a whole GGUF file",
            found=f"{file}: {str(error).splitlines()[0] if str(error) else type(error).__name__}",
            why="its tensors are read from it",
            fix="export the model (gguf_export.export) or quantise it (gguf_types.quantise) again",
        ) from error


def shapes(reader: gguf.GGUFReader) -> dict[str, tuple[int, ...]]:
    """{tensor: (rows, columns)}, vectors (columns,), in the file's order."""
    return {tensor.name: tuple(int(size) for size in reversed(tensor.shape)) for tensor in reader.tensors}


def block_types(reader: gguf.GGUFReader) -> dict[str, str]:
    """{tensor: block type such as "Q5_K"}."""
    return {tensor.name: tensor.tensor_type.name for tensor in reader.tensors}


def configuration(reader: gguf.GGUFReader) -> dict[str, int | bool]:
    """The part of a Hugging Face configuration that decides about sizes and types, for `judge.sizes`."""

    def number(key: str) -> int:
        return int(reader.get_field(f"llama.{key}").contents())

    return {
        "vocab_size": shapes(reader)[EMBEDDING][0], "hidden_size": number("embedding_length"),
        "intermediate_size": number("feed_forward_length"), "num_hidden_layers": number("block_count"),
        "num_attention_heads": number("attention.head_count"), "head_dim": number("attention.key_length"),
        "num_key_value_heads": number("attention.head_count_kv"), "tie_word_embeddings": OUTPUT not in shapes(reader),
    }  # fmt: skip


def parameters(reader: gguf.GGUFReader) -> int:
    """Weights in the file, tied ones once."""
    return sum(int(tensor.n_elements) for tensor in reader.tensors if tensor.name != ROPE_FREQUENCIES)


def bits_per_weight(file: str | Path) -> float:
    """Of the whole file, tokenizer included."""
    return sizes.bits_per_weight(Path(file).stat().st_size, parameters(read(file)))


def bytes_per_token(file: str | Path) -> int:
    """Bytes of weights that each generated token reads: all but an embedding that is only looked up in."""
    reader = read(file)
    looked_up = {EMBEDDING} if OUTPUT in shapes(reader) else set()
    return sum(int(tensor.n_bytes) for tensor in reader.tensors if tensor.name not in looked_up)


def table(file: str | Path) -> pd.DataFrame:
    """A row a block type: type, tensors, weights, bytes, bits/weight; then what is no tensor, and the whole file."""
    import pandas as pd

    reader, size = read(file), Path(file).stat().st_size
    rows = [(t.tensor_type.name, 1, int(t.n_elements), int(t.n_bytes)) for t in reader.tensors]
    found = pd.DataFrame(rows, columns=["type", "tensors", "weights", "bytes"]).groupby("type").sum()
    found.loc["header, tokenizer"] = (0, 0, size - found.bytes.sum())
    found.loc["file"] = found.sum()
    found["bits/weight"] = 8 * found.bytes / found.weights.where(found.weights > 0)
    return found.reset_index()


def ledger_files(bounds: Mapping[str, float], files: Mapping[Path, Path]) -> list[File]:
    """What the byte ledger takes. bounds: {file's name: bytes}; files: {file: the GGUF file that it is or holds}, whose
    weights and bound it has.
    """
    return [
        File(file.name, parameters(read(whole)), bounds[whole.name], file.stat().st_size)
        for file, whole in files.items()
    ]


def to_folder(file: str | Path, like: str | Path, target: str | Path, *, dtype: str = "F32") -> Path:
    """The file's weights, dequantised, as a Hugging Face folder with the configuration and tokenizer of `like`.

    F32 holds every dequantised value exactly; F16 and BF16 round once more. A layer or so is in memory at a time, and
    the folder is there whole or not at all. Raises CogumiError for a file that is no export of such a model, and for a
    `target` that exists.
    """
    file, like, target = Path(file), Path(like), Path(target)
    if dtype not in DTYPES or target.exists():
        raise _refused(f"dtype {dtype}, {target}{' (exists)' * target.exists()}", "a new folder, F32, F16 or BF16")
    config, reader = read_config(like), read(file)
    names = _check(config, reader, file)
    require_disk(target, parameters(reader) * DTYPES[dtype].itemsize)
    draft = target.with_name(f".{target.name}.{os.getpid()}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    try:
        _save_shards(draft, _tensors(config, reader, names, DTYPES[dtype]))
        config.dtype = DTYPES[dtype]
        config.save_pretrained(draft)
        load_tokenizer(like).save_pretrained(draft)
        os.replace(draft, target)
        fsync_path(target.parent)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return target


def _check(config: LlamaConfig, reader: gguf.GGUFReader, file: Path) -> dict[str, str]:
    """{name in GGUF: name in transformers}, once the file's tensors are those of the configuration."""
    with torch.device("meta"):
        expected = {name: tuple(values.shape) for name, values in LlamaForCausalLM(config).state_dict().items()}
    names = gguf_names(config, expected)
    if config.tie_word_embeddings:
        del names[OUTPUT]
    found = {name: shape for name, shape in shapes(reader).items() if name != ROPE_FREQUENCIES}
    wanted = {name: expected[theirs] for name, theirs in names.items()}
    if odd := sorted(name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name)):
        what = f"{odd[0]} of shape {found.get(odd[0])}, expected {wanted.get(odd[0])}"
        raise _refused(f"{file}: {what}; {len(odd)} tensors differ", "a file exported from the model in `like`")
    return names


def _tensors(
    config: LlamaConfig, reader: gguf.GGUFReader, names: dict[str, str], dtype: torch.dtype
) -> Iterator[tuple[str, torch.Tensor]]:
    """Name in transformers and values, one tensor in memory at a time."""
    for tensor in reader.tensors:
        if tensor.name in names:
            values = torch.from_numpy(dequantize(tensor.data, tensor.tensor_type).copy())
            values = values.reshape(tuple(int(size) for size in reversed(tensor.shape)))
            yield names[tensor.name], as_transformers_turns(config, tensor.name, values).to(dtype).contiguous()


def as_transformers_turns(config: LlamaConfig, name: str, rows: torch.Tensor) -> torch.Tensor:
    """The inverse of `gguf_export.as_llama_cpp_turns`: neighbours are dimensions i and i + d/2 of a head again."""
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}.get(name.split(".")[-2])
    return rows if heads is None else rows.unflatten(0, (heads, -1, 2)).transpose(1, 2).flatten(0, 2)


def _save_shards(folder: Path, tensors: Iterator[tuple[str, torch.Tensor]]) -> None:
    """model.safetensors, or several files of `SHARD_BYTES` and an index, as transformers writes them."""
    shards: list[list[str]] = []
    total, batch, size = 0, {}, 0
    for name, values in tensors:
        if batch and size + values.nbytes > SHARD_BYTES:
            shards, batch, size = [*shards, _save(folder, len(shards), batch)], {}, 0
        batch[name] = values
        total, size = total + values.nbytes, size + values.nbytes
    shards.append(_save(folder, len(shards), batch))
    if len(shards) == 1:
        os.replace(folder / _shard(0), folder / SINGLE)
        return
    placed = {name: _shard(place) for place, names in enumerate(shards) for name in names}
    (folder / INDEX).write_text(json.dumps({"metadata": {"total_size": total}, "weight_map": placed}, indent=2))


def _shard(place: int) -> str:
    return f"model-{place + 1:05d}.safetensors"


def _save(folder: Path, place: int, batch: dict[str, torch.Tensor]) -> list[str]:
    save_file(batch, folder / _shard(place), metadata={"format": "pt"})
    return list(batch)


def _refused(found: str, expected: str) -> CogumiError:
    return CogumiError(
        expected=expected,
        found=found,
        why="the weights take the configuration and tokenizer of `like`, and nothing is overwritten",
        fix="name the folder that the file was exported from, and a folder that does not exist yet",
    )
