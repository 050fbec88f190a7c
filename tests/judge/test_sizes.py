import lzma

import numpy as np
import pytest

from cogumi_utils.errors import CogumiError
from cogumi_utils.judge import sizes
from cogumi_utils.judge.sizes import LLAMA_3_1_8B

TINY = {
    "vocab_size": 550,
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "tie_word_embeddings": True,
}


def test_llama_3_1_8b_has_8_030_261_248_parameters():
    shapes = sizes.shape_counts(LLAMA_3_1_8B)
    assert shapes.total == 8_030_261_248
    assert (shapes.embeddings, shapes.attention, shapes.mlp, shapes.norms) == (
        1_050_673_152,
        1_342_177_280,
        5_637_144_576,
        266_240,
    )
    assert shapes.multiplied == shapes.total - shapes.norms - 128256 * 4096


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"tie_word_embeddings": False},
        {"num_key_value_heads": None},
        {"head_dim": 32},
        {"attention_bias": True},
        {"mlp_bias": True},
    ],
    ids=lambda change: next(iter(change), "tied"),
)
def test_counts_are_those_of_the_real_model(change):
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(**{**TINY, **change})
    with torch.device("meta"):
        model = LlamaForCausalLM(config)
    assert sizes.shape_counts(config.to_dict()).total == model.num_parameters()


def test_lora_parameters_are_those_of_peft():
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM

    with torch.device("meta"):
        model = get_peft_model(LlamaForCausalLM(LlamaConfig(**TINY)), LoraConfig(r=8, target_modules="all-linear"))
    trainable = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    assert sizes.lora_parameters(TINY, 8) == trainable
    assert sizes.lora_parameters(LLAMA_3_1_8B, 128) == 335_544_320
    assert sizes.lora_parameters(LLAMA_3_1_8B, 128, ("attn_q", "attn_v")) == 54_525_952


def test_entropy_of_known_shares():
    assert sizes.entropy(0.5) == 1
    assert sizes.entropy(0) == sizes.entropy(1) == 0
    assert sizes.entropy(0.35) == pytest.approx(0.934068, abs=1e-6)
    assert sizes.entropy(0.35) == pytest.approx(sizes.entropy(0.65))
    with pytest.raises(CogumiError, match="0.65 for 65%"):
        sizes.entropy(65)


def test_bound_of_the_briefs_plan():
    total = sizes.shape_counts(LLAMA_3_1_8B).total
    assert sizes.bound_bytes(total, 0.65, 4) == pytest.approx(2.342897e9, rel=1e-6)
    assert sizes.bound_bytes(total, 0.65, 0) == pytest.approx(937.601e6, rel=1e-6)
    assert sizes.bound_bytes(1000, 0, 4) == 500
    assert sizes.bound_bytes(1000, 1, 4) == 0


@pytest.mark.parametrize("sparsity", [0.3, 0.65, 0.9])
def test_no_compressor_gets_below_the_bound(sparsity):
    random = np.random.default_rng(0)
    values = random.integers(0, 16, 200_000, dtype=np.uint8)
    kept = random.permutation(values.size) >= round(sparsity * values.size)
    codes = values[kept][: kept.sum() // 2 * 2]
    stored = len(lzma.compress(np.packbits(kept).tobytes())) + len(
        lzma.compress((codes[::2] * 16 + codes[1::2]).tobytes())
    )
    bound = sizes.bound_bytes(values.size, sparsity, 4)
    assert 0.999 * bound < stored < 1.35 * bound  # lzma models bytes, not bits: it stays a little above


def test_group_quantisation_counts_its_scales():
    assert sizes.group_bits(4, 128) == 4.25
    assert sizes.group_bits(4, 128, zero_bits=4) == 4.15625
    assert sizes.awq_bytes(LLAMA_3_1_8B) == pytest.approx(5.7279e9, rel=1e-4)  # published AWQ files: 5.73 GB


def test_block_types_have_the_bits_of_the_gguf_format():
    bits = {name: 8 * width / weights for name, (weights, width) in sizes.GGML_BLOCKS.items()}
    assert (bits["Q4_K"], bits["Q5_K"], bits["Q6_K"], bits["Q8_0"]) == (4.5, 5.5, 6.5625, 8.5)


def test_block_types_are_those_of_the_gguf_package():
    constants = pytest.importorskip("gguf.constants", reason="the gguf package is not installed")
    theirs = {kind.name: size for kind, size in constants.GGML_QUANT_SIZES.items()}
    assert {name: theirs[name] for name in sizes.GGML_BLOCKS} == sizes.GGML_BLOCKS


@pytest.mark.parametrize(
    ("file_type", "published_gb"),
    [("Q4_K_M", 4.920739232), ("Q5_K_M", 5.73), ("Q6_K", 6.60), ("Q8_0", 8.54)],
)
def test_gguf_sizes_are_those_of_published_files(file_type, published_gb):
    """Files of Llama-3.1-8B-Instruct on the hub; header and tokenizer take 7.8 MB, the sizes in GB are rounded."""
    header = published_gb - sizes.gguf_bytes(LLAMA_3_1_8B, file_type) / 1e9
    assert 0.002 < header < 0.013


def test_gguf_of_a_tiny_tied_student_counted_by_hand():
    per_layer = 256 * 256 + 128 * 256 + 256 * 256 + 2 * 512 * 256  # q, k, o, gate, up
    sensitive = 128 * 256 + 256 * 512  # v, down
    raised = 1  # llama.cpp gives more bits to layer 2 of 0, 1, 2
    bits = 550 * 256 * 6.5625 + 3 * per_layer * 5.5 + raised * sensitive * 6.5625 + (3 - raised) * sensitive * 5.5
    norms = (2 * 3 + 1) * 256 * 4
    assert sizes.gguf_bytes(TINY, "Q5_K_M") == bits / 8 + norms == 1_360_940


def test_rows_that_no_block_divides_fall_back():
    config = {**TINY, "hidden_size": 192, "head_dim": 48}
    kinds = {tensor.name: sizes.gguf_type(tensor, config, "Q5_K_M") for tensor in sizes.tensors(config)}
    assert kinds["attn_q"] == "Q5_1"
    assert kinds["token_embd"] == "Q8_0"  # tied: it is the output matrix too
    assert kinds["ffn_down"] in ("Q5_K", "Q6_K")  # 512 columns
    assert sizes.gguf_type(sizes.Tensor("attn_q", "attention", 8, 10, 0), config, "Q8_0") == "F16"


def test_errors_name_what_is_missing():
    with pytest.raises(CogumiError, match="intermediate_size"):
        sizes.shape_counts({name: value for name, value in TINY.items() if name != "intermediate_size"})
    with pytest.raises(CogumiError, match="Q5_K_M"):
        sizes.gguf_bytes(TINY, "Q5")
