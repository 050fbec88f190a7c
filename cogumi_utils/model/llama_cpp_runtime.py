"""llama.cpp as a second runtime: a GGUF file loaded, its tokens, its distributions, its adapters.

Through llama.cpp's low-level interface, since many sequences share one batch there: llama_cpp's own class answers one
prompt at a time.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cogumi_utils.errors import CogumiError
from cogumi_utils.model.llama_cpp_library import Closed, last_error, lays_out_anew, library, native_batch

ARCHITECTURE = "llama"


class Piece(NamedTuple):
    """Tokens to add to a sequence from `position` on; distributions are wanted after those from `wanted` on."""

    sequence: int
    position: int
    ids: Sequence[int]
    wanted: int


class Runtime:
    """A GGUF file that llama.cpp has loaded, with memory for `sequences` texts of `context` tokens at once.

    Use it in a `with` statement, or call `close`: what llama.cpp holds is not Python's to collect.
    """

    def __init__(self, file: str | Path, *, threads: int, context: int, sequences: int, exact: bool, gpu_layers: int):
        self._library, self._stack = library(), ExitStack()
        self._adapters: dict[tuple[Path, int], int] = {}
        self._worn: tuple[list[int], list[float]] = ([], [])
        self.file, self.context, self.sequences = Path(file), context, sequences
        self._model = self._load(gpu_layers)
        self._vocabulary = self._library.llama_model_get_vocab(self._model)
        self.vocabulary_size = self._library.llama_vocab_n_tokens(self._vocabulary)
        self._context = self._make_context(threads, context, exact)
        self._memory = self._library.llama_get_memory(self._context)
        self._pieces: dict[int, bytes] = {}

    def __enter__(self) -> Runtime:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the memory back. Twice does no harm; everything else is a CogumiError afterwards."""
        self._stack.close()
        self._library = Closed()

    def _load(self, gpu_layers: int) -> int:
        parameters = self._library.llama_model_default_params()
        parameters.n_gpu_layers = gpu_layers
        parameters.use_extra_bufts = lays_out_anew(self._library)
        if not self.file.is_file():
            raise _no_model(self.file, "no such file")
        model = self._library.llama_model_load_from_file(os.fsencode(self.file), parameters)
        if not model:
            raise _no_model(self.file, last_error())
        self._stack.callback(self._library.llama_model_free, model)
        if (found := self._metadata(model, "general.architecture")) != ARCHITECTURE:
            self.close()
            raise _no_model(self.file, f"the architecture {found}")
        return model

    def _metadata(self, model: int, key: str) -> str:
        """A value of the file's metadata as text, "" where it is not there."""
        room = ctypes.create_string_buffer(1 << 10)
        length = self._library.llama_model_meta_val_str(model, key.encode(), room, len(room))
        return room.value.decode("utf-8", "replace") if length >= 0 else ""

    def _make_context(self, threads: int, context: int, exact: bool) -> int:
        trained = self._library.llama_model_n_ctx_train(self._model)
        if not (0 < context <= trained and 0 < self.sequences <= 256 and threads > 0):
            self.close()
            raise CogumiError(
                expected=f"1 to {trained} tokens, 1 to 256 sequences, at least 1 thread",
                found=f"context {context}, sequences {self.sequences}, threads {threads}",
                why="the model was trained on no longer texts, and llama.cpp keeps no more sequences",
                fix="lower `context` or `sequences`",
            )
        parameters = self._library.llama_context_default_params()
        parameters.n_ctx = parameters.n_batch = context * self.sequences
        parameters.n_seq_max = self.sequences
        parameters.n_threads = parameters.n_threads_batch = threads
        if exact:  # the flash kernel rounds to float16 on the way: 0.002 nats in a float32 model, 2 to 3 times as fast
            parameters.type_k = parameters.type_v = self._library.GGML_TYPE_F32
            parameters.flash_attn_type = self._library.LLAMA_FLASH_ATTN_TYPE_DISABLED
        made = self._library.llama_init_from_model(self._model, parameters)
        if not made:
            self.close()
            raise _failed(f"no context for {self.sequences} sequences of {context} tokens: {last_error()}")
        self._stack.callback(self._library.llama_free, made)
        return made

    def token_ids(self, texts: Sequence[str], special: bool = True) -> list[list[int]]:
        """Token ids of each text, nothing added around it.

        special: whether the characters of a special token, such as <|end|>, are that token.
        """
        return [self._token_ids(text.encode(), special) for text in texts]

    def _token_ids(self, text: bytes, special: bool) -> list[int]:
        room = (ctypes.c_int32 * max(1, len(text)))()  # byte-level: never more tokens than bytes
        count = self._library.llama_tokenize(self._vocabulary, text, len(text), room, len(room), False, special)
        if count < 0:
            raise _failed(f"a text of {len(text)} bytes gives {-count} tokens")
        return room[:count]

    def text(self, ids: Sequence[int]) -> str:
        """What the tokens stand for; special ones for nothing, as with skip_special_tokens in transformers."""
        return b"".join(map(self._piece, ids)).decode("utf-8", "replace")

    def _piece(self, token: int) -> bytes:
        """Asked of llama.cpp once a token. Its llama_detokenize would take spaces out that transformers keeps."""
        if token not in self._pieces:
            room = ctypes.create_string_buffer(1 << 10)
            count = self._library.llama_token_to_piece(self._vocabulary, token, room, len(room), 0, False)
            self._pieces[token] = room.raw[: max(0, count)]
        return self._pieces[token]

    def log_odds(self, pieces: Sequence[Piece]) -> np.ndarray:
        """Logits [wanted tokens, vocabulary] after the wanted tokens of each piece, in order: llama.cpp's own memory,
        so copy what must outlive the next call. Pieces of one call are of different sequences, in rising order.
        """
        lengths = [len(piece.ids) for piece in pieces]
        sequences, starts, wanted = (
            np.repeat(np.array(values, np.int32), lengths)
            for values in zip(*((piece.sequence, piece.position, piece.wanted) for piece in pieces), strict=True)
        )
        within = np.concatenate([np.arange(length, dtype=np.int32) for length in lengths])
        tokens = np.concatenate([np.array(piece.ids, np.int32) for piece in pieces])
        places, flags = starts + within, (within >= wanted).astype(np.int8)
        batch = native_batch(self._library, tokens, places, sequences, flags)
        if status := self._library.llama_decode(self._context, batch):
            raise _failed(f"llama_decode gave {status} for {len(tokens)} tokens: {last_error()}")
        pointer = self._library.llama_get_logits(self._context)
        return np.ctypeslib.as_array(pointer, (int(flags.sum()), self.vocabulary_size))

    def forget(self, sequence: int | None = None) -> None:
        """Empty one sequence, or all of them."""
        if sequence is None:
            self._library.llama_memory_clear(self._memory, False)
        else:
            self._library.llama_memory_seq_rm(self._memory, sequence, -1, -1)

    @contextmanager
    def adapter(self, file: str | Path, scale: float = 1.0) -> Iterator[Runtime]:
        """The model with a GGUF LoRA adapter, until the `with` block ends; then with what it had before.
        A file is read once, while it stays the same. Raises CogumiError for what is no adapter of this model.
        """
        before = self._worn
        self._wear([self._adapter(Path(file))], [scale])
        try:
            yield self
        finally:
            if not isinstance(self._library, Closed):
                self._wear(*before)

    def _adapter(self, file: Path) -> int:
        if not file.is_file():
            raise _no_adapter(file, self.file, "no such file")
        key = (file, file.stat().st_mtime_ns)  # a file that was written again is another adapter
        if key not in self._adapters:
            found = self._library.llama_adapter_lora_init(self._model, os.fsencode(file))
            if not found:
                raise _no_adapter(file, self.file, last_error())
            self._stack.callback(self._library.llama_adapter_lora_free, found)
            self._adapters[key] = found
        return self._adapters[key]

    def _wear(self, adapters: list[int], scales: list[float]) -> None:
        self.forget()  # what is remembered was computed with other weights
        pointers = (self._library.llama_adapter_lora_p_ctypes * len(adapters))(*adapters)
        factors = (ctypes.c_float * len(scales))(*scales)
        self._library.llama_set_adapters_lora(self._context, pointers, len(adapters), factors)
        self._worn = (adapters, scales)


def load(
    file: str | Path, *, threads: int = 1, context: int = 512, sequences: int = 64, exact: bool = False,
    gpu_layers: int = 0,
) -> Runtime:  # fmt: skip
    """A model from a GGUF file of the Llama architecture.

    context: tokens of one text with its answer; sequences: texts computed at once; exact: float32 keys, values and
    attention, for comparisons with a float32 model. Raises CogumiError for anything but a whole file of a Llama.
    """
    return Runtime(file, threads=threads, context=context, sequences=sequences, exact=exact, gpu_layers=gpu_layers)


def _no_model(file: Path, found: str) -> CogumiError:
    return CogumiError(
        expected="a whole GGUF file of the Llama architecture",
        found=f"{file}: {found}",
        why="llama.cpp runs what the file says",
        fix="export the model again (gguf_export.export), or copy the file again",
    )


def _no_adapter(file: Path, base: Path, found: str) -> CogumiError:
    return CogumiError(
        expected=f"a GGUF LoRA adapter for {base}",
        found=f"{file}: {found}",
        why="an adapter fits the base that it was trained on",
        fix="export it with gguf_adapter.export_adapter and that base's folder",
    )


def _failed(found: str) -> CogumiError:
    return CogumiError(
        expected="llama.cpp to compute what it was asked for",
        found=found,
        why="there is no answer without it",
        fix="load the file with fewer `sequences` or a smaller `context`; if that does not help, report this as a bug",
    )
