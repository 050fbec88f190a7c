"""Public data sets under their Hugging Face hub ids: the hub first, then the folder that COGUMI_DATA names.

What a set marks as validation or test is for evaluation and cannot be loaded for training. No set is part of the
repository; `params/sources.yaml` lists what can be read.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from cogumi_utils.data import _hub, _local
from cogumi_utils.data._local import Missing
from cogumi_utils.data._readers import Row
from cogumi_utils.errors import CogumiError
from cogumi_utils.paths import DATA_ENV, params_dir
from cogumi_utils.schema import Example
from cogumi_utils.yaml_lines import read_yaml

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T")
Purpose = Literal["train", "evaluation"]
SPLITS_FOR: dict[str, tuple[str, ...]] = {"train": ("train",), "evaluation": ("validation", "test")}


class SourceError(CogumiError):
    """A public set cannot be read, or not for this purpose."""


class EvaluationOnly(SourceError):
    """Rows marked validation or test were asked for as training data."""


@dataclass(frozen=True, slots=True, eq=False)  # compared and hashed by identity: `hub` is a dict
class Source:
    """One set of `params/sources.yaml`; see there for the fields."""

    name: str
    hub_id: str | None
    licence: str
    rows: int
    splits: tuple[str, ...]
    domain: str | None
    why_rows_only: str = ""
    default_split: str = "test"
    hub: dict[str, Any] | None = None


@cache
def sources() -> dict[str, Source]:
    """{name: Source} for every set that can be read."""
    entries, _ = read_yaml(params_dir() / "sources.yaml")
    return {name: Source(name, **entry) for name, entry in entries.items()}


def find(name: str) -> Source:
    """The set with this name or hub id. Raises SourceError with the nearest names."""
    known = sources()
    by_hub_id = {source.hub_id: source for source in known.values() if source.hub_id}
    if name in known or name in by_hub_id:
        return known.get(name) or by_hub_id[name]
    near = difflib.get_close_matches(name, [*known, *by_hub_id], n=3, cutoff=0.5)
    raise SourceError(
        expected="the name or hub id of a set in params/sources.yaml",
        found=repr(name),
        why="a set is read only where its licence and its splits are known",
        fix=f"use {' or '.join(map(repr, near))}" if near else "see cogumi_utils.data.sources.catalogue()",
    )


def names(purpose: Purpose) -> list[str]:
    """The sets that have a chat form and rows for `purpose`, in the order of `params/sources.yaml`."""
    wanted = set(SPLITS_FOR[purpose])
    return [source.name for source in sources().values() if source.domain and wanted & set(source.splits)]


def catalogue() -> pd.DataFrame:
    """A row a set: name, hub_id, licence, rows, splits, domain, why_rows_only, here (`hub`, `local` or empty)."""
    import pandas as pd

    columns = ["name", "hub_id", "licence", "rows", "splits", "domain", "why_rows_only"]
    table = [{key: getattr(source, key) for key in columns} for source in sources().values()]
    return pd.DataFrame(table).assign(here=[_place(source)[0] for source in sources().values()])


def load(name: str, split: str | None = None, *, purpose: Purpose) -> list[Row]:
    """The rows of a set that may be used for `purpose`, in its own order and with its own columns.

    Each row also carries `_source`, `_licence`, `_split` (train, validation or test), `_part`, `_file` and `_row`.
    split: only this one. Raises EvaluationOnly, SourceError, CorruptSource.
    """
    source = find(name)
    rows, _ = _read(source)
    return _allowed(source, rows, split, purpose)


def load_examples(name: str, *, purpose: Purpose, split: str | None = None, limit: int | None = None) -> list[Example]:
    """The rows that may be used for `purpose` as Examples; parents: the raw row, `file#number`.

    limit: at most so many, taken at even distances, so that all subjects of a set are among them.
    Raises SourceError for a set that has no chat form, and what `load` raises.
    """
    from cogumi_utils.data import convert

    source = find(name)
    if source.domain is None:
        raise SourceError(
            expected="a set with questions and answers",
            found=f"{source.name}: {source.why_rows_only}",
            why="an Example is a chat",
            fix=f"read its rows with load({source.name!r}, purpose=...)",
        )
    examples = convert.examples(source, load(name, split, purpose=purpose))
    return examples if limit is None else _spread(examples, limit)


def raw_reference(name: str) -> dict[str, Any]:
    """What the lineage records of a set: name (its hub id where known), licence, rows, origin (`hub`, `local`), sha256.

    sha256: of the pinned files' digests for `local`, of the rows as canonical JSON for `hub`.
    """
    source = find(name)
    rows, origin = _read(source)
    sha256 = _local.find(source.name).sha256 if origin == "local" else _hub.digest(rows)
    name = source.hub_id or source.name
    return {"name": name, "licence": source.licence, "rows": len(rows), "origin": origin, "sha256": sha256}


def require_reachable(names: Iterable[str]) -> dict[str, str]:
    """{name: `hub` or `local`}, checked before any work starts; one error names all sets that are in neither place."""
    places: dict[str, str] = {}
    missing: dict[Source, list[str]] = {}
    for source in map(find, names):
        places[source.name], reasons = _place(source, verify=True)
        if not places[source.name]:
            missing[source] = reasons
    if missing:
        raise _nowhere(missing)
    return places


def _read(source: Source) -> tuple[list[Row], str]:
    """The rows, with licence and source on each, and where they came from."""
    reads = {
        "hub": lambda: _hub.read(source.name, source.hub_id, source.hub),
        "local": lambda: _local.read(_local.find(source.name), source.default_split),
    }
    origin, rows, reasons = _first(reads)
    if rows is None:
        raise _nowhere({source: reasons})
    return [{**row, "_source": source.name, "_licence": source.licence} for row in rows], origin


def _place(source: Source, verify: bool = False) -> tuple[str, list[str]]:
    """(`hub`, `local` or empty, why it is not where it was looked for). verify: check the files' digests too."""
    looks = {
        "hub": lambda: _hub.reach(source.hub_id, source.hub),
        "local": lambda: _local.find(source.name, verify=verify),
    }
    origin, _, reasons = _first(looks)
    return origin, reasons


def _first(places: dict[str, Callable[[], T]]) -> tuple[str, T | None, list[str]]:
    """The first place that does not raise Missing, what it gave, and why those before it did not."""
    reasons: list[str] = []
    for place, look in places.items():
        try:
            return place, look(), reasons
        except Missing as missing:
            reasons.append(str(missing))
    return "", None, reasons


def _allowed(source: Source, rows: list[Row], split: str | None, purpose: str) -> list[Row]:
    if purpose not in SPLITS_FOR:
        raise SourceError(
            expected=f"purpose {' or '.join(map(repr, SPLITS_FOR))}",
            found=repr(purpose),
            why="rows for evaluation must never be trained on",
            fix='say what the rows are for: purpose="train" or purpose="evaluation"',
        )
    wanted = [row for row in rows if row["_split"] in SPLITS_FOR[purpose] and split in (None, row["_split"])]
    if not wanted:
        raise _refusal(source, {row["_split"] for row in rows}, split, purpose)
    return wanted


def _refusal(source: Source, has: set[str], split: str | None, purpose: str) -> SourceError:
    for_training = purpose == "train"
    kind = EvaluationOnly if for_training else SourceError
    return kind(
        expected=f"rows of {source.name}{f' in split {split}' if split else ''} that may be used for {purpose}",
        found=f"only split {' and '.join(sorted(has))}",
        why="a score on rows that were trained on means nothing" if for_training else "training rows measure memory",
        fix=f'load({source.name!r}, purpose="{"evaluation" if for_training else "train"}"), or use another set',
    )


def _nowhere(missing: dict[Source, list[str]]) -> SourceError:
    named = ", ".join(source.hub_id or source.name for source in missing)
    return SourceError(
        expected=f"{named} on the Hugging Face hub or in the folder that {DATA_ENV} names",
        found="\n          ".join(f"{source.name}: {'; '.join(reasons)}" for source, reasons in missing.items()),
        why="no data set is part of the repository",
        fix=f"connect to the hub, or set {DATA_ENV} to a folder whose MANIFEST.json lists the set",
    )


def _spread(examples: list[Example], limit: int) -> list[Example]:
    if limit >= len(examples):
        return examples
    return [examples[i * len(examples) // limit] for i in range(limit)]
