"""One adapter on the small base of all tests, made once for the tests of models."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from cogumi_utils.data import skills
from cogumi_utils.schema import Example


@pytest.fixture(autouse=True, scope="session")
def one_thread_and_no_network():
    """Sums in one order, nothing fetched."""
    import torch
    from huggingface_hub import constants

    threads, offline = torch.get_num_threads(), constants.HF_HUB_OFFLINE
    torch.set_num_threads(1)
    constants.HF_HUB_OFFLINE = True
    yield
    torch.set_num_threads(threads)
    constants.HF_HUB_OFFLINE = offline


@pytest.fixture
def untrained(tokenizer, small_shape):
    from cogumi_utils.model import student

    return student.small_llama(len(tokenizer), seed=1, **small_shape)


@pytest.fixture(scope="session")
def validation() -> list[Example]:
    return skills.mixed(skills.trained_skills(), 1, split="validation", seed=1)[:12]


@dataclass(frozen=True)
class Trainings:
    """Runs QLoRA on the base, each time from a fresh copy of it."""

    base: Path
    rows: list[Example]
    validation: list[Example]

    def run(self, folder: Path, *, log=None, evaluate_first: bool = False, quantised: bool = True, **recipe):
        from cogumi_utils.model import generate, packing, sft, student

        config, _ = sft.quantisation("cpu") if quantised else (None, "")
        model, tokenizer = student.load(self.base, quantization_config=config, device_map="cpu")
        if evaluate_first:
            packing.packing_gap(model, tokenizer, self.rows[:4], max_length=64)
            generate.answerer(model, tokenizer, max_new_tokens=2)([self.rows[0].prompt])
        dials = {"steps": 6, "batch": 2, "max_length": 64, "rank": 4, "learning_rate": 3e-3, "seed": 1, "save_every": 2}
        dials |= {"eval_every": 3, **recipe}
        return sft.train(
            model, tokenizer, self.rows, sft.Recipe(**dials), folder=folder, validation=self.validation, log=log
        )


@pytest.fixture(scope="session")
def trainings(base, rows, validation) -> Trainings:
    return Trainings(base, rows, validation)


@pytest.fixture(scope="session")
def trained(trainings, tmp_path_factory):
    """The run that others are compared with: six steps on a 4-bit base, checkpoints after 2, 4 and 6."""
    return trainings.run(tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="session")
def adapter(trained, tmp_path_factory) -> Path:
    from cogumi_utils.model import sft

    return sft.save_adapter(trained.model, tmp_path_factory.mktemp("trained") / "adapter", "00_student/model")
