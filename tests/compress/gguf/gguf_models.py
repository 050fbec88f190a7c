"""Small random Llamas of every kind that the export knows, saved as transformers saves them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from cogumi_utils.data import corpus
from cogumi_utils.model import student

LLAMA_3_1 = {
    "rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}  # fmt: skip
KINDS = {
    "tied": {},
    "untied": {"tie_word_embeddings": False},
    "grouped queries": {"num_key_value_heads": 2, "tie_word_embeddings": False},
    "as Llama 3.1": {
        "num_key_value_heads": 1, "tie_word_embeddings": False, "rope_parameters": LLAMA_3_1,
        "max_position_embeddings": 131072,
    },
    "longer by a factor": {"rope_parameters": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}},
    "biases": {"attention_bias": True, "mlp_bias": True},
    "wide heads": {"head_dim": 32, "num_key_value_heads": 2},
    "more rows than tokens": {"vocab_size": 448},
}  # fmt: skip


def small_tokenizer() -> PreTrainedTokenizerFast:
    return student.train_tokenizer(corpus.sample(1, 400), 400)


def save(folder: Path, tokenizer: PreTrainedTokenizerFast, seed: int = 1, **settings) -> Path:
    """Weights large enough that attention is far from even: a wrong rotation must show."""
    torch.manual_seed(seed)
    shape = {
        "vocab_size": len(tokenizer), "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 4, "max_position_embeddings": 512, "initializer_range": 0.1,
        "tie_word_embeddings": True, "bos_token_id": 0, "eos_token_id": 5, "pad_token_id": 1,
    }  # fmt: skip
    model = LlamaForCausalLM(LlamaConfig(**{**shape, **settings}))
    for name, values in model.named_parameters():
        if name.endswith("bias") or "norm" in name:  # made as zeros and ones: the export could lose them unseen
            values.data += torch.randn_like(values) / 4
    return student.save(model, tokenizer, folder)


def changed(folder: Path, file: str, **values) -> Path:
    """The folder with other values in one of its JSON files; None takes a value out."""
    found = {**json.loads((folder / file).read_text()), **values}
    (folder / file).write_text(json.dumps({key: value for key, value in found.items() if value is not None}))
    return folder


def long_ids(count: int = 400) -> list[int]:
    return np.random.default_rng(7).integers(6, 400, count).tolist()


@torch.inference_mode()
def log_probs(model, ids: list[int]) -> np.ndarray:
    """Of a transformers model, [tokens, vocabulary]."""
    return model(torch.tensor([ids])).logits[0].float().log_softmax(-1).numpy()
