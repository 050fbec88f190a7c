"""An adapter that is shipped beside a GGUF file: what both answer together in llama.cpp, and how near its bytes are to
their bound.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from cogumi_utils.compress import archive
from cogumi_utils.compress.ledger import File
from cogumi_utils.judge import grade
from cogumi_utils.model import llama_cpp_answers, llama_cpp_runtime
from cogumi_utils.schema import Example

if TYPE_CHECKING:
    import pandas as pd
    from transformers import PreTrainedTokenizerBase


def graded(
    file: str | Path, adapter: str | Path, tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example], *,
    max_new_tokens: int, context: int = 512, threads: int = 0,
) -> pd.DataFrame:  # fmt: skip
    """The frame of `judge.grade`: answers of llama.cpp with the GGUF file and the GGUF adapter on it.

    context: tokens of one text with its answer, at most. threads: 0 for as many as torch takes.
    """
    threads = threads or torch.get_num_threads()
    with llama_cpp_runtime.load(file, threads=threads, context=context) as runtime, runtime.adapter(adapter):
        answer = llama_cpp_answers.answerer(runtime, tokenizer, max_new_tokens=max_new_tokens)
        return grade.evaluate(examples, answer)


def alike(one: pd.DataFrame, other: pd.DataFrame) -> int:
    """How many answers are equal to the letter. The frames' rows go by their ids; `one` may hold more of them."""
    there = one.set_index("id")["answer"]
    return int((there.loc[other["id"]].to_numpy() == other["answer"].to_numpy()).sum())


def entry(file: Path, weights: int) -> File:
    """For `ledger.written`. bound: order-0 entropy of the file's bytes, split by place in each number and by tensor."""
    bounds = archive.entropies(file, levels=()).set_index("planes")["entropy"]
    return File(file.name, weights, float(bounds["best"]), file.stat().st_size)
