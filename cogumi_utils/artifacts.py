"""What a finished stage leaves behind: files named, sized and hashed by a manifest that carries its own digest."""

from __future__ import annotations

import hashlib
import json
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cogumi_utils.errors import CogumiError
from cogumi_utils.paths import outputs_dir

if TYPE_CHECKING:
    from cogumi_utils.lineage import Lineage

MANIFEST = "manifest.json"
DIGEST = "digest"
_CHUNK = 1 << 20


class ArtifactError(CogumiError):
    """A manifest or a file behind it is missing, garbled or not the one that was written."""


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, hex; read in 1 MiB pieces, so any size fits in memory."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while piece := stream.read(_CHUNK):
            digest.update(piece)
    return digest.hexdigest()


def sha256_tree(path: Path) -> str:
    """SHA-256 of a folder: of the sorted lines `<sha256>  <path inside the folder>`. A file gives its own hash."""
    path = Path(path)
    if path.is_file():
        return sha256_file(path)
    return combine({inner: sha256_file(path / inner) for inner in files_below(path)})


def combine(hashes: dict[str, str]) -> str:
    """One SHA-256 for many files: {path inside the folder: sha256} → sha256 of the sorted lines."""
    lines = "".join(f"{sha}  {inner}\n" for inner, sha in sorted(hashes.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def files_below(folder: Path) -> list[str]:
    """Paths of all files below `folder`, relative to it, with `/`, sorted. Symbolic links are refused."""
    found = []
    for path in sorted(Path(folder).rglob("*")):
        if path.is_symlink():
            raise ArtifactError(
                expected="plain files",
                found=f"a symbolic link, {path}",
                why="a link's target can change after it was hashed",
                fix="write a copy of the file instead of the link",
            )
        if path.is_file():
            found.append(path.relative_to(folder).as_posix())
    return sorted(found)


def plain(value: Any) -> Any:
    """`value` in JSON's own types: numpy scalars and arrays, paths and tuples converted; NaN and infinities → None."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in (sorted(value) if isinstance(value, (set, frozenset)) else value)]
    if isinstance(value, Path):
        return value.as_posix()
    if hasattr(value, "tolist"):  # numpy arrays and scalars, torch tensors
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def canonical(value: Any) -> bytes:
    """The one spelling of a JSON value: equal values give equal bytes, and no other bytes are accepted back."""
    text = json.dumps(plain(value), indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return text.encode() + b"\n"


def digest_of(value: Any) -> str:
    """SHA-256 of the canonical JSON of `value`, hex."""
    return hashlib.sha256(canonical(value)).hexdigest()


def fsync_path(path: Path) -> None:
    """Flush a file or a folder's entry list to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def atomic_write_bytes(path: Path, data: bytes) -> Path:
    """Write a file so that a reader (or a crash) sees the old one or the new one, whole and on the disk."""
    path = Path(path)
    draft = path.with_name(f".{path.name}.{os.getpid()}.draft")
    try:
        with open(draft, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    fsync_path(path.parent)
    return path


def atomic_write_json(path: Path, obj: Any) -> Path:
    """`obj` as canonical JSON, written atomically."""
    return atomic_write_bytes(path, canonical(obj))


def describe(folder: Path, relpaths: list[str]) -> dict[str, dict[str, Any]]:
    """{path inside the folder: {bytes, sha256}} for the given files."""
    return {
        relpath: {"bytes": (folder / relpath).stat().st_size, "sha256": sha256_file(folder / relpath)}
        for relpath in relpaths
    }


def write_manifest(folder: Path, manifest: dict[str, Any]) -> Path:
    """Write `manifest.json` into `folder`, atomically, with the digest of everything else in it."""
    body = {key: value for key, value in manifest.items() if key != DIGEST}
    return atomic_write_json(Path(folder) / MANIFEST, {**body, DIGEST: digest_of(body)})


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a finished stage. Raises ArtifactError if it is missing, garbled or changed since."""
    path = Path(folder) / MANIFEST
    if not path.is_file():
        raise _broken(folder, "no manifest.json there", "the manifest is written last, so the stage is not complete")
    data = path.read_bytes()
    try:
        manifest = json.loads(data)
        body = {key: value for key, value in manifest.items() if key != DIGEST}
        intact = manifest[DIGEST] == digest_of(body) and canonical(manifest) == data
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
        intact = False
    if not intact:
        raise _broken(folder, f"{path} does not match its own digest", "it was damaged or edited after it was written")
    return manifest


def check_output(folder: Path, relpath: str, entry: dict[str, Any]) -> None:
    """Raise ArtifactError unless the file has the bytes and the sha256 that its manifest entry records."""
    path = Path(folder) / relpath
    if not path.is_file():
        raise _broken(folder, f"{path} is missing", "its manifest lists it")
    if path.stat().st_size != entry["bytes"]:
        found = f"{path} has {path.stat().st_size} bytes, its manifest says {entry['bytes']}"
        raise _broken(folder, found, "the file was cut or changed after the stage finished")
    if sha256_file(path) != entry["sha256"]:
        raise _broken(
            folder, f"{path} has another sha256 than its manifest says", "it was changed after the stage ended"
        )


def verify(folder: Path) -> dict[str, Any]:
    """The manifest of `folder`, after checking that every output is there with the right bytes and sha256."""
    manifest = read_manifest(folder)
    for relpath, entry in manifest["outputs"].items():
        check_output(Path(folder), relpath, entry)
    return manifest


def locate(folder: Path) -> tuple[str, str]:
    """(profile, stage) of a stage's folder `outputs/<profile>/<stage>`."""
    try:
        profile, *stage = Path(folder).resolve().relative_to(outputs_dir("")).parts
    except ValueError:  # not below the outputs folder: a copy that somebody carried elsewhere
        profile, stage = "<profile>", [Path(folder).name]
    return profile, "/".join(stage)


def lineage(gate_or_ref: str, profile: str) -> Lineage:
    """What stands behind a gate or a `stage/file`, down to the raw rows. See `cogumi_utils.lineage`."""
    from cogumi_utils.lineage import trace

    return trace(gate_or_ref, profile)


def _broken(folder: Path, found: str, why: str) -> ArtifactError:
    profile, stage = locate(Path(folder))
    return ArtifactError(
        expected=f"a complete, unchanged stage in {folder}",
        found=found,
        why=why,
        fix=f"make it again: ./run_all.sh {profile} --only {stage}",
    )
