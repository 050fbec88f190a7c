"""A quantised file's weights, back in transformers, are the ones that llama.cpp multiplies with."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gguf_models import KINDS, log_probs, long_ids, save, small_tokenizer
from scipy.special import log_softmax

from cogumi_utils.compress.gguf import export as gguf_export
from cogumi_utils.compress.gguf import read as gguf_read
from cogumi_utils.compress.gguf import types as gguf_types
from cogumi_utils.errors import CogumiError
from cogumi_utils.model import llama_cpp_runtime, student

WIDE = {"hidden_size": 256, "intermediate_size": 512, "initializer_range": 0.05}
# Largest difference, nats: 0.087, 0.118 and 0.114 measured. llama.cpp rounds activations to 8 bits.
GAP = {"Q8_0": 0.13, "Q5_K_M": 0.18, "Q3_K_M": 0.18}


@pytest.fixture(scope="module")
def tokenizer():
    return small_tokenizer()


@pytest.fixture(scope="module")
def folder(tokenizer, tmp_path_factory):
    return save(tmp_path_factory.mktemp("m") / "m", tokenizer, num_key_value_heads=2, **WIDE)


@pytest.fixture(scope="module")
def f16(folder):
    return gguf_export.export(folder, folder.parent / "f16.gguf")


@pytest.fixture(scope="module")
def quantised(f16):
    return {kind: gguf_types.quantise(f16, f16.with_name(f"{kind}.gguf"), kind) for kind in GAP}


def in_llama_cpp(file, ids) -> np.ndarray:
    with llama_cpp_runtime.load(file, sequences=1, exact=True) as runtime:
        return log_softmax(runtime.log_odds([llama_cpp_runtime.Piece(0, 0, ids, 0)]), axis=-1)


@pytest.mark.parametrize("kind", KINDS)
def test_unquantised_files_come_back_bit_for_bit(kind, tokenizer, tmp_path):
    folder = save(tmp_path / "m", tokenizer, **KINDS[kind])
    file = gguf_export.export(folder, tmp_path / "m.gguf", dtype="F32")
    back = gguf_read.to_folder(file, folder, tmp_path / "back")
    before, after = (student.load(one)[0].state_dict() for one in (folder, back))
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("kind", GAP)
def test_logits_are_those_of_llama_cpp(kind, folder, f16, quantised, tmp_path):
    ids = long_ids(200)
    back = student.load(gguf_read.to_folder(quantised[kind], folder, tmp_path / "back"))[0]
    theirs, ours = in_llama_cpp(quantised[kind], ids), log_probs(back, ids)
    gap, parent = np.abs(ours - theirs), np.abs(in_llama_cpp(f16, ids) - theirs)
    print(kind, gap.max(), parent.max(), gap.mean(), parent.mean())
    assert gap.max() < GAP[kind]
    if kind == "Q3_K_M":  # far nearer than the model that it was made of
        assert 5 * gap.mean() < parent.mean()


def test_the_rest_is_activations_rounded_to_8_bits(folder, quantised, tmp_path):
    """The same dequantised weights as a float32 file, multiplied by llama.cpp without rounding, leave nothing."""
    back = gguf_read.to_folder(quantised["Q5_K_M"], folder, tmp_path / "back")
    file = gguf_export.export(back, tmp_path / "f32.gguf", dtype="F32")
    ids = long_ids(200)
    assert np.abs(log_probs(student.load(back)[0], ids) - in_llama_cpp(file, ids)).max() < 2e-5


def test_quantising_the_folder_again_gives_the_same_codes(folder, quantised, tmp_path):
    """Q8_0 of what Q8_0 holds: nothing is lost on the way through float32."""
    back = gguf_read.to_folder(quantised["Q8_0"], folder, tmp_path / "back")
    again = gguf_types.quantise(gguf_export.export(back, tmp_path / "f.gguf", dtype="F32"), tmp_path / "q", "Q8_0")
    pairs = zip(gguf_read.read(again).tensors, gguf_read.read(quantised["Q8_0"]).tensors, strict=True)
    assert all(one.name == other.name and (one.data == other.data).all() for one, other in pairs)


def test_several_shards_are_the_same_model(folder, quantised, tmp_path, monkeypatch):
    whole = student.load(gguf_read.to_folder(quantised["Q8_0"], folder, tmp_path / "whole"))[0].state_dict()
    monkeypatch.setattr(gguf_read, "SHARD_BYTES", 1 << 20)
    back = gguf_read.to_folder(quantised["Q8_0"], folder, tmp_path / "back")
    assert len(list(back.glob("model-*.safetensors"))) > 2
    parts = student.load(back)[0].state_dict()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_half_precision_when_asked_for(folder, quantised, tmp_path):
    back = gguf_read.to_folder(quantised["Q8_0"], folder, tmp_path / "back", dtype="BF16")
    assert {values.dtype for values in student.load(back, dtype="auto")[0].state_dict().values()} == {torch.bfloat16}


def test_the_tokenizer_is_that_of_like(folder, quantised, tokenizer, tmp_path):
    back = gguf_read.to_folder(quantised["Q8_0"], folder, tmp_path / "back")
    text = "<|user|>\nAdd 12 and 30.<|end|>"
    assert student.load_tokenizer(back)(text)["input_ids"] == tokenizer(text)["input_ids"]


def test_what_a_file_holds(quantised):
    found = gguf_read.table(quantised["Q5_K_M"]).set_index("type")
    whole = found.loc["file"]
    assert whole.bytes == quantised["Q5_K_M"].stat().st_size
    assert whole["bits/weight"] == pytest.approx(gguf_read.bits_per_weight(quantised["Q5_K_M"]))
    assert found.loc["Q5_K", "bits/weight"] == 5.5 and found.loc["F32", "tensors"] == 5
    assert whole.weights == found.drop("file").weights.sum()


def test_a_packed_file_has_the_weights_and_the_bound_of_what_it_holds(quantised, tmp_path):
    file, packed = quantised["Q5_K_M"], tmp_path / "q.packed"
    packed.write_bytes(b"123")
    plain, small = gguf_read.ledger_files({file.name: 7.0}, {file: file, packed: file})
    assert (plain.name, plain.file_bytes, plain.bound_bytes) == (file.name, file.stat().st_size, 7.0)
    assert (small.name, small.file_bytes, small.bound_bytes) == ("q.packed", 3, 7.0)
    assert plain.weights == small.weights == gguf_read.parameters(gguf_read.read(file))


def test_an_embedding_that_is_looked_up_is_not_read_for_each_token(tokenizer, f16, folder, tmp_path):
    untied = save(tmp_path / "u", tokenizer, num_key_value_heads=2, tie_word_embeddings=False, **WIDE)
    file = gguf_export.export(untied, tmp_path / "u.gguf")
    assert gguf_read.bytes_per_token(file) == gguf_read.bytes_per_token(f16)


def test_what_does_not_fit_is_refused(folder, quantised, tokenizer, tmp_path):
    other = save(tmp_path / "other", tokenizer, num_key_value_heads=4, **WIDE)
    with pytest.raises(CogumiError, match="attn_k(.|\n)*tensors differ"):
        gguf_read.to_folder(quantised["Q8_0"], other, tmp_path / "back")
    with pytest.raises(CogumiError, match="exists"):
        gguf_read.to_folder(quantised["Q8_0"], folder, folder)
    with pytest.raises(CogumiError, match="Q4"):
        gguf_read.to_folder(quantised["Q8_0"], folder, tmp_path / "back", dtype="Q4")
    assert not (tmp_path / "back").exists() and not list(tmp_path.glob(".*draft"))


@pytest.mark.parametrize("content", [b"", b"GGUF", b"PK" * 100])
def test_what_is_no_gguf_is_refused(content, tmp_path):
    (tmp_path / "m.gguf").write_bytes(content)
    with pytest.raises(CogumiError, match="whole GGUF file"):
        gguf_read.read(tmp_path / "m.gguf")


def test_half_a_file_is_refused(quantised, tmp_path):
    content = quantised["Q8_0"].read_bytes()
    for share in (0.01, 0.5, 0.99):
        (tmp_path / "m.gguf").write_bytes(content[: int(share * len(content))])
        with pytest.raises(CogumiError, match="whole GGUF file"):
            gguf_read.read(tmp_path / "m.gguf")
