"""For all tests: the same numbers on every machine, nothing sent anywhere, one small base that is made once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # sums in one order whatever the cores; set before torch is loaded
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("WANDB_MODE", "disabled")
os.environ.pop("COGUMI_OUTPUTS", None)


@pytest.fixture(scope="session")
def small_shape() -> dict[str, int]:
    return {"hidden": 64, "layers": 1, "heads": 2, "kv_heads": 2, "ffn": 128, "context": 256}


@pytest.fixture(scope="session")
def tokenizer():
    from cogumi_utils.data import corpus
    from cogumi_utils.model import student

    return student.train_tokenizer(corpus.sample(1, 3000), 800)


@pytest.fixture(scope="session")
def base(tokenizer, small_shape, tmp_path_factory) -> Path:
    """A folder with a base of 60 steps: it has its preferences, so that greedy answers don't hang by a rounding."""
    from cogumi_utils.model import pretrain, student

    model = student.small_llama(len(tokenizer), seed=1, **small_shape)
    rows = pretrain.reading(
        tokenizer, seed=1, steps=60, warm_steps=5, batch=8, length=64, repeat_share=0.05, fact_share=0.3
    )
    pretrain.pretrain(model, rows, batch=8)
    return student.save(model, tokenizer, tmp_path_factory.mktemp("base") / "model")


@pytest.fixture(scope="session")
def rows():
    """Six training Examples of each trained skill."""
    from cogumi_utils.data import skills

    return skills.mixed(skills.trained_skills(), 6, split="train", seed=1)
