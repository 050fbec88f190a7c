"""A GGUF file with its adapter answers as transformers does with both, and its bytes have their bound."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pandas as pd
import pytest
import torch
from peft import PeftModel, get_peft_model

from cogumi_utils.compress import ledger
from cogumi_utils.compress.gguf import adapter as gguf_adapter
from cogumi_utils.compress.gguf import export as gguf_export
from cogumi_utils.compress.gguf import shipped
from cogumi_utils.judge import grade
from cogumi_utils.model import generate, sft, student


@pytest.fixture(scope="module")
def adapter(base, tmp_path_factory) -> Path:
    """Random B, so that it changes answers."""
    torch.manual_seed(3)
    adapted = get_peft_model(student.load(base)[0], sft.lora(4))
    for name, values in adapted.named_parameters():
        if "lora_B" in name:
            values.data = torch.randn_like(values) / 4
    return sft.save_adapter(adapted, tmp_path_factory.mktemp("adapter") / "a", "00_student/model")


@pytest.fixture(scope="module")
def files(base, adapter, tmp_path_factory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("gguf")
    return (gguf_export.export(base, folder / "m.gguf", dtype="F32"),
            gguf_adapter.export_adapter(adapter, base, folder / "a.gguf", dtype="F32"))  # fmt: skip


def test_file_and_adapter_answer_as_the_adapted_model(base, adapter, files, rows):
    model, tokenizer = student.load(base)
    without = grade.evaluate(rows, generate.answerer(model, tokenizer, max_new_tokens=8))
    adapted = PeftModel.from_pretrained(model, adapter)
    expected = grade.evaluate(rows, generate.answerer(adapted, tokenizer, max_new_tokens=8))
    found = shipped.graded(*files, tokenizer, rows, max_new_tokens=8, context=256)
    assert list(found["id"]) == list(expected["id"]) and list(found.columns) == list(expected.columns)
    assert shipped.alike(expected, found) > 0.97 * len(rows)
    assert shipped.alike(without, found) < 0.5 * len(rows)


def test_answers_are_matched_by_their_ids():
    one = pd.DataFrame({"id": list("abcd"), "answer": ["1", "2", "3", "4"]})
    assert shipped.alike(one, pd.DataFrame({"id": ["d", "a", "c"], "answer": ["4", "2", "3"]})) == 2


def test_the_bound_is_below_a_file_of_floats_and_above_its_values_alone(files):
    entry = shipped.entry(files[1], 1000)
    assert (entry.name, entry.weights, entry.file_bytes) == ("a.gguf", 1000, files[1].stat().st_size)
    planes = sum(_plane_bytes(tensor.data) for tensor in gguf.GGUFReader(files[1]).tensors)
    assert 0.9 * planes < entry.bound_bytes < entry.file_bytes
    assert ledger.written([entry])["bytes"].tolist() == [entry.file_bytes]


def _plane_bytes(values: np.ndarray) -> float:
    """Order-0 entropy of each byte's place in the numbers of one tensor, bytes."""
    total = 0.0
    for plane in np.ascontiguousarray(values).view(np.uint8).reshape(-1, values.itemsize).T:
        counts = np.unique(plane, return_counts=True)[1]
        total -= (counts * np.log2(counts / counts.sum())).sum() / 8
    return total
