"""The Hugging Face hub's copy of a public set, read through `datasets` and laid out like the pinned copy."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from cogumi_utils.data._local import Missing
from cogumi_utils.data._readers import Row

TIMEOUT_SECONDS = 5.0


def reach(hub_id: str | None, layout: dict[str, Any] | None) -> None:
    """Return if the hub, or its cache on this machine, can give the set. Raises Missing with the reason."""
    if hub_id is None:
        raise Missing("it has no Hugging Face hub id")
    if layout is None:
        raise Missing(f"the hub's copy ({hub_id}) is laid out otherwise and is not read")
    if _offline():
        if not _cached(hub_id):
            raise Missing(f"HF_HUB_OFFLINE is set and {hub_id} is not in the hub's cache")
        return
    _answers(hub_id)


def _answers(hub_id: str) -> None:
    down = _hub_down()
    if down:
        raise Missing(down)
    from huggingface_hub import HfApi

    try:
        HfApi().dataset_info(hub_id, timeout=TIMEOUT_SECONDS)
    except Exception as error:  # not there, gated, or the connection broke: whichever, this place has no rows
        raise Missing(f"the hub does not give {hub_id} ({type(error).__name__})") from None


@cache
def _hub_down() -> str:
    """Why the hub cannot be reached, empty if it can; asked once a process, so that 33 sets don't wait 33 times."""
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session

    try:
        get_session().head(constants.ENDPOINT, timeout=TIMEOUT_SECONDS)
    except Exception as error:  # whichever HTTP library is below, an answer did not come
        return f"no answer from the hub at {constants.ENDPOINT} ({type(error).__name__})"
    return ""


def _offline() -> bool:
    from huggingface_hub import constants

    return constants.HF_HUB_OFFLINE


def _cached(hub_id: str) -> bool:
    """Whether anything of the set is in the hub's or in `datasets`' cache; spares importing `datasets` to find out."""
    from huggingface_hub import constants

    prepared = Path(os.environ.get("HF_DATASETS_CACHE", Path(constants.HF_HOME) / "datasets"))
    downloaded = Path(constants.HF_HUB_CACHE) / f"datasets--{hub_id.replace('/', '--')}"
    return (prepared / hub_id.replace("/", "___").lower()).is_dir() or downloaded.is_dir()


def read(name: str, hub_id: str, layout: dict[str, Any]) -> list[Row]:
    """All rows of the splits that `layout` names, laid out like the pinned copy's. Raises Missing with the reason."""
    reach(hub_id, layout)
    try:
        with _no_progress_bars():
            rows = [row for config in _configs(hub_id, layout) for row in _config_rows(hub_id, config, layout)]
    except Missing:
        raise
    except Exception as error:  # `datasets` raises many kinds: a script set, a moved file, a broken download
        reason = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        raise Missing(f"{hub_id} on the hub cannot be read ({reason})") from None
    return [_adapt(name, row) for row in rows]


def _configs(hub_id: str, layout: dict[str, Any]) -> list[str | None]:
    configs = layout.get("configs", [None])
    if configs != "all":
        return configs
    from datasets import get_dataset_config_names

    return get_dataset_config_names(hub_id)


def _config_rows(hub_id: str, config: str | None, layout: dict[str, Any]) -> Iterator[Row]:
    from datasets import load_dataset

    parts = load_dataset(hub_id, config)
    for name, split in layout["splits"].items():
        if name not in parts:
            raise Missing(f"{hub_id} on the hub has no split {name} (it has {', '.join(parts)})")
        lacking = [column for column in layout["columns"] if column not in parts[name].column_names]
        if lacking:
            raise Missing(f"{hub_id} on the hub has no column {', '.join(lacking)} (it has {parts[name].column_names})")
        part = config or name
        origin = {"_split": split, "_part": part, "_file": f"hub:{hub_id}/{part}/{name}"}
        yield from ({**row, **origin, "_row": i} for i, row in enumerate(parts[name]))


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    """Rendered notebooks must not depend on how fast a download was."""
    from datasets import utils

    were_on = not utils.are_progress_bars_disabled()
    utils.disable_progress_bars()
    try:
        yield
    finally:
        if were_on:
            utils.enable_progress_bars()


def digest(rows: list[Row]) -> str:
    """SHA-256 of the rows as canonical JSON lines: what stands for a set that has no pinned files."""
    sha = hashlib.sha256()
    for row in rows:
        sha.update(json.dumps(row, sort_keys=True, ensure_ascii=False, default=str).encode() + b"\n")
    return sha.hexdigest()


def _choices(row: Row) -> Row:
    """ARC, QASC: `{"text": [...], "label": [...]}` beside the stem → the pinned copy's nested question."""
    texts, labels = row["choices"]["text"], row["choices"]["label"]
    choices = [{"text": text, "label": label} for text, label in zip(texts, labels, strict=True)]
    return {**row, "question": {"stem": row["question"], "choices": choices}}


def _mmlu(row: Row) -> Row:
    return {**row, **{f"choice{i}": choice for i, choice in enumerate(row["choices"])}, "answer": str(row["answer"])}


def _dolly(row: Row) -> Row:
    return {**row, "input": row["context"], "output": row["response"]}


def _ifeval(row: Row) -> Row:
    """Arrow gives every keyword to every instruction; those that are null were not there."""
    return {**row, "kwargs": [{k: v for k, v in kwargs.items() if v is not None} for kwargs in row["kwargs"]]}


ADAPTERS: dict[str, Callable[[Row], Row]] = {
    "arc": _choices, "qasc_dev": _choices, "mmlu": _mmlu, "dolly_3k": _dolly, "ifeval": _ifeval,
}  # fmt: skip


def _adapt(name: str, row: Row) -> Row:
    return ADAPTERS[name](row) if name in ADAPTERS else row
