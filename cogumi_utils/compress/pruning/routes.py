"""Ways to a smaller model side by side: variants made of one parent, rounded to 4 bits, graded, set beside it."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import AutoConfig

from cogumi_utils import artifacts
from cogumi_utils.compress.pruning import prune
from cogumi_utils.compress.pruning._outcome import Outcome, Variant, judge, read
from cogumi_utils.compress.pruning._rounding import Size, rounded
from cogumi_utils.compress.pruning.shrink import candidates
from cogumi_utils.compress.pruning.ways import cut_in_steps, cut_once, made_before, shrunk, unchanged
from cogumi_utils.model import student
from cogumi_utils.model.workers import finish, in_folders
from cogumi_utils.schema import read_examples
from cogumi_utils.stats import Interval, Paired, paired_difference

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "Outcome", "Route", "Size", "Study", "Variant", "again", "calibration_routes", "change", "cut_in_steps", "cut_once",
    "lines", "longer", "made_before", "one_shot_routes", "references", "rounded", "run", "shapes", "shrunk", "table",
    "unchanged",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Route:
    """One way. make: `make(parent, tokenizer, examples, **options)`, a function of a module, yields Variants and leaves
    the parent as it is; each is judged before the next is made. options: plain values (JSON). family: its line in a
    figure.
    """

    name: str
    make: Callable[..., Iterable[Variant]]
    options: Mapping[str, Any] = field(default_factory=dict)
    family: str = ""

    @property
    def key(self) -> str:
        """Other options, another folder."""
        what = [self.name, f"{self.make.__module__}.{self.make.__qualname__}", dict(self.options)]
        return f"{re.sub(r'[^a-zA-Z0-9.]+', '_', self.name)}-{artifacts.digest_of(what)[:8]}"


@dataclass(frozen=True, slots=True)
class Study:
    """What all routes share. parent: the model's folder. examples: Parquet of the training examples. test: those that
    judge. folder: one folder a route, new for another study. threads: CPU threads of each process.
    """

    parent: Path
    examples: Sequence[Path]
    test: Path
    folder: Path
    max_new_tokens: int
    seed: int = 1
    device: str = "cpu"
    threads: int = 1


def run(study: Study, routes: Sequence[Route], *, workers: int = 1, keep: bool = False) -> list[Outcome]:
    """Make and judge all variants, `workers` routes at a time, in the order of the routes.

    keep: save the models too (as they are, not rounded).

    A route is finished once its manifest, written last, verifies, and is not run again then. Results do not depend on
    `workers`. On a GPU the routes take turns. Raises CogumiError for two routes of one name and options.
    """
    folders = in_folders(study.folder, routes)
    finish(partial(make_route, study, keep=keep), folders, workers=workers if study.device == "cpu" else 1)
    return [one for folder in folders for one in outcomes(folder)]


def make_route(study: Study, route: Route, keep: bool = False) -> None:
    """Make and judge the variants of one route, and write its folder with its manifest."""
    torch.set_num_threads(study.threads)
    folder = study.folder / route.key
    dtype = torch.bfloat16 if study.device == "cuda" else torch.float32
    parent, tokenizer = student.load(study.parent, dtype=dtype, device_map=study.device)
    examples, tests = [row for path in study.examples for row in read_examples(path)], read_examples(study.test)
    shared = {"parent": parent, "parent_tokenizer": tokenizer, "tests": tests, "seed": study.seed, "keep": keep}
    shutil.rmtree(folder, ignore_errors=True)  # of a run that was killed
    found, used, started = [], 0.0, time.perf_counter()
    for number, variant in enumerate(route.make(parent, tokenizer, examples, **route.options)):
        before = time.perf_counter()
        facts = judge(variant, folder / str(number), max_new_tokens=study.max_new_tokens, **shared)
        names = {"name": variant.name or route.name, "family": route.family or route.name}
        found.append({**facts, **names, "make_seconds": before - started - used})
        used += time.perf_counter() - before
    files = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]
    outputs = artifacts.describe(folder, [name for name in files if name != artifacts.MANIFEST])
    artifacts.write_manifest(folder, {"route": route.name, "variants": found, "outputs": outputs})


def outcomes(folder: Path) -> list[Outcome]:
    """The variants of a finished route. Raises ArtifactError where its files are not those of its manifest."""
    found = artifacts.verify(folder)["variants"]
    return [read(folder / str(number), one) for number, one in enumerate(found)]


def table(found: Sequence[Outcome], reference: Outcome, seed: int = 0) -> pd.DataFrame:
    """A row a variant: share of zeros, MB with and without a code for zeros, share right and its paired difference to
    `reference` in points, with intervals, KL to the parent (nats a token), share of the same top token, and seconds.
    """
    import pandas as pd

    rows = [
        {
            "route": one.name, "zeros": one.sparsity, "MB": one.size.counted_bytes / 1e6,
            "MB, zeros stored": one.size.dense_bytes / 1e6, "right": str(one.right),
            "points": _points(change(reference, one, seed)), "KL": one.fidelity.kl.value,
            "same token": one.fidelity.agreement.value, "seconds": one.make_seconds,
        }
        for one in found
    ]  # fmt: skip
    return pd.DataFrame(rows)


def _points(paired: Paired) -> str:
    value, low, high = (100 * one for one in (paired.value, paired.low, paired.high))
    return f"{value:+.1f} [{low:+.1f}, {high:+.1f}]"


def change(before: Outcome, after: Outcome, seed: int = 0) -> Paired:
    """In the share right, of two variants of one study."""
    return paired_difference(*(one.graded()["passed"].to_numpy() for one in (before, after)), seed)


def lines(found: Sequence[Outcome]) -> dict[str, list[tuple[float, Interval]]]:
    """{family: [(MB counted, share right), ...]} by size, as `plots.estimates` takes it."""
    points: dict[str, list[tuple[float, Interval]]] = {}
    for one in sorted(found, key=lambda one: one.size.counted_bytes):
        points.setdefault(one.family, []).append((one.size.counted_bytes / 1e6, one.right))
    return points


def references() -> list[Route]:
    """The parent as it is, and in 4 bits."""
    whole = Route("parent, 16 bits", unchanged, {"is_rounded": False}, "parent")
    return [whole, Route("parent, 4 bits", unchanged, {}, "parent")]


def again(found: Outcome, name: str) -> Route:
    """The model of an outcome that was kept, to be judged on other tests."""
    return Route(name, made_before, {"folder": str(found.model)}, found.family)


def shapes(parent: Path, targets_mb: Sequence[float], vocabularies: Sequence[int] = (), **options: Any) -> list[Route]:
    """Every largest shape of a model's folder under each target (see `shrink.candidates`), a family a target.

    vocabularies: numbers of entries to choose among. options: the others of `ways.shrunk`.
    """
    config = AutoConfig.from_pretrained(parent).to_dict()
    return [
        Route(f"{shape} under {target:g} MB", shrunk, {"shape": asdict(shape), **options}, f"under {target:g} MB")
        for target in targets_mb
        for shape in candidates(config, target * 1e6, vocabularies=vocabularies)
    ]


def longer(tried: Sequence[Route], found: Sequence[Outcome], steps: Sequence[int]) -> list[Route]:
    """Of each family the route that ended nearest to the parent (least KL), with so many steps; named "…, trained".

    found: the outcome of each route. steps: one number a family, in their order.
    """
    nearest: dict[str, tuple[Route, Outcome]] = {}
    for route, one in zip(tried, found, strict=True):
        best = nearest.setdefault(route.family, (route, one))
        if one.fidelity.kl.value < best[1].fidelity.kl.value:
            nearest[route.family] = (route, one)
    pairs = zip(nearest.values(), steps, strict=True)
    return [
        replace(route, name=f"{route.name}, trained", options={**route.options, "steps": count})
        for (route, _), count in pairs
    ]


def one_shot_routes(methods: Sequence[str], levels: Sequence[float], **options: Any) -> list[Route]:
    """Each method at each level, a family a method. options: the others of `prune.one_shot`."""
    return [
        Route(f"{prune.METHODS[one]} {100 * level:g}%", cut_once, {"method": one, "sparsity": level, **options},
              prune.METHODS[one])
        for one in methods
        for level in levels
    ]  # fmt: skip


def calibration_routes(rows: Sequence[int], **options: Any) -> list[Route]:
    """The same cut with other numbers of calibration rows. options: the others of `prune.one_shot`."""
    return [Route(f"{count} rows", cut_once, {"rows": count, **options}, "calibration rows") for count in rows]
