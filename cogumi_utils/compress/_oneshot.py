"""llm-compressor's one-shot run as a plain function: quiet, nothing written, nothing left behind."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from tempfile import TemporaryDirectory
from typing import Any

from datasets import Dataset
from torch.utils.data import DataLoader
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from cogumi_utils.model.transfer import Packed


def one_shot_run(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, modifier: Callable[[], Any], rows: Packed, *,
    batch: int = 16,
) -> None:  # fmt: skip
    """Apply one of llm-compressor's modifiers to `model` in place, layer by layer, calibrated on `rows`.

    modifier: makes it; called here, so that the slow and noisy import happens here. Sums over rows do not depend on
    `batch` but for roundings.
    """
    with quiet():  # around the import as well
        from llmcompressor import oneshot
        from llmcompressor.core import create_session

        columns = {"input_ids": rows.ids, "position_ids": rows.positions}
        data = Dataset.from_dict({name: tensor.tolist() for name, tensor in columns.items()}).with_format("torch")
        with _nameless(model), create_session():
            oneshot(model=model, processor=tokenizer, recipe=modifier(), dataset=DataLoader(data, batch_size=batch))


@contextmanager
def quiet() -> Iterator[None]:
    """llm-compressor without its log (which the import turns on), bars and warnings; torch without its own on it."""
    tracing = logging.getLogger("torch.fx._symbolic_trace")
    level = tracing.level
    tracing.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            from llmcompressor import LoggerConfig, configure_logger

            configure_logger(LoggerConfig(console_log_level=None))  # `disabled` would break its level METRIC
            yield
    finally:
        tracing.setLevel(level)


@contextmanager
def _nameless(model: PreTrainedModel) -> Iterator[None]:
    """It reads the configuration from where the model came from, which may be gone, and stays in `save_pretrained`."""
    name = model.config._name_or_path
    with TemporaryDirectory() as folder:
        model.config.save_pretrained(folder)
        model.config._name_or_path = folder
        try:
            yield
        finally:
            model.config._name_or_path = name
            model.__dict__.pop("save_pretrained", None)
