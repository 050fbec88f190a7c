"""Runners read what they are told to and answer as the models behind them do."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from cogumi_utils.compress.gguf import export as gguf_export
from cogumi_utils.compress.gguf import read as gguf_read
from cogumi_utils.judge.speed import kv_bytes_per_token
from cogumi_utils.model import runners, student


@pytest.fixture(scope="module")
def loaded(base):
    return student.load(base)[0]


@pytest.fixture(scope="module")
def in_transformers(loaded):
    return runners.TransformersRunner(loaded)


@pytest.fixture(scope="module")
def opened(base, loaded, tmp_path_factory):
    file = gguf_export.export(base, tmp_path_factory.mktemp("gguf") / "m.gguf", dtype="F32")
    return partial(
        runners.open_llama_cpp, str(file), weight_bytes=gguf_read.bytes_per_token(file),
        kv_bytes=kv_bytes_per_token(loaded.config.to_dict()), context=256,
    )  # fmt: skip


@pytest.fixture(scope="module")
def in_llama_cpp(opened):
    runner = opened()
    yield runner
    runner.runtime.close()


def test_both_choose_the_same_tokens(in_transformers, in_llama_cpp):
    for prompt, steps in ((5, (1, 1, 1, 3)), (9, (2,))):  # the second prompt forgets the first
        chosen = []
        for runner in (in_transformers, in_llama_cpp):
            runner.prompt(prompt)
            found = [int(runner._next)]
            for count in steps:
                runner.generate(count)
                found.append(int(runner._next))
            chosen.append(found)
        assert chosen[0] == chosen[1]


def test_they_are_the_tokens_of_generate(in_transformers, loaded):
    ids = torch.tensor([runners._random_ids(loaded.config.vocab_size, 7)])
    expected = loaded.generate(ids, max_new_tokens=4, do_sample=False, eos_token_id=None, pad_token_id=0)[
        0, 7:
    ].tolist()
    in_transformers.prompt(7)
    found = [int(in_transformers._next)]
    for _ in range(3):
        in_transformers.generate(1)
        found.append(int(in_transformers._next))
    assert found == expected


def test_the_cache_grows_by_what_was_read(in_transformers, in_llama_cpp):
    in_transformers.prompt(6)
    in_transformers.generate(3)
    assert in_transformers._cache.get_seq_length() == 9
    in_llama_cpp.prompt(6)
    in_llama_cpp.generate(3)
    assert in_llama_cpp._length == 9


def test_bytes_are_those_of_the_weights(in_transformers, in_llama_cpp, loaded):
    assert in_transformers.weight_bytes == 4 * student.parameter_count(loaded) == in_llama_cpp.weight_bytes
    assert in_transformers.kv_bytes == 2 * in_llama_cpp.kv_bytes  # float32 and float16


def test_an_untied_embedding_is_only_looked_up(small_shape):
    from transformers import LlamaForCausalLM

    config = student.small_llama(100, seed=1, **small_shape).config
    config.tie_word_embeddings = False
    model = LlamaForCausalLM(config)
    looked_up = 100 * small_shape["hidden"]
    assert runners.TransformersRunner(model).weight_bytes == 4 * (student.parameter_count(model) - looked_up)


def test_memory_is_that_of_a_process_of_its_own(opened):
    found = runners.peak_memory(opened, prompt_tokens=8, new_tokens=2)
    assert 1e7 < found.before < found.peak < 2e9
