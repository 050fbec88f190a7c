"""A BPE tokenizer with fewer entries that still encodes every text, splits it alike, and knows its special tokens.

An entry is made by merging two others, so only entries of which nothing else is made can go. Whoever goes first costs
least: a text holds one token more for each time that the entry was used, and its two parts take over its uses.
"""

from __future__ import annotations

import heapq
import json
import re
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenizers.pre_tokenizers import ByteLevel
from transformers import PreTrainedTokenizerBase

from cogumi_utils.errors import CogumiError
from cogumi_utils.model.student import load_tokenizer

BYTE = re.compile(r"<0x[0-9A-F]{2}>")  # how tokenizers with byte fallback spell a byte


def reduced(
    tokenizer: PreTrainedTokenizerBase, counts: Sequence[int], size: int
) -> tuple[PreTrainedTokenizerBase, list[int]]:
    """The tokenizer with `size` entries, and the old id of each of its ids (rising, so the order stays).

    counts: uses of each old id in the texts that matter. Bytes and added tokens stay, so every text can still be
    written; a text all of whose tokens stay is split as before. Raises CogumiError for another kind of tokenizer and
    for a size below what must stay.
    """
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        path, settings = Path(folder, "tokenizer.json"), Path(folder, "tokenizer_config.json")
        whole = json.loads(path.read_text())
        entries = cut(whole, counts, size)
        path.write_text(json.dumps(whole, ensure_ascii=False))
        told = json.loads(settings.read_text())
        told.pop("added_tokens_decoder", None)  # old ids; tokenizer.json says the same with the new ones
        settings.write_text(json.dumps(told, ensure_ascii=False))
        smaller = load_tokenizer(folder)
    smaller.padding_side = tokenizer.padding_side
    return smaller, entries


def smallest(tokenizer: PreTrainedTokenizerBase) -> int:
    """Entries that must stay: bytes and added tokens."""
    whole = json.loads(tokenizer.backend_tokenizer.to_str())
    _check(whole)
    return len(_protected(whole))


def cut(whole: dict[str, Any], counts: Sequence[int], size: int) -> list[int]:
    """Cut a parsed tokenizer.json down to `size` entries, in place. Returns the old ids in the order of the new."""
    _check(whole)
    model = whole["model"]
    ids = model["vocab"] | {token["content"]: token["id"] for token in whole["added_tokens"]}
    merges = [tuple(pair.split(" ")) if isinstance(pair, str) else tuple(pair) for pair in model["merges"]]
    weights = {token: counts[i] if i < len(counts) else 0 for token, i in ids.items()}
    kept = _kept(weights, ids, _made_of(model["vocab"], merges), _protected(whole), size)
    entries = sorted({ids[token] for token in kept})
    new = {old: place for place, old in enumerate(entries)}
    vocabulary = sorted((new[i], token) for token, i in model["vocab"].items() if token in kept)
    model["vocab"] = {token: place for place, token in vocabulary}
    model["merges"] = [[a, b] for a, b in merges if {a, b, a + b} <= kept]
    for token in whole["added_tokens"]:
        token["id"] = new[token["id"]]
    whole["post_processor"] = _renumbered(whole.get("post_processor"), new)
    return entries


def _kept(
    weights: Mapping[str, int], ids: Mapping[str, int], made_of: Mapping[str, tuple[str, str]], protected: set[str],
    size: int,
) -> set[str]:  # fmt: skip
    """The entries that stay. Of equal weights, the entry with the highest id goes first: it was merged last."""
    kept, weights = set(weights), dict(weights)
    needed = Counter(part for parts in made_of.values() for part in parts)
    free = [(weights[token], -ids[token], token) for token in kept if not needed[token] and token not in protected]
    heapq.heapify(free)
    while len(kept) > size:
        if not free:
            raise _too_small(size, len(kept))
        weight, _, token = heapq.heappop(free)
        kept.remove(token)
        for part in made_of.get(token, ()):
            weights[part] += weight
            needed[part] -= 1
            if not needed[part] and part not in protected:
                heapq.heappush(free, (weights[part], -ids[part], part))
    return kept


def _made_of(vocabulary: Mapping[str, int], merges: Sequence[tuple[str, str]]) -> dict[str, tuple[str, str]]:
    """{entry: the two entries of which BPE makes it}; without those that no merge makes.

    Vocabularies that came from tiktoken (Llama 3) name several merges for one entry; BPE takes one way through them,
    the same inside a longer word as alone.
    """
    ranks = {pair: rank for rank, pair in reversed(list(enumerate(merges)))}
    found = {token: _last_merge(token, ranks) for token in vocabulary}
    return {token: parts for token, parts in found.items() if parts}


def _last_merge(token: str, ranks: Mapping[tuple[str, str], int]) -> tuple[str, str] | None:
    """The two parts that BPE joins last to make `token`; None where it never gets there."""
    parts = list(token)
    while len(parts) > 2:
        known = [(ranks[pair], i) for i, pair in enumerate(zip(parts, parts[1:], strict=False)) if pair in ranks]
        if not known:
            return None
        _, i = min(known)
        parts[i : i + 2] = [parts[i] + parts[i + 1]]
    return tuple(parts) if tuple(parts) in ranks else None


def _protected(whole: Mapping[str, Any]) -> set[str]:
    """Added tokens, the unknown token and whatever spells single bytes."""
    model = whole["model"]
    added = {token["content"] for token in whole["added_tokens"]} | {model.get("unk_token")} - {None}
    if model.get("byte_fallback"):
        return added | {token for token in model["vocab"] if BYTE.fullmatch(token)}
    return added | set(ByteLevel.alphabet()) & set(model["vocab"])


def _renumbered(processor: Any, new: Mapping[int, int]) -> Any:
    """A post-processor's JSON with the new ids: they stand in lists `ids`, and as [token, id] in `sep` and `cls`."""
    if isinstance(processor, list):
        return [_renumbered(part, new) for part in processor]
    if not isinstance(processor, dict):
        return processor
    found = {key: _renumbered(part, new) for key, part in processor.items()}
    if "ids" in found:
        found["ids"] = [new[i] for i in processor["ids"]]
    return found | {key: [found[key][0], new[found[key][1]]] for key in ("sep", "cls") if key in found}


def _check(whole: Mapping[str, Any]) -> None:
    model = whole["model"]
    spells_bytes = model.get("byte_fallback") or '"ByteLevel"' in json.dumps(whole.get("decoder"))
    if model.get("type") != "BPE" or not spells_bytes:
        raise CogumiError(
            expected="a BPE tokenizer of bytes (Llama 3, SmolLM2, ...) or with byte fallback (Llama 2, TinyLlama)",
            found=f"type {model.get('type')}" + ("" if spells_bytes else ", which does not spell bytes"),
            why="only there every text can still be written when entries go",
            fix="leave the vocabulary as it is: give the shape the parent's number of entries",
        )


def _too_small(size: int, smallest: int) -> CogumiError:
    return CogumiError(
        expected=f"at least {smallest} entries",
        found=f"{size}",
        why="bytes and special tokens must stay, or some texts could not be written",
        fix=f"ask for {smallest} entries or more",
    )
