"""The exported file is the same model: every kind of Llama, in llama.cpp, next to transformers."""

from __future__ import annotations

import json
import os
import shutil
import weakref
from collections import namedtuple
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from gguf_models import KINDS, LLAMA_3_1, changed, log_probs, long_ids, save, small_tokenizer
from safetensors.torch import load_file, save_file
from scipy.special import log_softmax

from cogumi_utils.compress.gguf import export as gguf_export
from cogumi_utils.compress.gguf import file as gguf_file
from cogumi_utils.errors import CogumiError
from cogumi_utils.judge import sizes
from cogumi_utils.model import llama_cpp_runtime, student

WEIGHTS, CONFIG = "model.safetensors", "config.json"
FLOAT32_GAP = 2e-5  # nats; 9e-6 measured, and transformers itself is 4e-6 from float64


@pytest.fixture(scope="module")
def tokenizer():
    return small_tokenizer()


@pytest.fixture(scope="module")
def folders(tokenizer, tmp_path_factory) -> dict[str, Path]:
    return {kind: save(tmp_path_factory.mktemp("models") / "m", tokenizer, **KINDS[kind]) for kind in KINDS}


def copied(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copy"))


def in_llama_cpp(file: Path, ids: list[int], exact: bool = True) -> np.ndarray:
    with llama_cpp_runtime.load(file, sequences=1, exact=exact) as runtime:
        return log_softmax(runtime.log_odds([llama_cpp_runtime.Piece(0, 0, ids, 0)]), axis=-1)


def gap(folder: Path, file: Path, exact: bool = True) -> float:
    """Largest difference of log-probabilities over 400 random tokens, nats."""
    ids = long_ids()
    return float(np.abs(log_probs(student.load(folder)[0], ids) - in_llama_cpp(file, ids, exact)).max())


@pytest.mark.parametrize("kind", KINDS)
def test_float32_is_the_same_model(kind, folders, tmp_path):
    file = gguf_export.export(folders[kind], tmp_path / "m.gguf", dtype="F32")
    assert gap(folders[kind], file) < FLOAT32_GAP


@pytest.mark.parametrize("kind", ["tied", "grouped queries", "biases", "wide heads"])
def test_rows_left_as_they_are_would_show(kind, folders, tmp_path, monkeypatch):
    monkeypatch.setattr(gguf_export, "as_llama_cpp_turns", lambda config, name, rows: rows)
    file = gguf_export.export(folders[kind], tmp_path / "m.gguf", dtype="F32")
    assert gap(folders[kind], file) > 0.1


@pytest.mark.parametrize(
    "other",
    [
        {"rope_type": "default", "rope_theta": 500000.0},  # no divisors
        {**LLAMA_3_1, "rope_theta": 490000.0},
        {**LLAMA_3_1, "factor": 7.0},
        {**LLAMA_3_1, "low_freq_factor": 2.0},
    ],
)
def test_other_rotary_frequencies_would_show(other, folders, tmp_path):
    file = gguf_export.export(
        changed(copied(folders["as Llama 3.1"], tmp_path), CONFIG, rope_parameters=other),
        tmp_path / "m.gguf",
        dtype="F32",
    )
    assert gap(folders["as Llama 3.1"], file) > 10 * FLOAT32_GAP


@pytest.mark.parametrize(("dtype", "largest"), [("F16", 0.02), ("BF16", 0.15)])
def test_sixteen_bits_are_near(dtype, largest, folders, tmp_path):
    file = gguf_export.export(folders["as Llama 3.1"], tmp_path / "m.gguf", dtype=dtype)
    assert FLOAT32_GAP < gap(folders["as Llama 3.1"], file, exact=False) < largest


def test_divisors_are_llama_3_1s(folders):
    """8B: head dimension 128. Fast turns stay, slow ones are divided by 8, five between them by something between."""
    config = gguf_export.read_config(folders["as Llama 3.1"])
    config.head_dim, config.hidden_size, config.num_attention_heads = 128, 4096, 32
    found = gguf_export.frequency_divisors(config)
    assert found.shape == (64,) and found[:29].tolist() == pytest.approx([1] * 29)
    assert found[35:].tolist() == pytest.approx([8] * 29)
    assert found[29:35].tolist() == pytest.approx(sorted(found[29:35].tolist())) and 1 < found[29] < found[34] < 8


@pytest.mark.parametrize("dtype", gguf_file.FILE_TYPES)
def test_types_and_sizes(dtype, folders, tmp_path):
    file = gguf_export.export(folders["grouped queries"], tmp_path / "m.gguf", dtype=dtype)
    tensors = {tensor.name: tensor for tensor in gguf.GGUFReader(file).tensors}
    config = json.loads((folders["grouped queries"] / CONFIG).read_text())
    assert {name: tuple(map(int, reversed(one.shape))) for name, one in tensors.items()} == {
        gguf_export.gguf_name(one): gguf_export.shape_of(one) for one in sizes.tensors(config)
    }
    assert {one.tensor_type.name for one in tensors.values() if len(one.shape) == 2} == {dtype}
    assert {one.tensor_type.name for one in tensors.values() if len(one.shape) == 1} == {"F32"}
    if dtype == "F16":
        assert sum(int(one.n_bytes) for one in tensors.values()) == sizes.gguf_bytes(config, "F16")


def test_metadata(folders, tmp_path):
    words = {"name": "Student", "licence": "llama3.1", "base_model": "Llama-3.1-8B-Instruct"}
    file = gguf_export.export(folders["as Llama 3.1"], tmp_path / "m.gguf", **words)
    found = {name: field.contents() for name, field in gguf.GGUFReader(file).fields.items()}
    assert {name: found[name] for name in found if name.startswith(("general.", "llama."))} == {
        "general.architecture": "llama", "general.type": "model", "general.name": "Student",
        "general.license": "llama3.1", "general.base_model.count": 1,
        "general.base_model.0.name": "Llama-3.1-8B-Instruct", "general.file_type": 1,
        "general.quantization_version": 2, "llama.vocab_size": 400, "llama.context_length": 131072,
        "llama.embedding_length": 64, "llama.block_count": 2, "llama.feed_forward_length": 96,
        "llama.attention.head_count": 4, "llama.attention.head_count_kv": 1, "llama.attention.key_length": 16,
        "llama.attention.value_length": 16, "llama.attention.layer_norm_rms_epsilon": pytest.approx(1e-6),
        "llama.rope.dimension_count": 16, "llama.rope.freq_base": 500000.0,
    }  # fmt: skip


def test_without_names_the_folder_gives_one(folders, tmp_path):
    file = gguf_export.export(folders["tied"], tmp_path / "m.gguf")
    fields = gguf.GGUFReader(file).fields
    assert fields["general.name"].contents() == "m"
    assert not {"general.license", "general.base_model.count"} & fields.keys()


def test_shards_are_one_model(folders, tmp_path):
    folder = copied(folders["untied"], tmp_path)
    student.load(folder)[0].save_pretrained(folder, max_shard_size="100KB")
    (folder / WEIGHTS).unlink()
    assert len(list(folder.glob("*.safetensors"))) > 2
    one, other = (gguf_export.export(f, tmp_path / f"{f.name}.gguf", name="x") for f in (folders["untied"], folder))
    assert one.read_bytes() == other.read_bytes()


def test_what_old_files_hold_twice_is_left_out(folders, tmp_path):
    """A tied output matrix, and the rotary frequencies of old transformers."""
    folder = copied(folders["tied"], tmp_path)
    weights = load_file(folder / WEIGHTS)
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"].clone()
    weights["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(8)
    save_file(weights, folder / WEIGHTS)
    one, other = (gguf_export.export(f, tmp_path / f"{f.name}.gguf", name="x") for f in (folders["tied"], folder))
    assert one.read_bytes() == other.read_bytes()


def rewrite(folder: Path, change) -> None:
    weights = load_file(folder / WEIGHTS)
    change(weights)
    save_file(weights, folder / WEIGHTS)


REFUSED = {
    "no folder": (lambda folder: shutil.rmtree(folder), "config.json"),
    "no weights": (lambda folder: (folder / WEIGHTS).unlink(), "model.safetensors"),
    "no tokenizer": (lambda folder: (folder / "tokenizer.json").unlink(), "tokenizer.json"),
    "half a file": (lambda folder: os.truncate(folder / WEIGHTS, 5000), "safetensors"),
    "another architecture": (lambda folder: changed(folder, CONFIG, model_type="qwen2"), "of type qwen2"),
    "quantised": (lambda folder: changed(folder, CONFIG, quantization_config={"quant_method": "awq"}), "quantised"),
    "another activation": (lambda folder: changed(folder, CONFIG, hidden_act="gelu"), "activation gelu"),
    "another rotation": (
        lambda folder: changed(folder, CONFIG, rope_parameters={"rope_type": "yarn", "rope_theta": 1e4, "factor": 2.0}),
        "type yarn",
    ),
    "a layer more": (lambda folder: changed(folder, CONFIG, num_hidden_layers=3), r"blk.2.*\b9 tensors"),
    "a layer less": (lambda folder: changed(folder, CONFIG, num_hidden_layers=1), "9 tensors"),
    "another shape": (lambda folder: changed(folder, CONFIG, intermediate_size=100), "ffn_down.*96.*100"),
    "fewer embeddings": (lambda folder: changed(folder, CONFIG, vocab_size=300), "token_embd"),
    "a tensor missing": (lambda folder: rewrite(folder, lambda w: w.pop("model.norm.weight")), "output_norm.weight"),
    "a tensor more": (lambda folder: rewrite(folder, lambda w: w.update(extra=torch.ones(2))), "extra"),
    "not a number": (
        lambda folder: rewrite(folder, lambda w: w["model.norm.weight"].fill_(float("nan"))), "output_norm.weight",
    ),
    "too large for float16": (
        lambda folder: rewrite(folder, lambda w: w["model.layers.1.mlp.up_proj.weight"].mul_(1e6)), "blk.1.ffn_up",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_exported_leaves_nothing_behind(case, folders, tmp_path):
    folder, target = copied(folders["tied"], tmp_path), tmp_path / "out" / "m.gguf"
    spoil, word = REFUSED[case]
    spoil(folder)
    with pytest.raises(CogumiError, match=f"(?s){word}"):
        gguf_export.export(folder, target)
    assert not list(tmp_path.rglob("*.gguf*"))


def test_a_failed_export_leaves_the_old_file(folders, tmp_path):
    folder, target = copied(folders["tied"], tmp_path), tmp_path / "m.gguf"
    before = gguf_export.export(folder, target).read_bytes()
    REFUSED["not a number"][0](folder)
    with pytest.raises(CogumiError):
        gguf_export.export(folder, target)
    assert target.read_bytes() == before


def test_a_file_in_use_is_replaced_and_not_written_over(folders, tmp_path):
    """llama.cpp reads weights from the mapped file when it needs them."""
    file = gguf_export.export(folders["tied"], tmp_path / "m.gguf")
    before = file.read_bytes()
    with open(file, "rb") as reader:
        gguf_export.export(folders["untied"], file)
        assert reader.read() == before != file.read_bytes()


def test_large_weights_fit_bfloat16(folders, tmp_path):
    folder = copied(folders["tied"], tmp_path)
    REFUSED["too large for float16"][0](folder)
    assert gguf_export.export(folder, tmp_path / "m.gguf", dtype="BF16").stat().st_size > 100_000


def test_an_unknown_type_is_refused(folders, tmp_path):
    with pytest.raises(CogumiError, match="F32, F16, BF16"):
        gguf_export.export(folders["tied"], tmp_path / "m.gguf", dtype="Q4_K_M")


def test_too_little_disk_is_refused_before_writing(folders, tmp_path, monkeypatch):
    file = gguf_export.export(folders["tied"], tmp_path / "first.gguf")
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9, file.stat().st_size - 1))
    with pytest.raises(CogumiError, match="no space left"):
        gguf_export.export(folders["tied"], tmp_path / "new" / "m.gguf")
    assert not (tmp_path / "new").exists()


def test_the_size_asked_for_is_enough(folders, tmp_path, monkeypatch):
    """What is asked of the disk is no less than what is written, and not far above."""
    asked = []
    monkeypatch.setattr(gguf_file, "require_disk", lambda path, size: asked.append(size))
    written = gguf_export.export(folders["untied"], tmp_path / "m.gguf").stat().st_size
    assert written <= asked[0] < written + 200_000


def test_one_tensor_is_in_memory_at_a_time(tmp_path):
    alive: weakref.WeakSet = weakref.WeakSet()
    most = []

    def tensors():
        for place in range(5):
            values = torch.full((4, 8), float(place))
            alive.add(values)
            most.append(len(alive))
            yield f"blk.{place}.ffn_up.weight", values
            del values

    writer = gguf.GGUFWriter(None, "llama")
    shapes = {f"blk.{place}.ffn_up.weight": (4, 8) for place in range(5)}
    gguf_file.write(writer, tmp_path / "m.gguf", shapes, gguf_file.file_type("F16"), tensors())
    read = gguf.GGUFReader(tmp_path / "m.gguf").tensors
    assert [float(one.data.mean()) for one in read] == [0, 1, 2, 3, 4] and max(most) <= 2
