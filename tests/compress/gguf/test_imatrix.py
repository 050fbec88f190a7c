"""The importance matrix is what the matrices are really given: against inputs recomputed by hand, and llama.cpp's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gguf_models import save, small_tokenizer

from cogumi_utils.compress.gguf import imatrix
from cogumi_utils.data import skills
from cogumi_utils.errors import CogumiError
from cogumi_utils.model import student
from cogumi_utils.model.packing import labelled
from cogumi_utils.schema import Example


@pytest.fixture(scope="module")
def tokenizer():
    return small_tokenizer()


@pytest.fixture(scope="module")
def examples():
    return skills.mixed(skills.trained_skills(), 1, split="train", seed=1)[:7]


@pytest.fixture(scope="module")
def loaded(tokenizer, tmp_path_factory):
    return student.load(save(tmp_path_factory.mktemp("m") / "m", tokenizer, num_key_value_heads=2))


@pytest.fixture(scope="module")
def found(loaded, examples):
    return imatrix.importance(*loaded, examples, output=True)


@torch.inference_mode()
def hidden(model, tokenizer, examples, layer: int) -> torch.Tensor:
    """What enters a layer's norm, [tokens, hidden], a chat at a time, so without any padding."""
    rows = [torch.tensor([labelled(tokenizer, example)["input_ids"]]) for example in examples]
    states = [model(input_ids=row, output_hidden_states=True).hidden_states[layer][0] for row in rows]
    return torch.cat(states)


def test_inputs_are_those_of_the_first_layer(found, loaded, examples):
    model = loaded[0]
    normed = model.model.layers[0].input_layernorm(hidden(*loaded, examples, 0))
    expected = normed.square().mean(0).detach().numpy()
    for name in ("attn_q", "attn_k", "attn_v"):
        assert found[f"blk.0.{name}.weight"] == pytest.approx(expected, rel=1e-5)


def test_the_output_matrix_sees_the_last_norm(found, loaded, examples):
    expected = hidden(*loaded, examples, -1).square().mean(0).numpy()  # transformers gives it after the norm
    assert found["token_embd.weight"] == pytest.approx(expected, rel=1e-5)


def test_every_matrix_has_its_columns(found, loaded):
    shapes = {name: (values.shape, values.dtype) for name, values in found.items()}
    narrow, wide = ((64,), np.dtype("float32")), ((96,), np.dtype("float32"))
    layer = dict.fromkeys(("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up"), narrow)
    layers = {f"blk.{i}.{name}.weight": one for i in (0, 1) for name, one in {**layer, "ffn_down": wide}.items()}
    assert shapes == {**layers, "token_embd.weight": narrow}


def test_the_output_matrix_is_left_out_unless_asked_for(loaded, examples, found):
    plain = imatrix.importance(*loaded, examples)
    assert set(found) - set(plain) == {"token_embd.weight"}


def test_an_untied_output_has_its_own_name(tokenizer, tmp_path, examples):
    loaded = student.load(save(tmp_path / "m", tokenizer, tie_word_embeddings=False))
    assert "output.weight" in imatrix.importance(*loaded, examples, output=True)


@pytest.mark.parametrize("batch", [1, 3])
def test_neither_padding_nor_batches_matter(batch, found, loaded, examples):
    other = imatrix.importance(*loaded, examples, batch=batch, output=True)
    for name, values in found.items():
        assert other[name] == pytest.approx(values, rel=1e-4)


def test_no_hook_is_left(loaded, found):
    assert not any(layer._forward_pre_hooks for layer in loaded[0].modules())


def test_shuffled_keeps_the_values_and_moves_them(found):
    other = imatrix.shuffled(found, seed=1)
    name = "blk.0.ffn_down.weight"
    assert (other[name] != found[name]).any() and sorted(other[name]) == sorted(found[name])
    assert (imatrix.shuffled(found, seed=1)[name] == other[name]).all()


def test_no_chats_are_refused(loaded):
    with pytest.raises(CogumiError, match="no examples"):
        imatrix.importance(*loaded, [])


def test_chats_in_another_language_are_refused(loaded):
    messages = [{"role": "user", "content": "Сколько яблок у Маши?"}, {"role": "assistant", "content": "Три яблока."}]
    with pytest.raises(CogumiError, match="spells it out"):
        imatrix.importance(*loaded, [Example("math", "x", messages)] * 9)
