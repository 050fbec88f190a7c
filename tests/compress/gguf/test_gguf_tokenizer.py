"""llama.cpp splits text into the same tokens, for every split that the export knows; all others are refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import gguf
import pytest
from gguf_models import changed, save, small_tokenizer
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from cogumi_utils.compress.gguf import export as gguf_export
from cogumi_utils.compress.gguf import strings as gguf_strings
from cogumi_utils.compress.gguf import tokenizer as gguf_tokenizer
from cogumi_utils.data import corpus
from cogumi_utils.errors import CogumiError
from cogumi_utils.model import llama_cpp_runtime

FILE = "tokenizer.json"
LLAMA_3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
BYTES = {"add_prefix_space": False, "use_regex": False}
SPLITS = {
    "gpt-2": lambda: pre_tokenizers.ByteLevel(add_prefix_space=False),
    "smollm": lambda: pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    ),
    "llama-bpe": lambda: pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(LLAMA_3), "isolated"), pre_tokenizers.ByteLevel(**BYTES)]
    ),
}
SPLITS["dbrx"] = SPLITS["llama-bpe"]


def trained(name: str, vocab_size: int = 1500) -> PreTrainedTokenizerFast:
    """A tokenizer with this split, trained on texts of many scripts, so that merges reach across every border."""
    raw = Tokenizer(models.BPE(ignore_merges=name == "llama-bpe"))
    raw.pre_tokenizer, raw.decoder = SPLITS[name](), decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    special = ["<|begin|>", "<|end|>", "<|user|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    raw.train_from_iterator([*corpus.sample(1, 400), *gguf_strings.probe_strings(1500, 99)], trainer)
    raw.post_processor = processors.TemplateProcessing(single="<|begin|> $A", special_tokens=[("<|begin|>", 0)])
    if name == "llama-bpe":
        raw = without_merges(raw)
    return PreTrainedTokenizerFast(tokenizer_object=raw, bos_token=special[0], eos_token=special[1])


def without_merges(raw: Tokenizer) -> Tokenizer:
    """Every fifth word is reached by looking it up alone, as some of Llama 3's are."""
    described = json.loads(raw.to_str())
    described["model"]["merges"] = [pair for i, pair in enumerate(described["model"]["merges"]) if i % 5]
    return Tokenizer.from_str(json.dumps(described))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return save(tmp_path_factory.mktemp("base") / "m", small_tokenizer())


def exported(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> Path:
    size = {"vocab_size": len(tokenizer), "hidden_size": 32, "num_hidden_layers": 1}
    return gguf_export.export(save(tmp_path / "m", tokenizer, **size), tmp_path / "m.gguf")


@pytest.mark.parametrize("name", SPLITS)
def test_ten_thousand_strings_give_the_same_ids(name, tmp_path):
    tokenizer = trained(name)
    file = exported(tokenizer, tmp_path)
    strings = gguf_strings.probe_strings(10_000, 1, tokenizer.all_special_tokens)
    assert gguf.GGUFReader(file).fields["tokenizer.ggml.pre"].contents() == name
    with llama_cpp_runtime.load(file, sequences=1) as runtime:
        assert gguf_tokenizer.same_tokens(tokenizer, runtime, strings) == []
        assert gguf_tokenizer.same_tokens(tokenizer, runtime, strings, special=False) == []


@pytest.mark.parametrize(("name", "instead"), [("smollm", "gpt-2"), ("llama-bpe", "dbrx"), ("gpt-2", "llama-bpe")])
def test_another_split_would_show(name, instead, tmp_path, monkeypatch):
    monkeypatch.setattr(gguf_tokenizer, "_pre_tokenizer", lambda _: instead)
    tokenizer = trained(name)
    strings = gguf_strings.probe_strings(1000, 1, tokenizer.all_special_tokens)
    with llama_cpp_runtime.load(exported(tokenizer, tmp_path), sequences=1) as runtime:
        assert len(gguf_tokenizer.same_tokens(tokenizer, runtime, strings)) > 5


def test_merges_in_another_order_would_show(folder, tmp_path, monkeypatch):
    right = gguf_tokenizer._merges
    monkeypatch.setattr(gguf_tokenizer, "_merges", lambda model: right(model)[::-1])
    tokenizer = small_tokenizer()
    with llama_cpp_runtime.load(gguf_export.export(folder, tmp_path / "m.gguf"), sequences=1) as runtime:
        assert len(gguf_tokenizer.same_tokens(tokenizer, runtime, gguf_strings.probe_strings(200, 1))) > 20


def test_differing_strings_of_a_file_are_counted_once(folder, tmp_path, monkeypatch):
    tokenizer = small_tokenizer()
    file = exported(tokenizer, tmp_path)
    assert gguf_tokenizer.differing(tokenizer, file, 300, 1) == []
    read_both = []

    def same_tokens(tokenizer, runtime, strings, special):
        read_both.append(special)
        return strings[:2] if special else strings[1:3]

    monkeypatch.setattr(gguf_tokenizer, "same_tokens", same_tokens)
    strings = gguf_strings.probe_strings(300, 1, tokenizer.all_special_tokens)
    assert gguf_tokenizer.differing(tokenizer, file, 300, 1) == strings[:3]
    assert read_both == [True, False]


def test_special_tokens_are_tokens_or_characters(folder, tmp_path):
    tokenizer = small_tokenizer()
    with llama_cpp_runtime.load(gguf_export.export(folder, tmp_path / "m.gguf"), sequences=1) as runtime:
        assert runtime.token_ids(["<|end|>"]) == [[5]]
        assert len(runtime.token_ids(["<|end|>"], special=False)[0]) > 1
        assert gguf_tokenizer.same_tokens(tokenizer, runtime, ["<|end|>", "a<|end|>"], special=False) == []


def test_metadata(folder, tmp_path):
    file = gguf_export.export(folder, tmp_path / "m.gguf")
    found = {name: field.contents() for name, field in gguf.GGUFReader(file).fields.items() if "tokenizer" in name}
    tokens, types = found.pop("tokenizer.ggml.tokens"), found.pop("tokenizer.ggml.token_type")
    described = json.loads((folder / FILE).read_text())
    assert tokens == sorted(described["model"]["vocab"], key=described["model"]["vocab"].get)
    assert types == [3] * 6 + [1] * 394  # six control tokens
    assert found.pop("tokenizer.ggml.merges")[0] == " ".join(described["model"]["merges"][0])
    assert found == {
        "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "smollm", "tokenizer.ggml.bos_token_id": 0,
        "tokenizer.ggml.eos_token_id": 5, "tokenizer.ggml.eot_token_id": 5, "tokenizer.ggml.padding_token_id": 1,
        "tokenizer.ggml.add_bos_token": False, "tokenizer.ggml.add_eos_token": False,
        "tokenizer.chat_template": small_tokenizer().chat_template,
    }  # fmt: skip


def test_a_beginning_that_the_tokenizer_adds_is_recorded(tmp_path):
    fields = gguf.GGUFReader(exported(trained("llama-bpe", 300), tmp_path)).fields
    assert fields["tokenizer.ggml.add_bos_token"].contents() is True
    assert fields["tokenizer.ggml.add_eos_token"].contents() is False


def test_older_files_hold_merges_as_text(folder, tmp_path):
    other = Path(shutil.copytree(folder, tmp_path / "copy"))
    described = json.loads((other / FILE).read_text())
    described["model"]["merges"] = [" ".join(pair) for pair in described["model"]["merges"]]
    (other / FILE).write_text(json.dumps(described))
    assert gguf_tokenizer.read_vocabulary(other, 400) == gguf_tokenizer.read_vocabulary(folder, 400)


def test_rows_without_a_token_and_added_words(folder, tmp_path):
    tokenizer = small_tokenizer()
    tokenizer.add_tokens([AddedToken("cogumi", special=False, normalized=False)])
    tokenizer.save_pretrained(tmp_path)
    found = gguf_tokenizer.read_vocabulary(tmp_path, 403)
    assert found.tokens[399:] == [*tokenizer.convert_ids_to_tokens([399]), "cogumi", "[PAD401]", "[PAD402]"]
    assert found.types[399:] == [1, 4, 5, 5]


def refuse(folder: Path, tmp_path: Path, size: int = 400, **values) -> str:
    other = changed(Path(shutil.copytree(folder, tmp_path / "copy")), FILE, **values)
    with pytest.raises(CogumiError) as caught:
        gguf_tokenizer.read_vocabulary(other, size)
    return str(caught.value)


UNKNOWN = {
    "digits in threes": {"type": "Digits", "individual_digits": False},
    "a space before": {"type": "ByteLevel", "add_prefix_space": True, "use_regex": True},
    "words": {"type": "Whitespace"},
    "another expression": {
        "type": "Sequence",
        "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": r"\p{L}+"}, "behavior": "Isolated", "invert": False},
            {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False},
        ],
    },
    "what is matched taken out": {
        "type": "Sequence",
        "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": LLAMA_3}, "behavior": "Removed", "invert": False},
            {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False},
        ],
    },
    "none": None,
}


@pytest.mark.parametrize("case", UNKNOWN)
def test_an_unknown_split_is_refused_with_the_known_ones(case, folder, tmp_path):
    assert "gpt-2, smollm, llama-bpe, dbrx" in refuse(folder, tmp_path, pre_tokenizer=UNKNOWN[case])


def test_a_smollm_split_that_looks_words_up_is_another_tokenizer(folder, tmp_path):
    model = json.loads((folder / FILE).read_text())["model"]
    assert "ignore_merges True" in refuse(folder, tmp_path, model={**model, "ignore_merges": True})


@pytest.mark.parametrize(
    ("setting", "value"), [("byte_fallback", True), ("unk_token", "<unk>"), ("type", "Unigram"), ("merges", [])]
)
def test_what_llama_cpp_has_no_setting_for_is_refused(setting, value, folder, tmp_path):
    model = json.loads((folder / FILE).read_text())["model"]
    found = refuse(folder, tmp_path, model={**model, setting: value})
    assert "byte-level BPE" in found and (setting in found or "kind" in found)


def test_a_normalizer_is_refused(folder, tmp_path):
    assert "NFC" in refuse(folder, tmp_path, normalizer={"type": "NFC"})


@pytest.mark.parametrize("flag", ["lstrip", "rstrip", "single_word"])
def test_an_added_token_that_takes_spaces_is_refused(flag, folder, tmp_path):
    added = json.loads((folder / FILE).read_text())["added_tokens"]
    assert "<|endoftext|>" in refuse(folder, tmp_path, added_tokens=[{**added[0], flag: True}])


def test_more_tokens_than_rows_are_refused(folder, tmp_path):
    assert "399" in refuse(folder, tmp_path, size=399)


def test_two_tokens_of_one_text_are_refused(folder, tmp_path):
    """llama.cpp would end the process."""
    added = json.loads((folder / FILE).read_text())["added_tokens"]
    assert "'!'" in refuse(
        folder, tmp_path, size=401, added_tokens=[*added, {"id": 400, "content": "!", "special": True}]
    )


def test_no_json_is_refused(folder, tmp_path):
    (tmp_path / FILE).write_text("{")
    with pytest.raises(CogumiError, match=FILE):
        gguf_tokenizer.read_vocabulary(tmp_path, 400)


def test_strings_are_those_of_their_seed_and_of_all_kinds():
    strings = gguf_strings.probe_strings(1100, 3, ["<|end|>"])
    assert (
        strings == gguf_strings.probe_strings(1100, 3, ["<|end|>"]) != gguf_strings.probe_strings(1100, 4, ["<|end|>"])
    )
    assert len(strings) == 1100
    for part in ("def ", "<|end|>", "\u200d", "\ufffd", "\x00", "\u3000", "don't", "\r\n"):
        assert sum(part in text for text in strings) > 5, part
    assert len({ord(letter) >> 8 for text in strings for letter in text}) > 200
