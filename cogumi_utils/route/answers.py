"""What each route answers: every task put to the base and to the base with each adapter on, and graded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from cogumi_utils import artifacts
from cogumi_utils.data import skills
from cogumi_utils.data.skills import specialist
from cogumi_utils.errors import CogumiError
from cogumi_utils.schema import Example, read_examples, write_examples

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

BASE = "base"


@dataclass(frozen=True, slots=True)
class Route:
    """A way to an answer. adapter: the folder of its LoRA weights; None for the base alone."""

    name: str
    adapter: Path | None = None

    @property
    def key(self) -> str:
        return self.name


def routes(adapters: Mapping[str, Path]) -> list[Route]:
    """The base first, then one route an adapter. Raises CogumiError for an adapter called like the base."""
    if BASE in adapters:
        raise CogumiError(
            expected=f"adapters with names of their own, none of them {BASE!r}",
            found=", ".join(adapters),
            why="that name means the base without an adapter",
            fix="name an adapter after its domain",
        )
    return [Route(BASE), *(Route(name, folder) for name, folder in adapters.items())]


def tasks(domains: Sequence[str], per_skill: int, *, split: str, seed: int) -> list[Example]:
    """Up to `per_skill` tasks of every skill that the base was taught and of the new skills of `domains`, shuffled."""
    new = [skill for domain in domains for skill in specialist.specialist_skills(domain)]
    return skills.mixed(skills.all_skills() + new, per_skill, split=split, seed=seed)


def foreign(domains: Sequence[str], per_skill: int, *, split: str, seed: int) -> list[Example]:
    """Tasks of the new skills of all domains but `domains`: queries that no route was made for."""
    new = [skill for name in specialist.DOMAINS if name not in domains for skill in specialist.specialist_skills(name)]
    return skills.mixed(new, per_skill, split=split, seed=seed) if new else []


def domain_of(rows: Sequence[Example], names: Sequence[str]) -> list[str]:
    """The route that carries each task's domain; the base where no route has its name."""
    return [row.domain if row.domain in names else BASE for row in rows]


def answered(
    base: Path, ways: Sequence[Route], rows: Sequence[Example], folder: Path, *, max_new_tokens: int,
    device: str = "cpu", threads: int = 1, workers: int = 1,
) -> dict[str, pd.DataFrame]:  # fmt: skip
    """{route: the frame of `judge.grade` over `rows`, in their order}, `workers` routes at a time.

    folder: kept until the stage is finished: a route that was answered before a crash is not asked again, so it must
    be new for other tasks. Results do not depend on `workers`. On a GPU the routes take turns.
    """
    from cogumi_utils.model.workers import finish, in_folders

    folder.mkdir(parents=True, exist_ok=True)
    asked = write_examples(folder / "tasks.parquet", rows)
    ask = partial(_answer, base, asked, folder, max_new_tokens=max_new_tokens, device=device, threads=threads)
    finish(ask, in_folders(folder, ways), workers=workers if device == "cpu" else 1)
    return {way.name: _read(folder / way.key, rows) for way in ways}


def _answer(base: Path, asked: Path, folder: Path, way: Route, *, max_new_tokens: int, device: str, threads: int):
    import torch

    from cogumi_utils.judge import grade
    from cogumi_utils.model import generate, merge, student

    torch.set_num_threads(threads)
    if way.adapter:
        model, tokenizer = merge.put_on(base, way.adapter, None, device)
    else:
        model, tokenizer = student.load(base, device_map=device)
    answer = generate.answerer(model, tokenizer, max_new_tokens=max_new_tokens)
    target = folder / way.key
    target.mkdir(exist_ok=True)
    grade.evaluate(read_examples(asked), answer).to_parquet(target / "graded.parquet")
    outputs = artifacts.describe(target, ["graded.parquet"])
    artifacts.write_manifest(target, {"route": way.name, "outputs": outputs})


def _read(folder: Path, rows: Sequence[Example]) -> pd.DataFrame:
    import pandas as pd

    artifacts.verify(folder)
    frame = pd.read_parquet(folder / "graded.parquet")
    if list(frame["id"]) != [row.id for row in rows]:
        raise CogumiError(
            expected=f"answers to the {len(rows)} tasks that are asked now",
            found=f"{len(frame)} answers to others in {folder}",
            why="which route is right is counted task by task",
            fix="remove the folder and start the stage again",
        )
    return frame


def correctness(frames: Mapping[str, pd.DataFrame]) -> np.ndarray:
    """[tasks, routes] of 0 and 1: which route answered which task right; rows and routes in their order."""
    import numpy as np

    return np.stack([frame["passed"].to_numpy(dtype=float) for frame in frames.values()], axis=1)
