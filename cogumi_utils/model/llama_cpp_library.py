"""llama_cpp's shared library: loaded at first use, quiet, its errors kept, its batches filled from arrays."""

from __future__ import annotations

import ctypes
from collections import deque
from typing import Any, NoReturn

import numpy as np

from cogumi_utils.errors import CogumiError

_LOG_ERROR = 4  # ggml.h, enum ggml_log_level
_errors: deque[str] = deque(maxlen=8)  # the last messages: the only place where llama.cpp says why
_callback: list[Any] = []  # one for the process; it must outlive every call into the library


def library() -> Any:
    """The module llama_cpp. Its import loads the library, and takes a second or more."""
    import llama_cpp

    if not _callback:
        _callback.append(llama_cpp.llama_log_callback(_keep_errors))
        llama_cpp.llama_log_set(_callback[0], None)
        llama_cpp.llama_backend_init()
    return llama_cpp


def lays_out_anew(native: Any) -> bool:
    """Whether weights may be laid out for this CPU as they are loaded. native: the module llama_cpp.

    Not where llama.cpp was built for AMX (Xeons since Sapphire Rapids): compilers drop what it writes into the tiles'
    configuration, and the first product ends the process (ggml-org/llama.cpp, pull request 26954). In the file's own
    layout AMX is not used, the vector units are.
    """
    return b"AMX_INT8 = 1" not in native.llama_print_system_info()


def _keep_errors(level: int, text: bytes, _: object) -> None:
    if level == _LOG_ERROR:
        _errors.append(text.decode("utf-8", "replace").strip())


def last_error() -> str:
    """What went wrong since this was last asked, in llama.cpp's words."""
    found = "; ".join(_errors)
    _errors.clear()
    return found or "llama.cpp gave no reason"


class Closed:
    """In the library's place once a model is given back: a call with a stale pointer would end the process."""

    def __getattr__(self, name: str) -> NoReturn:
        raise CogumiError(
            expected="a model that is loaded",
            found=f"one that was closed, asked for {name}",
            why="its memory has been given back",
            fix="call it inside the `with` block, or load the file again",
        )


def native_batch(native: Any, tokens: np.ndarray, places: np.ndarray, sequences: np.ndarray, wanted: np.ndarray) -> Any:
    """llama_batch over the arrays (int32, `wanted` int8), without a loop over tokens. native: the module llama_cpp."""
    count, numbers = len(tokens), ctypes.POINTER(ctypes.c_int32)
    addresses = sequences.ctypes.data + sequences.itemsize * np.arange(count, dtype=np.uintp)
    each = np.ones(count, np.int32)  # every token is of one sequence
    token, position, sequence_count = (array.ctypes.data_as(numbers) for array in (tokens, places, each))
    sequence = addresses.ctypes.data_as(ctypes.POINTER(numbers))
    flags = wanted.ctypes.data_as(ctypes.POINTER(ctypes.c_int8))
    batch = native.llama_batch(count, token, None, position, sequence_count, sequence, flags)
    batch.arrays = (tokens, places, sequences, wanted, addresses, each)  # ctypes keeps addresses, not arrays
    return batch
