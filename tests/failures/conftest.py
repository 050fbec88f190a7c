"""The packaged embedding model, loaded once, and a battery whose failures are known."""

from __future__ import annotations

import pytest

from cogumi_utils.data import skills
from cogumi_utils.schema import Example


@pytest.fixture(scope="session")
def embedder():
    import torch

    from cogumi_utils.failures.embed import load_embedder

    torch.set_num_threads(1)
    return load_embedder()


@pytest.fixture(scope="session")
def failing() -> set[str]:
    """The skills that the battery's student has not learned."""
    return {"product", "join", "everywhere", "swap"}


@pytest.fixture(scope="session")
def tasks() -> list[Example]:
    return skills.mixed(skills.all_skills(), 16, split="validation", seed=5)


@pytest.fixture(scope="session")
def battery(tasks, failing):
    """Graded answers of a student that knows every skill but the failing ones."""
    from cogumi_utils.judge import grade

    graded = grade.grade(tasks, ["no idea" if task.skill in failing else task.answer for task in tasks])
    return graded.assign(source=[task.source for task in tasks])


@pytest.fixture(scope="session")
def space(embedder, tasks, battery):
    from cogumi_utils.failures.patterns import embed_battery

    return embed_battery(embedder, tasks, battery)
