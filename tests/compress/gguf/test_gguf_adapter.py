"""An exported adapter on the exported base gives PEFT's distributions, with every scaling that PEFT knows."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from gguf_models import KINDS, changed, log_probs, long_ids, save, small_tokenizer
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from scipy.special import log_softmax

from cogumi_utils.compress.gguf import adapter as gguf_adapter
from cogumi_utils.compress.gguf import export as gguf_export
from cogumi_utils.errors import CogumiError
from cogumi_utils.model import llama_cpp_runtime, sft, student

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
KIND = "grouped queries"
ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
SETTINGS = {
    "all layers": {"target_modules": ALL},
    "queries and keys": {"target_modules": ["q_proj", "k_proj"]},
    "one layer": {"target_modules": ["model.layers.1.mlp.up_proj"]},
    "alpha of its own": {"target_modules": ALL, "alpha_pattern": {"v_proj": 32, "layers.0.self_attn.q_proj": 1}},
    "rank of its own": {"target_modules": ALL, "rank_pattern": {"down_proj": 3}, "alpha_pattern": {"down_proj": 5}},
    "rank-stabilised": {"target_modules": ALL, "use_rslora": True},
}


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return save(tmp_path_factory.mktemp("base") / "m", small_tokenizer(), **KINDS[KIND])


@pytest.fixture(scope="module")
def file(base, tmp_path_factory) -> Path:
    return gguf_export.export(base, tmp_path_factory.mktemp("gguf") / "m.gguf", dtype="F32")


def made(base: Path, folder: Path, **settings) -> Path:
    """An adapter with random B, so that it changes the model as a trained one does."""
    torch.manual_seed(3)
    adapted = get_peft_model(student.load(base)[0], LoraConfig(r=8, lora_alpha=16, task_type="CAUSAL_LM", **settings))
    for name, values in adapted.named_parameters():
        if "lora_B" in name:
            values.data = torch.randn_like(values) / 20
    return sft.save_adapter(adapted, folder, "00_student/model")


@pytest.fixture(scope="module")
def adapter(base, tmp_path_factory) -> Path:
    return made(base, tmp_path_factory.mktemp("adapter") / "a", **SETTINGS["all layers"])


def in_llama_cpp(runtime) -> np.ndarray:
    runtime.forget()
    return log_softmax(runtime.log_odds([llama_cpp_runtime.Piece(0, 0, long_ids(), 0)]), axis=-1)


def in_peft(base: Path, adapter: Path) -> np.ndarray:
    return log_probs(PeftModel.from_pretrained(student.load(base)[0], adapter), long_ids())


@pytest.mark.parametrize("case", SETTINGS)
def test_the_same_distributions_as_peft(case, base, file, tmp_path):
    adapter = made(base, tmp_path / "a", **SETTINGS[case])
    exported = gguf_adapter.export_adapter(adapter, base, tmp_path / "a.gguf")
    expected = in_peft(base, adapter)
    with llama_cpp_runtime.load(file, sequences=1, exact=True) as runtime:
        without = in_llama_cpp(runtime)
        with runtime.adapter(exported):
            assert np.abs(in_llama_cpp(runtime) - expected).max() < 1e-4
        assert np.array_equal(in_llama_cpp(runtime), without)
    assert np.abs(without - expected).max() > 0.1


def test_rows_left_as_they_are_would_show(base, file, adapter, tmp_path, monkeypatch):
    monkeypatch.setattr(gguf_adapter, "as_llama_cpp_turns", lambda config, name, rows: rows)
    exported = gguf_adapter.export_adapter(adapter, base, tmp_path / "a.gguf")
    with llama_cpp_runtime.load(file, sequences=1, exact=True) as runtime, runtime.adapter(exported):
        assert np.abs(in_llama_cpp(runtime) - in_peft(base, adapter)).max() > 0.01


def test_metadata_and_types(base, adapter, tmp_path):
    read = gguf.GGUFReader(gguf_adapter.export_adapter(adapter, base, tmp_path / "a.gguf", dtype="F16"))
    found = {name: field.contents() for name, field in read.fields.items() if not name.startswith("GGUF")}
    assert found == {
        "general.architecture": "llama", "general.type": "adapter", "adapter.type": "lora", "adapter.lora.alpha": 16.0,
    }  # fmt: skip
    assert len(read.tensors) == 2 * 7 * 2 and {one.tensor_type.name for one in read.tensors} == {"F16"}
    shapes = {one.name: [int(size) for size in one.shape] for one in read.tensors}
    assert shapes["blk.0.attn_k.weight.lora_a"] == [64, 8] and shapes["blk.0.attn_k.weight.lora_b"] == [8, 32]


def spoiled(base: Path, adapter: Path, tmp_path: Path, spoil) -> None:
    folder = Path(shutil.copytree(adapter, tmp_path / "copy"))
    spoil(folder)
    try:
        gguf_adapter.export_adapter(folder, base, tmp_path / "a.gguf")
    finally:
        assert not list(tmp_path.rglob("*.gguf*"))


def rewrite(folder: Path, change) -> None:
    weights = load_file(folder / WEIGHTS)
    change(weights)
    save_file(weights, folder / WEIGHTS)


Q_A, Q_B = (f"base_model.model.model.layers.0.self_attn.q_proj.lora_{end}.weight" for end in "AB")
REFUSED = {
    "no folder": (lambda folder: shutil.rmtree(folder), "copy"),
    "no configuration": (lambda folder: (folder / CONFIG).unlink(), CONFIG),
    "no weights": (lambda folder: (folder / WEIGHTS).unlink(), WEIGHTS),
    "half a file": (lambda folder: os.truncate(folder / WEIGHTS, 500), "copy"),
    "a part missing": (lambda folder: rewrite(folder, lambda w: w.pop(Q_B)), "tensors such as"),
    "nothing": (lambda folder: save_file({}, folder / WEIGHTS), "none"),
    "a whole matrix": (lambda folder: rewrite(folder, lambda w: w.update(x=torch.ones(2, 2))), "tensors such as"),
    "another base": (lambda folder: rewrite(folder, lambda w: w.update({Q_A: torch.ones(8, 60)})), "64 × 60"),
    "DoRA": (lambda folder: changed(folder, CONFIG, use_dora=True), "use_dora"),
    "whole modules": (lambda folder: changed(folder, CONFIG, modules_to_save=["lm_head"]), "modules_to_save"),
    "biases": (lambda folder: changed(folder, CONFIG, bias="all"), "all bias"),
    "another kind": (lambda folder: changed(folder, CONFIG, peft_type="IA3"), "copy"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_adapter_of_this_base_is_refused(case, base, adapter, tmp_path):
    spoil, word = REFUSED[case]
    with pytest.raises(CogumiError, match=f"(?s)a LoRA adapter.*{word}"):
        spoiled(base, adapter, tmp_path, spoil)


def test_an_adapter_on_the_output_matrix_is_refused(base, tmp_path):
    folder = made(base, tmp_path / "a", target_modules=["lm_head"])
    with pytest.raises(CogumiError, match="lm_head"):
        gguf_adapter.export_adapter(folder, base, tmp_path / "a.gguf")


def test_a_layer_that_the_base_does_not_have_is_refused(base, adapter, tmp_path):
    shallow = changed(Path(shutil.copytree(base, tmp_path / "shallow")), "config.json", num_hidden_layers=1)
    with pytest.raises(CogumiError, match="layers.1"):
        gguf_adapter.export_adapter(adapter, shallow, tmp_path / "a.gguf")
