"""A byte-level BPE tokenizer in a GGUF file, and the proof that llama.cpp splits text into the same tokens.

llama.cpp knows pre-tokenizers by name: a GGUF file cannot carry a split of its own. So the split in tokenizer.json is
compared with those behind the names, and one that has no name is refused; a near miss would only show as worse answers.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gguf import GGUFWriter, TokenType

from cogumi_utils.compress.gguf.strings import probe_strings
from cogumi_utils.errors import CogumiError
from cogumi_utils.model.llama_cpp_runtime import load
from cogumi_utils.model.student import load_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from cogumi_utils.model.llama_cpp_runtime import Runtime

_LLAMA_3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_BYTES, _GPT_2, _DIGITS = "bytes", "split as GPT-2, bytes", "single digits"
# {name in llama.cpp: (what tokenizer.json's pre-tokenizer does, whether a whole word is looked up before merging)}
PRE_TOKENIZERS = {
    "gpt-2": ((_GPT_2,), False),
    "smollm": ((_DIGITS, _GPT_2), False),
    "llama-bpe": ((_LLAMA_3, _BYTES), True),
    "dbrx": ((_LLAMA_3, _BYTES), False),  # Llama 3's split without its look-up
}
# Settings of tokenizer.json's model that llama.cpp has no counterpart for.
_UNKNOWN_TO_LLAMA_CPP = ("dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback")


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """tokens and types by id (see gguf.TokenType); merges as "left right", the first ones first."""

    pre_tokenizer: str
    tokens: list[str]
    types: list[int]
    merges: list[str]


def read_vocabulary(folder: Path, size: int) -> Vocabulary:
    """The vocabulary in tokenizer.json, filled up to the `size` rows that the model's embeddings have.

    Raises CogumiError for a tokenizer that llama.cpp would not follow to the letter.
    """
    described = _described(folder)
    model, added = described["model"], described.get("added_tokens") or []
    pre_tokenizer = _pre_tokenizer(described)
    by_id = {place: text for text, place in model["vocab"].items()} | {token["id"]: token["content"] for token in added}
    kinds = {token["id"]: TokenType.CONTROL if token["special"] else TokenType.USER_DEFINED for token in added}
    if by_id and max(by_id) >= size:
        raise _refused(f"token {max(by_id)} ({by_id[max(by_id)]!r}) for {size} embeddings", "each token has one row")
    tokens = [by_id.get(place, f"[PAD{place}]") for place in range(size)]
    types = [kinds.get(place, TokenType.NORMAL if place in by_id else TokenType.UNUSED) for place in range(size)]
    if len(set(tokens)) < size:
        twice = Counter(tokens).most_common(1)[0][0]
        raise _refused(f"two tokens with the text {twice!r}", "llama.cpp finds tokens by their text")
    return Vocabulary(pre_tokenizer, tokens, [int(kind) for kind in types], _merges(model))


def _described(folder: Path) -> dict[str, Any]:
    """tokenizer.json of a byte-level BPE, checked."""
    try:
        described = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
        kind = described["model"]["type"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _refused(f"{folder / 'tokenizer.json'}: {error}", "it holds the vocabulary and the merges") from error
    if kind != "BPE" or not described["model"]["merges"]:
        raise _refused(f"a tokenizer of kind {kind}, or one without merges", "only byte-level BPE is exported")
    settings = {name: described["model"].get(name) for name in _UNKNOWN_TO_LLAMA_CPP}
    if odd := {name: value for name, value in settings.items() if value} or described.get("normalizer"):
        raise _refused(f"{odd}", "llama.cpp has no such setting, and would give other tokens in silence")
    for token in described.get("added_tokens") or []:
        if any(token.get(flag) for flag in ("lstrip", "rstrip", "single_word")):
            raise _refused(f"the added token {token['content']!r} takes neighbouring spaces", "llama.cpp keeps those")
    return described


def _merges(model: dict[str, Any]) -> list[str]:
    """Older files hold "left right", newer ones pairs."""
    return [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]


def _pre_tokenizer(described: dict[str, Any]) -> str:
    """llama.cpp's name of the tokenizer's split."""
    found = (_steps(described.get("pre_tokenizer")), bool(described["model"].get("ignore_merges")))
    for name, known in PRE_TOKENIZERS.items():
        if found == known:
            return name
    raise CogumiError(
        expected=f"a pre-tokenizer that llama.cpp knows and this export too: {', '.join(PRE_TOKENIZERS)}",
        found=f"{json.dumps(described.get('pre_tokenizer'))}, ignore_merges {found[1]}",
        why="a GGUF file names its pre-tokenizer; another one's split gives other tokens, and worse answers",
        fix="train the tokenizer as student.train_tokenizer does, or start from Llama 3 or SmolLM2",
    )


def _steps(pre_tokenizer: dict[str, Any] | None) -> tuple[str, ...]:
    """What a pre-tokenizer of tokenizer.json does, step by step, in the terms of `PRE_TOKENIZERS`."""
    if pre_tokenizer is None:
        return ()
    kind = pre_tokenizer["type"]
    if kind == "Sequence":
        return tuple(step for part in pre_tokenizer["pretokenizers"] for step in _steps(part))
    if kind == "Digits" and pre_tokenizer["individual_digits"]:
        return (_DIGITS,)
    if kind == "ByteLevel" and not pre_tokenizer["add_prefix_space"]:
        return (_GPT_2 if pre_tokenizer.get("use_regex", True) else _BYTES,)
    if kind == "Split" and pre_tokenizer["behavior"] == "Isolated" and not pre_tokenizer["invert"]:
        return (str(pre_tokenizer["pattern"].get("Regex")),)
    return (f"{kind}?",)


def add_tokenizer(writer: GGUFWriter, folder: Path, size: int) -> None:
    """Everything that llama.cpp needs to tokenize and to format chats, from a Hugging Face tokenizer's folder."""
    vocabulary, tokenizer = read_vocabulary(folder, size), load_tokenizer(folder)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(vocabulary.pre_tokenizer)
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types(vocabulary.types)
    writer.add_token_merges(vocabulary.merges)
    _add_special_tokens(writer, tokenizer)
    if tokenizer.chat_template:
        templates = tokenizer.chat_template
        named = templates if isinstance(templates, str) else [{"name": n, "template": t} for n, t in templates.items()]
        writer.add_chat_template(named)


def _add_special_tokens(writer: GGUFWriter, tokenizer: PreTrainedTokenizerBase) -> None:
    """Ends and beginnings of texts. What ends an answer is named: llama.cpp would guess it from the token's text."""
    bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
    if bos is not None:
        writer.add_bos_token_id(bos)
    if eos is not None:
        writer.add_eos_token_id(eos)
        writer.add_eot_token_id(eos)
    if tokenizer.pad_token_id is not None:
        writer.add_pad_token_id(tokenizer.pad_token_id)
    ids = tokenizer("a")["input_ids"]  # what is put around a text is known from a text
    writer.add_add_bos_token(bos is not None and ids[0] == bos)
    writer.add_add_eos_token(eos is not None and ids[-1] == eos)


def same_tokens(
    tokenizer: PreTrainedTokenizerBase, runtime: Runtime, strings: Sequence[str], special: bool = True
) -> list[str]:
    """The strings whose token ids in llama.cpp are not those of Hugging Face; none, if the export is right.

    special: whether `<|end|>` in a text is that token, as in a formatted chat, or just these characters.
    """
    theirs = runtime.token_ids(strings, special)
    ours = tokenizer(list(strings), add_special_tokens=False, split_special_tokens=not special)["input_ids"]
    return [text for text, one, other in zip(strings, ours, theirs, strict=True) if one != other]


def differing(tokenizer: PreTrainedTokenizerBase, file: str | Path, n: int, seed: int) -> list[str]:
    """Those of `n` probe strings that the GGUF file splits in another way: with special tokens, or without."""
    strings = probe_strings(n, seed, tokenizer.all_special_tokens)
    with load(file) as runtime:
        found = (same_tokens(tokenizer, runtime, strings, special) for special in (True, False))
        return list(dict.fromkeys(chain.from_iterable(found)))


def _refused(found: str, why: str) -> CogumiError:
    return CogumiError(
        expected="a byte-level BPE tokenizer that llama.cpp follows token by token",
        found=found,
        why=why,
        fix=f"use a tokenizer as Llama 3, SmolLM2 or student.train_tokenizer have it ({', '.join(PRE_TOKENIZERS)})",
    )
