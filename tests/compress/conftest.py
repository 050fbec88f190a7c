"""A small base that has read a little, made once for all tests of adapters."""

from __future__ import annotations

from pathlib import Path

import pytest

from cogumi_utils.data import corpus, skills
from cogumi_utils.schema import Example

SHAPE = {"hidden": 64, "layers": 1, "heads": 2, "kv_heads": 2, "ffn": 128, "context": 256}


@pytest.fixture(scope="session")
def base(tmp_path_factory) -> Path:
    """60 steps: enough to have preferences, so that greedy answers don't hang by a rounding."""
    import torch

    from cogumi_utils.model import pretrain, student

    torch.set_num_threads(1)
    tokenizer = student.train_tokenizer(corpus.sample(1, 3000), 800)
    model = student.small_llama(len(tokenizer), seed=1, **SHAPE)
    rows = pretrain.reading(
        tokenizer, seed=1, steps=60, warm_steps=5, batch=8, length=64, repeat_share=0.05, fact_share=0.3
    )
    pretrain.pretrain(model, rows, batch=8)
    return student.save(model, tokenizer, tmp_path_factory.mktemp("base") / "model")


@pytest.fixture(scope="session")
def rows() -> list[Example]:
    return skills.mixed(skills.trained_skills(), 6, split="train", seed=1)
