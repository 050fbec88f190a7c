"""Tokenizer, the three ways to a student, and what is refused."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cogumi_utils.data import corpus
from cogumi_utils.errors import CogumiError
from cogumi_utils.model import student

SHAPE = {"hidden": 32, "layers": 1, "heads": 2, "kv_heads": 1, "ffn": 64, "context": 64}


def ids_of(tokenizer, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def pieces(tokenizer, text: str) -> list[str]:
    """What the pre-tokenizer hands to the pairs, byte by byte text again."""
    split = tokenizer.backend_tokenizer.pre_tokenizer.pre_tokenize_str(text)
    return [text[start:end] for _, (start, end) in split]


def test_every_digit_stands_alone(tokenizer):
    for text in ("12+7=19", "a1b22c333", "x 007", "½ ٣٤ Ⅷ"):
        tokens = [tokenizer.decode([i]) for i in ids_of(tokenizer, text)]
        assert all(len(token) == 1 for token in tokens if any(letter.isnumeric() for letter in token))
    assert not any(len(token.strip("Ġ")) > 1 and any(map(str.isdigit, token)) for token in tokenizer.get_vocab())


@settings(max_examples=300, deadline=None, derandomize=True)
@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_nothing_is_lost_on_the_way_back(tokenizer, text):
    assert tokenizer.decode(ids_of(tokenizer, text)) == text


def test_the_split_is_that_of_llama_cpp_for_smollm(tokenizer, tmp_path):
    """llama.cpp: `\\p{N}` first, then GPT-2's pattern; HuggingFaceTB/SmolLM's tokenizer.json has these two steps."""
    tokenizer.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "tokenizer.json").read_text())
    assert saved["pre_tokenizer"] == {
        "type": "Sequence",
        "pretokenizers": [
            {"type": "Digits", "individual_digits": True},
            {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        ],
    }
    assert saved["normalizer"] is None and saved["decoder"]["type"] == "ByteLevel"
    assert saved["model"]["type"] == "BPE" and saved["model"]["byte_fallback"] is False
    assert pieces(tokenizer, "I've 12  cups,\n\n and 3x") == [
        "I", "'ve", " ", "1", "2", " ", " cups", ",", "\n\n", " and", " ", "3", "x",
    ]  # fmt: skip
    assert pieces(tokenizer, "naïve+日本=²") == ["naïve", "+", "日本", "=", "²"]


def test_the_vocabulary_begins_with_the_chat_and_ends_where_it_was_told(tokenizer):
    assert tokenizer.convert_ids_to_tokens(range(6)) == list(student.SPECIAL)
    assert (tokenizer.bos_token_id, tokenizer.pad_token_id, tokenizer.eos_token_id) == (0, 1, 5)
    assert len(tokenizer) == 800 and tokenizer.padding_side == "left"
    assert len(student.train_tokenizer(corpus.sample(1, 50), 300)) == 300


def test_the_saved_tokenizer_is_the_same(tokenizer, base):
    again, text = student.load_tokenizer(base), "Ann has 3 cups.\n\tdef f(x): return 'é'"
    assert ids_of(again, text) == ids_of(tokenizer, text) and again.chat_template == tokenizer.chat_template
    assert (again.padding_side, again.pad_token, again.eos_token) == ("left", student.PAD, tokenizer.eos_token)


def test_from_scratch_a_seed_decides_the_weights():
    def make(seed: int):
        model, tokenizer = student.obtain(
            "scratch", model_id="", texts=corpus.sample(1, 500), vocab_size=400, shape=SHAPE, seed=seed
        )
        return model, tokenizer

    (one, tokenizer), (same, _), (other, _) = make(1), make(1), make(2)
    assert one.dtype == torch.float32 and one.config.vocab_size == len(tokenizer) == 400
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), same.parameters(), strict=True))
    assert not torch.equal(one.lm_head.weight, other.lm_head.weight)
    assert (one.config.bos_token_id, one.config.pad_token_id, one.config.eos_token_id) == (0, 1, 5)
    assert one.config.num_key_value_heads == 1 and one.config.max_position_embeddings == 64


def test_tied_embeddings_count_once():
    model = student.small_llama(400, seed=1, **SHAPE)
    assert model.lm_head.weight is model.model.embed_tokens.weight
    attention = 32 * 32 * 2 + 2 * 32 * 16
    assert student.parameter_count(model) == 400 * 32 + attention + 3 * 32 * 64 + 3 * 32
    with torch.device("meta"):
        large = student.small_llama(400, seed=1, **{**SHAPE, "hidden": 2050, "heads": 1, "kv_heads": 1})
    assert large.lm_head.weight is not large.model.embed_tokens.weight


def test_random_weights_have_the_asked_shape_in_bf16():
    model, tokenizer = student.obtain(
        "random", model_id="", texts=corpus.sample(1, 500), vocab_size=5000, shape=SHAPE, seed=1
    )
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16} and model.config.vocab_size == 5000
    assert len(tokenizer) <= student.SMALL_VOCABULARY
    logits = model(torch.tensor([ids_of(tokenizer, "Ann has 3 cups.")])).logits
    assert logits.shape[-1] == 5000 and logits.isfinite().all()


def test_a_hub_model_may_be_a_folder(base, tokenizer):
    model, same = student.obtain("hub", model_id=str(base), texts=[], vocab_size=0, shape={}, seed=1)
    assert model.dtype == torch.bfloat16 and ids_of(same, "a1") == ids_of(tokenizer, "a1")
    full, _ = student.load(base)
    assert full.dtype == torch.float32
    assert torch.equal(full.lm_head.weight.bfloat16(), model.lm_head.weight)


def test_only_safetensors_are_written(base):
    names = {path.name for path in base.iterdir()}
    assert names == {
        "config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
        "chat_template.jinja",
    }  # fmt: skip


def test_what_is_saved_is_what_is_loaded(tokenizer, tmp_path):
    model = student.small_llama(len(tokenizer), seed=3, **SHAPE)
    again, _ = student.load(student.save(model, tokenizer, tmp_path / "model"))
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


def copy_without(base, folder, *names: str):
    shutil.copytree(base, folder)
    for name in names:
        (folder / name).unlink()
    return folder


def in_four_parts(error: CogumiError) -> bool:
    return all((error.expected, error.found, error.why, error.fix)) and "\n" not in error.found


@pytest.mark.parametrize("place", ["./no/such/folder", "meta-llama/No-Such-Model-1B", "", "no such name"])
def test_a_model_that_is_nowhere(place):
    with pytest.raises(CogumiError) as caught:
        student.load(place)
    error = caught.value
    assert in_four_parts(error) and error.found.startswith(f"{place}: ")
    assert "hf auth login" in error.fix and "model_id" in error.fix
    with pytest.raises(CogumiError):
        student.load_tokenizer(place)


@pytest.mark.parametrize(
    "missing", [("config.json",), ("model.safetensors",), ("tokenizer.json", "tokenizer_config.json")]
)
def test_an_incomplete_folder(base, tmp_path, missing):
    with pytest.raises(CogumiError) as caught:
        student.load(copy_without(base, tmp_path / "model", *missing))
    assert in_four_parts(caught.value) and str(tmp_path) in caught.value.found


def test_a_garbled_configuration(base, tmp_path):
    folder = copy_without(base, tmp_path / "model")
    (folder / "config.json").write_text('{"model_type": ')
    with pytest.raises(CogumiError) as caught:
        student.load(folder)
    assert in_four_parts(caught.value)


def test_pickled_weights_are_not_read(base, tmp_path):
    folder = copy_without(base, tmp_path / "model", "model.safetensors")
    model, _ = student.load(base)
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    with pytest.raises(CogumiError, match="safetensors"):
        student.load(folder)


def test_another_architecture_is_refused_before_its_weights_are_read(base, tmp_path):
    folder = copy_without(base, tmp_path / "model", "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "gpt2"}))
    with pytest.raises(CogumiError, match="is of type gpt2"):
        student.load(folder)


def test_a_tokenizer_without_padding_pads_with_its_end(base, tmp_path):
    folder = copy_without(base, tmp_path / "model")
    settings_file = folder / "tokenizer_config.json"
    kept = {key: value for key, value in json.loads(settings_file.read_text()).items() if key != "pad_token"}
    settings_file.write_text(json.dumps(kept))
    loaded = student.load_tokenizer(folder)
    assert loaded.pad_token == loaded.eos_token == "<|end|>"
