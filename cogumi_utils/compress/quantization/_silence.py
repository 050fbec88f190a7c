"""Libraries that talk while they work and cannot be told not to."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout

_TRACER = logging.getLogger("torch.fx._symbolic_trace")  # tells that llm-compressor traces the model


@contextmanager
def silent() -> Iterator[None]:
    """Nothing is printed: compressed-tensors and transformers show a progress bar for each step of loading and saving,
    llm-compressor logs while it is imported. Errors are raised as ever.
    """
    level = _TRACER.level
    _TRACER.setLevel(logging.ERROR)
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            yield
    finally:
        _TRACER.setLevel(level)
