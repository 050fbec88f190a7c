"""From a partial folder to a finished stage, in steps after each of which a crash leaves no half-made stage behind.

Below outputs/<profile>/: `.partial/<stage>/` is being written (no manifest until the last step), `.replaced/<stage>/`
is the stage of before, for the moment in which the new one takes its place, and `<stage>/` is complete.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import IO, Any

from cogumi_utils.artifacts import (
    MANIFEST,
    ArtifactError,
    atomic_write_json,
    describe,
    files_below,
    fsync_path,
    write_manifest,
)
from cogumi_utils.errors import CogumiError
from cogumi_utils.paths import outputs_dir

CHECKPOINTS = "checkpoints"
RESUME = "resume.json"  # what the checkpoints were made from
_locks: dict[Path, IO[str]] = {}  # held until the process ends or the stage is finished


class StageError(CogumiError):
    """A stage declared outputs that it didn't write, wrote files that it didn't declare, or runs twice at once."""


def final_dir(profile: str, stage: str) -> Path:
    return outputs_dir(profile) / stage


def partial_dir(profile: str, stage: str) -> Path:
    return outputs_dir(profile) / ".partial" / stage


def open_partial(profile: str, stage: str, made_from: dict[str, str]) -> Path:
    """An empty partial folder for this stage, locked against a second run of it.

    Leftovers of an unfinished try are removed, except `checkpoints/` of a try with the same parameters and code.
    """
    folder = partial_dir(profile, stage)
    folder.mkdir(parents=True, exist_ok=True)
    _lock(folder)
    shutil.rmtree(outputs_dir(profile) / ".replaced" / stage, ignore_errors=True)
    same = _resume(folder).get("made_from") == made_from
    for path in folder.iterdir():
        if not (same and path.name in (CHECKPOINTS, RESUME)):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    if not same:
        atomic_write_json(folder / RESUME, {"made_from": made_from, "inputs": {}})
    return folder


def note_input(folder: Path, ref: str, sha256: str) -> None:
    """Remember an input; checkpoints that were made from another version of it are dropped."""
    state = _resume(folder)
    inputs = state.setdefault("inputs", {})
    if inputs.get(ref) == sha256:
        return
    if ref in inputs:
        shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
    inputs[ref] = sha256
    atomic_write_json(folder / RESUME, state)


def _resume(folder: Path) -> dict[str, Any]:
    try:
        state = json.loads((folder / RESUME).read_bytes())
    except (OSError, ValueError):
        return {}
    return state if isinstance(state, dict) else {}


def collect(folder: Path, declared: list[str]) -> dict[str, dict[str, Any]]:
    """{path: {bytes, sha256}} of the declared files and folders; missing and undeclared ones raise StageError."""
    files = [name for name in files_below(folder) if name != RESUME and not name.startswith(f"{CHECKPOINTS}/")]
    inside = {name: [file for file in files if file == name or file.startswith(f"{name}/")] for name in declared}
    missing = [name for name, found in inside.items() if not found]
    covered = {file for found in inside.values() for file in found}
    undeclared = [file for file in files if file not in covered]
    if missing or undeclared:
        raise StageError(
            expected="every declared output to be written, and every written file to be declared",
            found="; ".join(
                [f"declared and not written: {name}" for name in missing]
                + [f"written and not declared: {name}" for name in undeclared]
            ),
            why="only declared files are hashed, and a file that nobody hashed can't be trusted later",
            fix="take the paths of all files from run.output(...), and write each of them",
        )
    return describe(folder, sorted(covered))


def publish(profile: str, stage: str, manifest: dict[str, Any]) -> Path:
    """Flush the files, write the manifest last, and swap the folder into its place. Returns the finished folder."""
    partial, final = partial_dir(profile, stage), final_dir(profile, stage)
    for relpath in manifest["outputs"]:
        fsync_path(partial / relpath)
    (partial / RESUME).unlink(missing_ok=True)  # first: without it half-removed checkpoints are not resumed from
    shutil.rmtree(partial / CHECKPOINTS, ignore_errors=True)
    for folder in sorted({partial, *(path for path in partial.rglob("*") if path.is_dir())}):
        fsync_path(folder)
    write_manifest(partial, manifest)
    replaced = outputs_dir(profile) / ".replaced" / stage
    _swap(partial, final, replaced)
    shutil.rmtree(replaced, ignore_errors=True)
    _unlock(partial)
    return final


def _swap(partial: Path, final: Path, replaced: Path) -> None:
    """The old folder steps aside, the new one takes its name; between the two there is no stage, never a mixed one."""
    final.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(replaced, ignore_errors=True)
    if final.exists():
        replaced.parent.mkdir(parents=True, exist_ok=True)
        os.rename(final, replaced)
    os.rename(partial, final)
    fsync_path(final.parent)


def _lock(folder: Path) -> None:
    """One run of a stage at a time. The system drops the lock when the process ends, however it ends."""
    import fcntl

    path = folder.parent / f".{folder.name}.lock"
    if path in _locks:
        return
    stream = open(path, "a+")  # noqa: SIM115 - stays open: closing it would drop the lock
    try:
        fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        stream.close()
        raise StageError(
            expected=f"no other run of {folder.name} with the same outputs",
            found=f"another process holds {path}",
            why="two runs in one folder would mix their files",
            fix="wait for the other run to end, or shut its kernel down, and start again",
        ) from None
    _locks[path] = stream


def _unlock(folder: Path) -> None:
    stream = _locks.pop(folder.parent / f".{folder.name}.lock", None)
    if stream:
        stream.close()


def check_name(relpath: str) -> str:
    """An output's path inside its stage: relative, without `..`, and not one that the stage itself uses."""
    parts = Path(relpath).parts
    reserved = parts[:1] in ((CHECKPOINTS,), (RESUME,), (MANIFEST,))
    if not parts or Path(relpath).is_absolute() or ".." in parts or reserved:
        raise ArtifactError(
            expected="a path inside the stage's folder",
            found=repr(relpath),
            why=f"outputs live in their stage, and {CHECKPOINTS}/, {RESUME} and {MANIFEST} are the stage's own",
            fix='name it like "train.parquet" or "adapter"',
        )
    return Path(relpath).as_posix()
