"""llama.cpp as a second runtime gives what transformers gives, and says in four lines what it can't."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import numpy as np
import pytest

from cogumi_utils.compress.gguf import adapter as gguf_adapter
from cogumi_utils.compress.gguf import export as gguf_export
from cogumi_utils.errors import CogumiError
from cogumi_utils.judge import fidelity
from cogumi_utils.model import generate, llama_cpp_answers, llama_cpp_library, llama_cpp_runtime, merge, score, student

CONTEXT = 256  # of the base


@pytest.fixture(scope="module")
def file(base, tmp_path_factory) -> Path:
    return gguf_export.export(base, tmp_path_factory.mktemp("gguf") / "m.gguf", dtype="F32")


@pytest.fixture(scope="module")
def lora(base, adapter, tmp_path_factory) -> Path:
    return gguf_adapter.export_adapter(adapter, base, tmp_path_factory.mktemp("gguf") / "a.gguf")


@pytest.fixture(scope="module")
def runtime(file):
    with llama_cpp_runtime.load(file, context=CONTEXT, exact=True) as loaded:
        yield loaded


@pytest.fixture(scope="module")
def loaded(base):
    return student.load(base)


@pytest.fixture(scope="module")
def lively(tokenizer, tmp_path_factory) -> Path:
    """Random and sharp: each text goes its own way, and no two tokens are equally likely."""
    model = student.small_llama(len(tokenizer), seed=2, hidden=64, layers=2, heads=4, kv_heads=2, ffn=96, context=256)
    for name, values in model.named_parameters():
        if "norm" not in name:
            values.data *= 5
    folder = student.save(model, tokenizer, tmp_path_factory.mktemp("lively") / "m")
    return gguf_export.export(folder, folder.parent / "m.gguf", dtype="F32")


@pytest.fixture(scope="module")
def texts(rows) -> list[str]:
    return [row.prompt[-1]["content"] for row in rows]


@pytest.fixture(scope="module")
def expected(lively, texts) -> dict[str, list[str]]:
    """{token to end with: answers of transformers}; commas come soon and late and never."""
    model, tokenizer = student.load(lively.parent / "m")
    return {stop: generate.complete(model, tokenizer, texts, stop=stop, max_new_tokens=24) for stop in ("<|end|>", ",")}


def test_log_probs_are_those_of_transformers(runtime, loaded, rows):
    found = list(llama_cpp_answers.answer_log_probs(runtime, loaded[1], rows))
    theirs = list(score.answer_log_probs(*loaded, rows))
    assert [one.shape for one in found] == [one.shape for one in theirs]
    assert {one.dtype for one in found} == {np.dtype("float32")}
    assert max(np.abs(one - other).max() for one, other in zip(found, theirs, strict=True)) < 1e-4


def test_both_are_compared_alike(runtime, loaded, rows):
    both = (
        scored(rows)
        for scored in (lambda r: score.answer_log_probs(*loaded, r), lambda r: log_probs(runtime, loaded, r))
    )
    found = fidelity.compare(*both, score.answer_ids(loaded[1], rows), seed=1)
    assert found.kl.value < 1e-6 and found.agreement.value == 1 and abs(found.perplexity_ratio.value - 1) < 1e-5


def log_probs(runtime, loaded, rows):
    return llama_cpp_answers.answer_log_probs(runtime, loaded[1], rows)


@pytest.mark.parametrize("sequences", [1, 3])
def test_how_many_share_a_batch_does_not_matter(sequences, file, runtime, loaded, rows):
    with llama_cpp_runtime.load(file, context=CONTEXT, sequences=sequences, exact=True) as other:
        for one, two in zip(log_probs(other, loaded, rows), log_probs(runtime, loaded, rows), strict=True):
            assert np.abs(one - two).max() < 1e-4


def test_groups_keep_within_their_memory(runtime, loaded, rows, monkeypatch):
    whole = list(log_probs(runtime, loaded, rows))
    monkeypatch.setattr(llama_cpp_answers, "_MOST_LOGITS", 40 * runtime.vocabulary_size)
    for one, two in zip(log_probs(runtime, loaded, rows), whole, strict=True):
        assert np.abs(one - two).max() < 1e-4


@pytest.mark.parametrize("stop", ["<|end|>", ","])
@pytest.mark.parametrize("sequences", [1, 5, 64])
def test_greedy_answers_are_those_of_transformers(stop, sequences, lively, texts, expected):
    """A sequence that has ended makes room for the next text."""
    with llama_cpp_runtime.load(lively, context=CONTEXT, sequences=sequences, exact=True) as runtime:
        assert llama_cpp_answers.complete(runtime, texts, max_new_tokens=24, stop=stop) == expected[stop]


def test_some_answers_end_early_and_some_at_the_limit(expected):
    lengths = [len(answer) for answer in expected[","]]
    assert len(set(expected["<|end|>"])) > 50 and len(set(lengths)) > 20
    assert 0 < sum(one != other for one, other in zip(*expected.values(), strict=True)) < len(lengths)


def answers(runtime, loaded, rows, max_new_tokens: int = 24) -> list[str]:
    asked = [row.prompt for row in rows]
    return llama_cpp_answers.answerer(runtime, loaded[1], max_new_tokens=max_new_tokens)(asked)


def test_chats_are_answered_as_by_transformers(runtime, loaded, rows):
    expected = generate.answerer(*loaded, max_new_tokens=24)([row.prompt for row in rows])
    assert answers(runtime, loaded, rows) == expected and len(set(expected)) > 3


def test_a_file_is_loaded_for_its_answers(file, runtime, loaded, rows):
    prompts = [row.prompt for row in rows]
    answer = llama_cpp_answers.file_answerer(file, loaded[1], max_new_tokens=24, context=CONTEXT, exact=True)
    assert answer(prompts) == llama_cpp_answers.answerer(runtime, loaded[1], max_new_tokens=24)(prompts)


def test_an_answer_ends_at_its_limit(lively, texts, expected):
    theirs = generate.complete(*student.load(lively.parent / "m"), texts, stop="<|end|>", max_new_tokens=3)
    with llama_cpp_runtime.load(lively, context=CONTEXT, exact=True) as runtime:
        assert llama_cpp_answers.complete(runtime, texts, max_new_tokens=3, stop="<|end|>") == theirs
    assert theirs != expected["<|end|>"]


def test_nothing_asked_nothing_answered(runtime, loaded):
    assert answers(runtime, loaded, []) == [] and list(log_probs(runtime, loaded, [])) == []


def test_texts_come_back_from_their_tokens(runtime):
    for text in ("a b  c", "Grüße, 東京 🚀\n", " .", "it's 1 , 2"):
        assert runtime.text(runtime.token_ids([text])[0]) == text
    assert runtime.text(runtime.token_ids(["<|user|>hello<|end|>"])[0]) == "hello"
    assert runtime.text(runtime.token_ids(["é"])[0][:1]) == "\ufffd"


def test_an_adapter_is_put_on_and_taken_off(runtime, loaded, rows, base, adapter, lora):
    adapted, tokenizer = merge.put_on(base, adapter)
    plain = list(log_probs(runtime, loaded, rows))
    with runtime.adapter(lora):
        worn = list(log_probs(runtime, loaded, rows))
        theirs = list(score.answer_log_probs(adapted, tokenizer, rows))
        assert max(np.abs(one - two).max() for one, two in zip(worn, theirs, strict=True)) < 1e-4
        with runtime.adapter(lora, scale=0.0):
            assert same(log_probs(runtime, loaded, rows), plain)
        assert same(log_probs(runtime, loaded, rows), worn)
    assert same(log_probs(runtime, loaded, rows), plain) and not same(plain, worn)


def same(one, other) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_an_adapter_that_was_written_again_is_read_again(runtime, loaded, rows, lora, tmp_path):
    file = tmp_path / "a.gguf"
    file.write_bytes(lora.read_bytes())
    with runtime.adapter(file):
        before = list(log_probs(runtime, loaded, rows[:3]))
    data = bytearray(lora.read_bytes())
    data[-4096:] = bytes(4096)
    file.write_bytes(data)
    with runtime.adapter(file):
        assert not same(log_probs(runtime, loaded, rows[:3]), before)


def test_what_was_computed_with_other_weights_is_forgotten(runtime, lora):
    """Position 0 again is an error while the sequence is remembered."""
    start = [llama_cpp_runtime.Piece(0, 0, [7, 8, 9], 0)]
    runtime.forget()
    runtime.log_odds(start)
    with pytest.raises(CogumiError, match="llama_decode gave -1 for 3 tokens"):
        runtime.log_odds(start)
    for _ in range(2):
        with runtime.adapter(lora):
            assert runtime.log_odds(start).shape == (3, runtime.vocabulary_size)
    assert runtime.log_odds(start).shape == (3, runtime.vocabulary_size)


NO_MODELS = {
    "nothing": lambda file: None,
    "a text": lambda file: b"hello",
    "an empty file": lambda file: b"",
    "half a file": lambda file: file.read_bytes()[: file.stat().st_size // 2],
    "the beginning": lambda file: file.read_bytes()[:2000],
    "a byte less": lambda file: file.read_bytes()[:-1],
    "another architecture": lambda file: file.read_bytes().replace(b"llama", b"qwen2"),
    "an architecture unheard of": lambda file: file.read_bytes().replace(b"llama", b"lxxxx"),
}
REASONS = {
    "nothing": "no such file", "half a file": "not within the file bounds", "another architecture": "qwen2",
    "an architecture unheard of": "lxxxx",
}  # fmt: skip


@pytest.mark.parametrize("case", NO_MODELS)
def test_what_is_no_model_is_refused_quietly(case, file, tmp_path, capfd):
    other, data = tmp_path / "other.gguf", NO_MODELS[case](file)
    if data is not None:
        other.write_bytes(data)
    with pytest.raises(CogumiError, match=f"(?s)a whole GGUF file.*{REASONS.get(case, 'other.gguf')}"):
        llama_cpp_runtime.load(other)
    assert capfd.readouterr() == ("", "")


def test_an_adapter_is_no_model_and_a_model_no_adapter(runtime, file, lora, tmp_path):
    with pytest.raises(CogumiError, match="a whole GGUF file"):
        llama_cpp_runtime.load(lora)
    (tmp_path / "text").write_text("hello")
    for wrong in (file, tmp_path / "text", tmp_path / "nowhere"):
        with pytest.raises(CogumiError, match=f"(?s)LoRA adapter for.*{wrong}"), runtime.adapter(wrong):
            pass


def test_an_adapter_of_another_base_is_refused(runtime, tokenizer, tmp_path):
    import torch
    from peft import LoraConfig, get_peft_model

    from cogumi_utils.model import sft

    shape = {"hidden": 32, "layers": 1, "heads": 2, "kv_heads": 2, "ffn": 64, "context": 64}
    other = student.small_llama(len(tokenizer), seed=1, **shape)
    student.save(other, tokenizer, tmp_path / "base")
    torch.manual_seed(1)
    adapted = get_peft_model(other, LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM"))
    sft.save_adapter(adapted, tmp_path / "adapter", "x")
    file = gguf_adapter.export_adapter(tmp_path / "adapter", tmp_path / "base", tmp_path / "a.gguf")
    with pytest.raises(CogumiError, match="(?s)LoRA adapter for.*incorrect shape"), runtime.adapter(file):
        pass


@pytest.mark.parametrize(
    "options",
    [{"context": 257}, {"context": 0}, {"sequences": 0}, {"sequences": 257}, {"threads": 0}],
)
def test_more_than_the_model_has_is_refused(options, file):
    with pytest.raises(CogumiError, match="1 to 256 tokens"):
        llama_cpp_runtime.load(file, **{"context": CONTEXT, **options})


def test_a_text_that_does_not_fit_is_refused(runtime, loaded, rows):
    with pytest.raises(CogumiError, match=f"texts of 1 to {CONTEXT} tokens"):
        llama_cpp_answers.complete(runtime, ["a b " * 200], max_new_tokens=1, stop="<|end|>")
    with pytest.raises(CogumiError, match="lower `max_new_tokens`"):
        answers(runtime, loaded, rows[:1], max_new_tokens=CONTEXT)
    with pytest.raises(CogumiError, match="an empty one"):
        llama_cpp_answers.complete(runtime, ["a", ""], max_new_tokens=1, stop="<|end|>")
    with pytest.raises(CogumiError, match="at least one new token"):
        llama_cpp_answers.complete(runtime, ["a"], max_new_tokens=0, stop="<|end|>")


def test_a_stop_that_is_no_token_is_refused(runtime):
    with pytest.raises(CogumiError, match="which is 2 tokens"):
        llama_cpp_answers.complete(runtime, ["a"], max_new_tokens=1, stop="<|end|><|end|>")


def test_a_closed_model_answers_no_more(file, lora):
    with llama_cpp_runtime.load(file, context=CONTEXT) as closed:
        closed.token_ids(["a"])
    closed.close()
    for use in (lambda: closed.token_ids(["a"]), lambda: closed.forget(), lambda: closed.adapter(lora).__enter__()):
        with pytest.raises(CogumiError, match="one that was closed"):
            use()


def test_its_memory_is_given_back(file, lora):
    """20 caches of 64 sequences would take 700 MB if they stayed."""
    peaks = []
    for _ in range(20):
        with llama_cpp_runtime.load(file, context=CONTEXT, exact=True) as one, one.adapter(lora):
            one.log_odds([llama_cpp_runtime.Piece(0, 0, [1, 2, 3], 0)])
        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024))
    assert peaks[-1] - peaks[1] < 100e6


def test_nothing_is_loaded_at_import():
    import subprocess

    script = "import sys, cogumi_utils.model.llama_cpp_runtime; print('llama_cpp' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.stdout.splitlines()[-1:] == ["False"]


@pytest.mark.parametrize(
    ("built_for", "anew"), [("AVX512_VNNI = 1 | AMX_INT8 = 1 | REPACK = 1", False), ("NEON = 1", True)]
)
def test_where_llama_cpp_would_compute_in_tiles_weights_stay_as_the_file_has_them(built_for, anew, file, monkeypatch):
    native, given = llama_cpp_library.library(), []
    load = native.llama_model_load_from_file
    monkeypatch.setattr(native, "llama_print_system_info", lambda: f"CPU : {built_for} | ".encode())
    monkeypatch.setattr(
        native, "llama_model_load_from_file",
        lambda path, parameters: given.append(bool(parameters.use_extra_bufts)) or load(path, parameters),
    )  # fmt: skip
    llama_cpp_runtime.Runtime(file, threads=1, context=64, sequences=1, exact=True, gpu_layers=0).close()
    assert given == [anew]
