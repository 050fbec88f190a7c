"""Runners for `judge.speed`: a transformers model and a GGUF file in llama.cpp, one sequence, greedy."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from cogumi_utils import hardware
from cogumi_utils.judge.speed import Runner, kv_bytes_per_token
from cogumi_utils.model.llama_cpp_runtime import Piece, Runtime

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def _random_ids(vocabulary: int, count: int) -> list[int]:
    return np.random.default_rng(1).integers(0, vocabulary, count).tolist()


class LlamaCppRunner:
    """weight_bytes: what each generated token reads of the file (`gguf_read.bytes_per_token`); kv_bytes: of each token
    before it (`speed.kv_bytes_per_token`).
    """

    def __init__(self, runtime: Runtime, *, weight_bytes: float, kv_bytes: float):
        self.runtime, self.weight_bytes, self.kv_bytes = runtime, weight_bytes, kv_bytes
        self._length, self._next = 0, 0

    def prompt(self, tokens: int) -> None:
        self.runtime.forget()
        ids = _random_ids(self.runtime.vocabulary_size, tokens)
        self._next = int(self.runtime.log_odds([Piece(0, 0, ids, tokens - 1)]).argmax())
        self._length = tokens

    def generate(self, tokens: int) -> None:
        for _ in range(tokens):
            self._next = int(self.runtime.log_odds([Piece(0, self._length, [self._next], 0)]).argmax())
            self._length += 1


class TransformersRunner:
    """Forward by forward with its cache: `generate()` itself adds its own time a token on top."""

    def __init__(self, model: PreTrainedModel):
        config, tied = model.config, model.config.tie_word_embeddings
        looked_up = 0 if tied else model.get_input_embeddings().weight.nbytes
        self.model = model.eval()
        self.weight_bytes = sum(values.nbytes for values in model.parameters()) - looked_up
        self.kv_bytes = kv_bytes_per_token(config.to_dict(), model.dtype.itemsize)
        self._cache, self._next = None, None

    def prompt(self, tokens: int) -> None:
        import torch

        ids = torch.tensor([_random_ids(self.model.config.vocab_size, tokens)], device=self.model.device)
        self._cache = None
        self._step(ids)

    def generate(self, tokens: int) -> None:
        for _ in range(tokens):
            self._step(self._next)

    def _step(self, ids) -> None:
        import torch

        model = self.model
        with torch.inference_mode():
            output = model(input_ids=ids, past_key_values=self._cache, use_cache=True, logits_to_keep=1)
        self._cache, self._next = output.past_key_values, output.logits[:, -1].argmax(-1, keepdim=True)
        if ids.is_cuda:
            torch.cuda.synchronize()


class Memory(NamedTuple):
    """Resident bytes of a process at its peak, and before it loaded the model (Python and libraries)."""

    peak: int
    before: int


def peak_memory(make: Callable[[], Runner], *, prompt_tokens: int = 128, new_tokens: int = 64) -> Memory:
    """Of a fresh process that makes a runner and answers once. make: importable and picklable, as `functools.partial`
    of a module's function is. Weights that llama.cpp maps from the file count as far as they were read.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_measured, make, prompt_tokens, new_tokens).result()


def _measured(make: Callable[[], Runner], prompt_tokens: int, new_tokens: int) -> Memory:
    before = hardware.peak_memory_bytes()
    runner = make()
    runner.prompt(prompt_tokens)
    runner.generate(new_tokens)
    return Memory(hardware.peak_memory_bytes(), before)


def open_llama_cpp(
    file: str, *, weight_bytes: float, kv_bytes: float, threads: int = 1, context: int = 512, gpu_layers: int = 0
) -> Runner:
    """A runner for a GGUF file; give it back with `runner.runtime.close()`."""
    from cogumi_utils.model import llama_cpp_runtime

    runtime = llama_cpp_runtime.load(file, threads=threads, context=context, sequences=1, gpu_layers=gpu_layers)
    return LlamaCppRunner(runtime, weight_bytes=weight_bytes, kv_bytes=kv_bytes)


def open_transformers(folder: str, *, dtype: str = "float32", threads: int = 1, device: str = "cpu") -> Runner:
    """A runner for a Hugging Face folder."""
    import torch

    from cogumi_utils.model import student

    torch.set_num_threads(threads)
    return TransformersRunner(student.load(folder, dtype=getattr(torch, dtype), device_map=device)[0])
