"""Structured pruning: what is cut, what the smaller Llama and its tokenizer still do, which shapes a target allows."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from cogumi_utils.compress.pruning import _vocabulary, shrink
from cogumi_utils.compress.pruning._rounding import rounded
from cogumi_utils.compress.pruning.shrink import Shape
from cogumi_utils.data import corpus
from cogumi_utils.errors import CogumiError
from cogumi_utils.judge.sizes import LLAMA_3_1_8B, shape_counts
from cogumi_utils.model import pretrain, student, transfer

WHOLE = Shape(layers=3, kv_heads=4, ffn=128, vocab=800)
LLAMA3_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
TEXTS = [
    "Grüße, 東京! 🙂\n\n\tdef f(x):\n        return x**2\x00\x7f",
    'set_light(room="hall", level=92)',
    "",
    " " * 40,
]


@pytest.fixture(scope="module")
def parent(tokenizer) -> LlamaForCausalLM:
    """Three layers, eight query heads in four groups: 60 steps, enough to have parts that matter."""
    model = student.small_llama(len(tokenizer), hidden=64, layers=3, heads=8, kv_heads=4, ffn=128, context=256, seed=1)
    rows = pretrain.reading(
        tokenizer, seed=1, steps=60, warm_steps=5, batch=8, length=64, repeat_share=0.05, fact_share=0.3
    )
    pretrain.pretrain(model, rows, batch=8)
    return model


@pytest.fixture(scope="module")
def weighed(parent, tokenizer, rows) -> shrink.Importance:
    return shrink.measure_importance(parent, tokenizer, rows, rows=8, length=96, seed=1)


@torch.no_grad()
def divergence(parent, child, packed: transfer.Packed) -> float:
    """Mean KL(parent ‖ child), nats an answer token."""
    logs = [
        model(input_ids=packed.ids, position_ids=packed.positions, use_cache=False).logits[:, :-1].log_softmax(-1)
        for model in (parent, child)
    ]
    return (logs[0].exp() * (logs[0] - logs[1])).sum(-1)[packed.answers[:, 1:]].mean().item()


# --- importance


def test_importance_by_hand(parent, tokenizer, rows, weighed):
    """The same sums from the layers' own outputs, one chat after another."""
    packed = transfer.packed(tokenizer, rows, length=96, rows=8, seed=1)
    real = packed.ids != tokenizer.pad_token_id
    block = parent.model.layers[1]
    with torch.no_grad():
        states = parent(
            input_ids=packed.ids, position_ids=packed.positions, use_cache=False, output_hidden_states=True
        ).hidden_states
        seen = {}
        handle = block.mlp.register_forward_hook(lambda _, inputs, output: seen.update(inputs=inputs[0]))
        parent(input_ids=packed.ids, position_ids=packed.positions, use_cache=False)
        handle.remove()
        inner = block.mlp.act_fn(block.mlp.gate_proj(seen["inputs"])) * block.mlp.up_proj(seen["inputs"])
    columns = inner[real].abs().mean(0) * block.mlp.down_proj.weight.norm(dim=0)
    torch.testing.assert_close(weighed.columns[1], columns.double(), rtol=1e-4, atol=1e-6)
    influence = 1 - torch.cosine_similarity(states[1][real], states[2][real], dim=-1).mean()
    assert weighed.layers[1].item() == pytest.approx(influence.item(), rel=1e-3)
    assert weighed.columns.shape == (3, 128) and weighed.groups.shape == (3, 4) and weighed.layers.shape == (3,)


def test_a_silent_group_of_heads_has_no_importance(parent, tokenizer, rows):
    model = LlamaForCausalLM(parent.config)
    model.load_state_dict(parent.state_dict())
    with torch.no_grad():
        model.model.layers[0].self_attn.v_proj.weight[16:24] = 0  # group 2 of width 8
    found = shrink.measure_importance(model, tokenizer, rows, rows=4, length=96)
    assert found.groups[0, 2] == 0 and (found.groups[0, [0, 1, 3]] > 0).all()


def test_every_token_of_every_chat_is_counted(tokenizer, rows, weighed):
    texts = [tokenizer.apply_chat_template(row.messages, tokenize=False) for row in rows]
    ids = [i for text in texts for i in tokenizer(text)["input_ids"]]
    assert weighed.entries.sum() == len(ids) and weighed.entries[ids[0]] == ids.count(ids[0])


def test_measuring_leaves_no_hook_behind(parent, tokenizer, rows):
    def hooks() -> int:
        return sum(len(part._forward_hooks) + len(part._forward_pre_hooks) for part in parent.modules())

    before = hooks()
    shrink.measure_importance(parent, tokenizer, rows, rows=2, length=96)
    assert hooks() == before


def test_importance_beats_chance(parent, tokenizer, rows, weighed):
    """KL after cutting, before any training: by importance, at random (three draws), the most important first."""
    packed = transfer.packed(tokenizer, rows, length=96, rows=8, seed=2)
    worst = replace(weighed, columns=-weighed.columns, groups=-weighed.groups, layers=-weighed.layers)

    def kl(importance: shrink.Importance, shape: Shape) -> float:
        return divergence(parent, shrink.shrink(parent, tokenizer, importance, shape)[0], packed)

    for shape in (replace(WHOLE, ffn=64), replace(WHOLE, kv_heads=2), replace(WHOLE, ffn=64, kv_heads=2)):
        chance = [kl(weighed.shuffled(seed), shape) for seed in (1, 2, 3)]
        assert kl(weighed, shape) < min(chance) and max(chance) < kl(worst, shape)
    assert kl(weighed, replace(WHOLE, layers=2)) < kl(worst, replace(WHOLE, layers=2))


# --- the smaller model


def test_the_whole_shape_is_the_same_model(parent, tokenizer, rows, weighed):
    same, words = shrink.shrink(parent, tokenizer, weighed, WHOLE)
    assert same is not parent and words is tokenizer
    assert all(torch.equal(value, parent.state_dict()[name]) for name, value in same.state_dict().items())


def test_parts_that_add_nothing_go_without_a_trace(parent, tokenizer, rows):
    """Half of the columns, two groups a layer and one whole layer made silent: the cut model says the same."""
    model = LlamaForCausalLM(parent.config)
    model.load_state_dict(parent.state_dict())
    with torch.no_grad():
        for place, layer in enumerate(model.model.layers):
            layer.mlp.down_proj.weight[:, place % 2 :: 2] = 0
            layer.self_attn.v_proj.weight[8 * place : 8 * place + 16] = 0
        model.model.layers[1].mlp.down_proj.weight.zero_()
        model.model.layers[1].self_attn.o_proj.weight.zero_()
    found = shrink.measure_importance(model, tokenizer, rows, rows=4, length=96)
    shape = Shape(layers=2, kv_heads=2, ffn=64, vocab=800)
    smaller, _ = shrink.shrink(model, tokenizer, found, shape)
    ids = transfer.packed(tokenizer, rows, length=96, rows=2, seed=3).ids
    with torch.no_grad():
        torch.testing.assert_close(smaller(ids).logits, model(ids).logits, atol=1e-4, rtol=1e-4)


def test_a_smaller_llama_is_saved_and_loaded(parent, tokenizer, rows, weighed, tmp_path):
    shape = Shape(layers=2, kv_heads=2, ffn=64, vocab=500)
    smaller, words = shrink.shrink(parent, tokenizer, weighed, shape)
    student.save(smaller, words, tmp_path)
    loaded, words = student.load(tmp_path)
    config = loaded.config
    assert (config.num_hidden_layers, config.num_key_value_heads, config.num_attention_heads) == (2, 2, 4)
    assert (config.head_dim, config.intermediate_size, config.vocab_size, len(words)) == (8, 64, 500, 500)
    assert student.parameter_count(loaded) == shape.parameters(parent.config.to_dict())
    assert all(torch.equal(value, smaller.state_dict()[name]) for name, value in loaded.state_dict().items())
    assert (words.bos_token, words.eos_token, words.pad_token) == (
        tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token
    )  # fmt: skip
    assert (config.bos_token_id, config.eos_token_id, config.pad_token_id) == (
        words.bos_token_id, words.eos_token_id, words.pad_token_id
    )  # fmt: skip
    chat = rows[0].messages
    assert words.apply_chat_template(chat, tokenize=False) == tokenizer.apply_chat_template(chat, tokenize=False)
    assert words.padding_side == "left"


def test_each_word_keeps_its_embedding(parent, tokenizer, weighed):
    smaller, words = shrink.shrink(parent, tokenizer, weighed, replace(WHOLE, vocab=500))
    for word in ("<|end|>", "<|user|>", "Ġthe", "Ġis", "7", "Z"):
        one, other = words.convert_tokens_to_ids(word), tokenizer.convert_tokens_to_ids(word)
        assert words.convert_ids_to_tokens(one) == word  # not the unknown token
        assert torch.equal(smaller.model.embed_tokens.weight[one], parent.model.embed_tokens.weight[other])


def test_a_text_of_kept_words_alone_gets_the_parents_logits(parent, tokenizer, weighed):
    """Only the vocabulary is cut: the parent over fewer words, with which a student can be compared."""
    smaller, words = shrink.shrink(parent, tokenizer, weighed, replace(WHOLE, vocab=500))
    entries = [tokenizer.convert_tokens_to_ids(token) for token in words.convert_ids_to_tokens(range(500))]
    ids = torch.tensor([words("the cat is in the hall")["input_ids"]])
    with torch.no_grad():
        expected = parent(torch.tensor(entries)[ids]).logits[..., entries]
        torch.testing.assert_close(smaller(ids).logits, expected, atol=1e-5, rtol=1e-5)


def test_cutting_changes_nothing_outside(parent, tokenizer, weighed):
    before = {name: value.clone() for name, value in parent.state_dict().items()}
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    shrink.shrink(parent, tokenizer, weighed, Shape(1, 1, 32, 300))
    assert torch.equal(torch.rand(1), expected) and len(tokenizer) == 800
    assert all(torch.equal(value, parent.state_dict()[name]) for name, value in before.items())


def test_untied_embeddings_biases_and_several_end_tokens(tokenizer, weighed):
    config = LlamaConfig(
        vocab_size=800, hidden_size=64, intermediate_size=128, num_hidden_layers=3, num_attention_heads=8,
        num_key_value_heads=4, tie_word_embeddings=False, attention_bias=True, mlp_bias=True, bos_token_id=0,
        eos_token_id=[5, 0], pad_token_id=1,
    )  # fmt: skip
    parent = LlamaForCausalLM(config)
    for name, value in parent.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(value)
    shape = Shape(2, 2, 64, 500)
    smaller, words = shrink.shrink(parent, tokenizer, weighed, shape)
    assert sum(p.numel() for p in smaller.parameters()) == shape.parameters(config.to_dict())
    assert smaller.config.eos_token_id == [words.eos_token_id, words.bos_token_id]
    assert smaller.generation_config.eos_token_id == smaller.config.eos_token_id
    layer = int(weighed.layers.argsort(descending=True)[:2].min())
    groups = weighed.groups[layer].argsort(descending=True)[:2].sort().values
    first, cut = parent.model.layers[layer].self_attn, smaller.model.layers[0].self_attn
    assert torch.equal(cut.k_proj.bias, first.k_proj.bias.view(4, 8)[groups].flatten())
    assert torch.equal(cut.o_proj.bias, first.o_proj.bias)
    assert torch.equal(smaller.lm_head.weight[words.eos_token_id], parent.lm_head.weight[5])


@pytest.mark.parametrize(
    "shape", [Shape(4, 4, 128, 800), Shape(3, 0, 128, 800), Shape(3, 4, 129, 800), Shape(3, 4, 128, 801)]
)
def test_a_shape_that_is_no_part_of_the_parents(parent, tokenizer, weighed, shape):
    with pytest.raises(CogumiError) as caught:
        shrink.shrink(parent, tokenizer, weighed, shape)
    assert str(shape) in caught.value.found and str(WHOLE) in caught.value.expected


def test_heads_that_do_not_divide_the_hidden_size(parent, tokenizer, weighed):
    """Three groups of two heads: 64 is no multiple of 6."""
    with pytest.raises(CogumiError, match="6 of them"):
        shrink.shrink(parent, tokenizer, weighed, replace(WHOLE, kv_heads=3))


def test_models_that_can_not_be_cut(tokenizer, rows, weighed, parent):
    uneven = LlamaForCausalLM(LlamaConfig(vocab_size=800, hidden_size=60, intermediate_size=64, num_hidden_layers=1,
                                          num_attention_heads=6, num_key_value_heads=6))  # fmt: skip
    uneven.config.num_key_value_heads = 4
    with pytest.raises(CogumiError, match="6 query heads and 4"):
        shrink.measure_importance(uneven, tokenizer, rows)
    from transformers import GPT2Config, GPT2LMHeadModel

    other = GPT2LMHeadModel(GPT2Config(vocab_size=800, n_embd=32, n_layer=1, n_head=2))
    with pytest.raises(CogumiError, match="gpt2"):
        shrink.shrink(other, tokenizer, weighed, WHOLE)
    codes = LlamaForCausalLM(parent.config)
    layer = codes.model.layers[0].mlp
    layer.up_proj.weight = torch.nn.Parameter(torch.zeros(4, 4, dtype=torch.uint8), requires_grad=False)
    with pytest.raises(CogumiError, match="quantised"):
        shrink.shrink(codes, tokenizer, weighed, WHOLE)


# --- the vocabulary


@pytest.mark.parametrize("size", [262, 300, 500, 799])
def test_a_cut_vocabulary_writes_every_text(tokenizer, rows, weighed, size):
    counts = [int(count) for count in weighed.entries]
    words, entries = _vocabulary.reduced(tokenizer, counts, size)
    assert len(words) == len(entries) == size and entries == sorted(entries)
    texts = TEXTS + [tokenizer.apply_chat_template(row.messages, tokenize=False) for row in rows]
    assert words.batch_decode(words(texts)["input_ids"]) == texts
    assert [words.convert_ids_to_tokens(i) for i in range(size)] == tokenizer.convert_ids_to_tokens(entries)


def test_texts_of_kept_words_split_as_before(tokenizer, rows, weighed):
    words, entries = _vocabulary.reduced(tokenizer, [int(count) for count in weighed.entries], 600)
    texts = [tokenizer.apply_chat_template(row.messages, tokenize=False) for row in rows]
    kept, same = set(entries), 0
    for text in texts + TEXTS:
        ids = tokenizer(text)["input_ids"]
        if kept.issuperset(ids):
            assert [entries[i] for i in words(text)["input_ids"]] == ids
            same += 1
    assert same > 10


def test_the_least_used_words_go_and_texts_grow_by_their_uses(tokenizer, rows, weighed):
    """Each cut costs as many tokens as it says: uses of the entry, its parts' uses rise by as many."""
    texts = [tokenizer.apply_chat_template(row.messages, tokenize=False) for row in rows]
    counts = [int(count) for count in weighed.entries]

    def tokens(words) -> int:
        return sum(map(len, words(texts)["input_ids"]))

    lengths = {size: tokens(_vocabulary.reduced(tokenizer, counts, size)[0]) for size in (700, 600, 400, 300)}
    assert tokens(tokenizer) <= lengths[700] <= lengths[600] < lengths[400] < lengths[300]
    at_random = torch.randperm(800, generator=torch.Generator().manual_seed(1)).tolist()
    assert lengths[400] < tokens(_vocabulary.reduced(tokenizer, at_random, 400)[0])
    one = _vocabulary.reduced(tokenizer, [1000] * 800, 799)[1]
    assert set(range(800)) - set(one) == {799}  # of equal uses, the last merge


def test_parts_take_over_the_uses_of_what_was_made_of_them():
    """abc goes first, so ab stands for 5 + 4 uses; cd, with 9 as well, has the lower id and stays."""
    ids = {token: place for place, token in enumerate(["a", "b", "c", "d", "cd", "ab", "abc"])}
    weights = {"a": 0, "b": 0, "c": 0, "d": 0, "cd": 9, "ab": 5, "abc": 4}
    made_of = {"cd": ("c", "d"), "ab": ("a", "b"), "abc": ("ab", "c")}
    for size, uses, left in ((6, 9, {"cd", "ab"}), (5, 9, {"cd"}), (5, 8, {"ab"})):
        kept = _vocabulary._kept(weights | {"cd": uses}, ids, made_of, set("abcd"), size)
        assert kept == {*"abcd", *left}


def test_the_smallest_vocabulary(tokenizer, weighed):
    assert shrink.smallest_vocabulary(tokenizer) == 262  # 256 bytes, six special tokens
    with pytest.raises(CogumiError) as caught:
        _vocabulary.reduced(tokenizer, [int(count) for count in weighed.entries], 261)
    assert "262" in caught.value.expected and caught.value.found == "261"


@pytest.fixture(scope="module")
def llama3() -> PreTrainedTokenizerFast:
    """Built like Llama 3's: split by its expression, special tokens after the words and in no vocabulary, a start
    token set by the post-processor, whole words before merges, and for each entry all merges that make it.
    """
    raw = Tokenizer(models.BPE(ignore_merges=True))
    split = pre_tokenizers.Split(Regex(LLAMA3_SPLIT), "isolated")
    raw.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    raw.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    raw.train_from_iterator(corpus.sample(1, 2000), trainers.BpeTrainer(vocab_size=900, initial_alphabet=alphabet))
    whole = json.loads(raw.to_str())
    vocabulary = whole["model"]["vocab"]
    parts = [(token[:i], token[i:]) for token in vocabulary for i in range(1, len(token))]
    made = [pair for pair in parts if pair[0] in vocabulary and pair[1] in vocabulary]
    whole["model"]["merges"] = sorted(map(list, made), key=lambda pair: vocabulary["".join(pair)])
    raw = Tokenizer.from_str(json.dumps(whole))
    raw.add_special_tokens(["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"])
    start = "<|begin_of_text|>"
    template = processors.TemplateProcessing(single=f"{start} $A", special_tokens=[(start, raw.token_to_id(start))])
    raw.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), template])
    return PreTrainedTokenizerFast(
        tokenizer_object=raw, bos_token=start, eos_token="<|eot_id|>", pad_token="<|end_of_text|>",
        chat_template="{{ bos_token }}{% for m in messages %}{{ m['content'] }}<|eot_id|>{% endfor %}",
    )  # fmt: skip


def test_a_tokenizer_like_llama_3s(llama3):
    texts = list(corpus.sample(2, 300)) + TEXTS
    counts = torch.zeros(len(llama3), dtype=torch.long)
    for ids in llama3(texts)["input_ids"]:
        counts += torch.bincount(torch.tensor(ids), minlength=len(llama3))
    words, entries = _vocabulary.reduced(llama3, counts.tolist(), 700)
    assert len(words) == 700 and entries[-3:] == [900, 901, 902] and words.bos_token_id == 697
    assert words("a")["input_ids"][0] == 697 and words.eos_token_id == 699 and words.pad_token_id == 698
    assert words.batch_decode(words(texts)["input_ids"], skip_special_tokens=True) == texts
    kept, same = set(entries), 0
    for ids, text in zip(llama3(texts)["input_ids"], texts, strict=True):
        if kept.issuperset(ids):
            same += 1
            assert [entries[i] for i in words(text)["input_ids"]] == ids
    assert same > 30
    assert shrink.smallest_vocabulary(llama3) == 259 and words.padding_side == llama3.padding_side == "right"
    whole = json.loads(llama3.backend_tokenizer.to_str())
    _vocabulary.cut(whole, counts.tolist(), 700)
    assert [token["id"] for token in whole["added_tokens"]] == [697, 698, 699]
    assert (
        words.apply_chat_template([{"role": "user", "content": "x"}], tokenize=False) == "<|begin_of_text|>x<|eot_id|>"
    )


def test_a_tokenizer_with_byte_fallback():
    """Llama 2's kind: pieces of text, bytes as <0x..>, a start token in the post-processor; merges as strings."""
    bytes_ = [f"<0x{i:02X}>" for i in range(256)]
    names = ["<unk>", "<s>", "</s>", *bytes_, *"▁ethcat", "th", "▁th", "▁the", "at", "▁c", "▁cat"]
    vocabulary = {name: place for place, name in enumerate(dict.fromkeys(names))}
    merges = [("t", "h"), ("▁", "th"), ("▁th", "e"), ("a", "t"), ("▁", "c"), ("▁c", "at")]
    raw = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    whole = json.loads(raw.to_str())
    whole["model"]["merges"] = [" ".join(pair) for pair in merges]
    whole["added_tokens"] = [
        {"id": i, "content": name, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
         "special": True} for i, name in enumerate(("<unk>", "<s>", "</s>"))
    ]  # fmt: skip
    counts = [0] * len(vocabulary)
    for name in ("▁the", "▁th", "▁", "t", "h", "e"):
        counts[vocabulary[name]] = 100 if name == "▁the" else 1
    entries = _vocabulary.cut(whole, counts, 266)
    assert list(whole["model"]["vocab"]) == ["<unk>", "<s>", "</s>", *bytes_, *"▁eth", "th", "▁th", "▁the"]
    assert len(entries) == 266 and whole["model"]["merges"] == [["t", "h"], ["▁", "th"], ["▁th", "e"]]


@pytest.mark.parametrize("kind", ["WordPiece", "no bytes"])
def test_tokenizers_that_can_not_be_cut(tokenizer, kind):
    whole = json.loads(tokenizer.backend_tokenizer.to_str())
    if kind == "WordPiece":
        whole["model"]["type"] = kind
    else:
        whole["decoder"] = None
    with pytest.raises(CogumiError) as caught:
        _vocabulary.cut(whole, [1] * 800, 500)
    assert ("WordPiece" if kind == "WordPiece" else "spell bytes") in caught.value.found


def test_ids_in_old_post_processors_move():
    old = {"type": "Sequence", "processors": [{"type": "BertProcessing", "sep": ["</s>", 9], "cls": ["<s>", 4]}]}
    found = _vocabulary._renumbered(old, {9: 2, 4: 1})
    assert found["processors"][0] == {"type": "BertProcessing", "sep": ["</s>", 2], "cls": ["<s>", 1]}
    assert _vocabulary._renumbered(None, {}) is None


# --- shapes under a target


def test_parameters_are_those_of_the_real_model(parent):
    config = parent.config.to_dict()
    assert WHOLE.parameters(config) == student.parameter_count(parent) and shrink.shape_of(config) == WHOLE


def test_candidates_fit_and_can_not_grow(parent):
    config = parent.config.to_dict()
    target = 0.6 * WHOLE.bytes(config)
    shapes = shrink.candidates(config, target, vocabularies=(800, 500, 300))
    sizes = [shape.bytes(config) for shape in shapes]
    assert len(shapes) > 5 and sizes == sorted(sizes, reverse=True)
    for shape in shapes:
        assert shape.bytes(config) <= target and shape.ffn % 32 == 0 and shape.kv_heads != 3
        wider = replace(shape, ffn=shape.ffn + 32)
        assert shape.ffn == 128 or wider.bytes(config) > target
        for other in shapes:
            assert shape == other or any(getattr(shape, n) > getattr(other, n) for n in Shape.__dataclass_fields__)


def test_a_shape_counts_its_bytes_as_the_routes_do(parent, tokenizer, weighed):
    shape = Shape(1, 2, 64, WHOLE.vocab)
    smaller, _ = shrink.shrink(parent, tokenizer, weighed, shape)
    assert shape.bytes(parent.config.to_dict()) == rounded(smaller)[1].counted_bytes


def test_a_target_above_the_parent_leaves_the_parent(parent):
    assert shrink.candidates(parent.config.to_dict(), 1e9) == [WHOLE]


def test_the_eight_billion_under_520_mb():
    """The brief's target. FFN widths stay multiples of 256."""
    shapes = shrink.candidates(LLAMA_3_1_8B, 520e6, vocabularies=(128256, 32000))
    assert all(shape.ffn % 256 == 0 for shape in shapes)
    assert {shape.vocab for shape in shapes} == {32000}  # the two embeddings of 128,256 words alone are 1,051M
    assert max(shape.bytes(LLAMA_3_1_8B) for shape in shapes) <= 520e6
    assert shape_counts(shapes[0].config(LLAMA_3_1_8B)).total == shapes[0].parameters(LLAMA_3_1_8B)


def test_a_target_that_no_shape_reaches():
    with pytest.raises(CogumiError) as caught:
        shrink.candidates(LLAMA_3_1_8B, 520e6)
    least = Shape(1, 1, 256, 128256).bytes(LLAMA_3_1_8B)
    assert f"{least:,.0f}" in caught.value.expected and "520,000,000" in caught.value.found
