"""Which model we start from: a hub id or folder, a Llama trained from scratch, or random weights of a given shape."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from cogumi_utils.data.chat import ASSISTANT, END, SYSTEM, TEMPLATE, USER
from cogumi_utils.errors import CogumiError

PAD, TEXT_END = "<|pad|>", "<|endoftext|>"
SMALL_VOCABULARY = 1024  # entries; every word of the skill tasks becomes one
SPECIAL = (TEXT_END, PAD, USER, ASSISTANT, SYSTEM, END)


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE with single digits, split exactly like llama.cpp's pre-tokenizer `smollm`.

    The shared split is what lets Hugging Face and llama.cpp give the same ids for the exported model.
    """
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    raw.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=list(SPECIAL), initial_alphabet=alphabet, show_progress=False
    )
    raw.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=raw, bos_token=TEXT_END, eos_token=END, pad_token=PAD, chat_template=TEMPLATE,
        clean_up_tokenization_spaces=False, padding_side="left",
    )  # fmt: skip


def small_llama(
    vocab_size: int, *, hidden: int, layers: int, heads: int, kv_heads: int, ffn: int, context: int, seed: int,
    dtype: torch.dtype = torch.float32,
) -> LlamaForCausalLM:  # fmt: skip
    """An untrained Llama; embeddings tied up to hidden size 2048, as Llama 3 does in its small sizes."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocab_size, hidden_size=hidden, intermediate_size=ffn, num_hidden_layers=layers,
        num_attention_heads=heads, num_key_value_heads=kv_heads, max_position_embeddings=context,
        tie_word_embeddings=hidden <= 2048, bos_token_id=0, eos_token_id=SPECIAL.index(END),
        pad_token_id=SPECIAL.index(PAD), dtype=dtype,
    )  # fmt: skip
    return AutoModelForCausalLM.from_config(config, dtype=dtype)


def obtain(
    kind: str,
    *,
    model_id: str,
    texts: Iterable[str],
    vocab_size: int,
    shape: Mapping[str, int],
    seed: int,
    device: str = "cpu",
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Model and tokenizer of one of three kinds.

    - scratch: a tokenizer trained on `texts` and an untrained Llama of `shape` (see `small_llama`).
    - random: the same tokenizer with `vocab_size` embeddings and random weights in bf16, to measure a shape.
    - hub: the checkpoint `model_id` as it is, in bf16.
    """
    if kind == "hub":
        return load(model_id, dtype=torch.bfloat16, device_map=device)
    tokenizer = train_tokenizer(texts, min(vocab_size, SMALL_VOCABULARY))
    if kind == "scratch":
        return small_llama(len(tokenizer), seed=seed, **shape), tokenizer
    with torch.device(device):
        return small_llama(vocab_size, seed=seed, dtype=torch.bfloat16, **shape), tokenizer


def load(
    folder_or_id: str | Path, *, dtype: torch.dtype = torch.float32, **kwargs: Any
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Model and tokenizer from a local folder or a hub id; safetensors only, no remote code.

    Raises CogumiError when it is in neither place, incomplete, or no Llama.
    """
    with _loading(folder_or_id):
        config = AutoConfig.from_pretrained(folder_or_id)
    require_llama(config.model_type, str(folder_or_id))
    with _loading(folder_or_id):
        model = AutoModelForCausalLM.from_pretrained(folder_or_id, dtype=dtype, use_safetensors=True, **kwargs)
    use_portable_kernels(model)
    return model, load_tokenizer(folder_or_id)


def use_portable_kernels(model: PreTrainedModel) -> None:
    """Keep 4-bit layers on the path that training uses.

    In evaluation, bitsandbytes rounds activations to bf16 on processors with AVX512-BF16, and only there: answers
    would depend on the machine, and the model that is judged would not be the one that was trained (0.5 nats apart).
    Worse, it repacks the weights for a kernel that has no gradient and leaves them so: whatever is trained after an
    evaluation would learn from wrong gradients, in silence.
    """
    for layer in model.modules():
        if hasattr(layer, "support_avx512bf16_for_cpu"):
            layer.support_avx512bf16_for_cpu = False


def load_tokenizer(folder_or_id: str | Path) -> PreTrainedTokenizerBase:
    """The tokenizer, padded on the left as batched generation needs it. Raises CogumiError where there is none."""
    with _loading(folder_or_id):
        tokenizer = AutoTokenizer.from_pretrained(folder_or_id, padding_side="left")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


@contextmanager
def _loading(folder_or_id: str | Path) -> Iterator[None]:
    """Whatever is missing or garbled becomes an error in four parts."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise CogumiError(
            expected="a model folder with config.json, safetensors and tokenizer, or a hub id that can be reached",
            found=f"{folder_or_id}: {str(error).splitlines()[0]}",
            why="every later stage starts from this model",
            fix="log in with `hf auth login` and accept the licence on the hub, or set `model_id` to a local folder",
        ) from error


def require_llama(model_type: str, name: str) -> None:
    if model_type != "llama":
        raise CogumiError(
            expected="a model of the Llama architecture",
            found=f"{name} is of type {model_type}",
            why="the export, the ledger and the adapters know Llama's tensors only",
            fix="choose a Llama-architecture model (Llama 3.x, SmolLM2, TinyLlama, ...)",
        )


def save(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> Path:
    """Safetensors, configuration, tokenizer and chat template in one folder."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def parameter_count(model: torch.nn.Module) -> int:
    """Parameters, tied ones once."""
    return sum(p.numel() for p in model.parameters())
