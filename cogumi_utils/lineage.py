"""Which raw rows stand behind a gate or a file: the manifests, walked upstream."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cogumi_utils.artifacts import MANIFEST, ArtifactError, check_output, combine, read_manifest, sha256_file
from cogumi_utils.gate_rules import nearest
from cogumi_utils.paths import outputs_dir

RAW = "raw:"


@dataclass(frozen=True, slots=True)
class Lineage:
    """One node: kind "gate", "file" or "raw"; `note`: what is known of it; `changed`: not what was read back then."""

    ref: str
    kind: str
    sha256: str = ""
    note: str = ""
    changed: bool = False
    inputs: list[Lineage] = field(default_factory=list)

    def render(self) -> str:
        """The tree as indented text, one node a line; a stage that was shown above is not spelled out again."""
        return "\n".join(self._lines(set()))

    def _lines(self, seen: set[str], depth: int = 0) -> Iterator[str]:
        again = bool(self.inputs) and self.ref in seen
        words = [self.kind, self.ref, self.sha256[:12], self.note, "CHANGED SINCE" * self.changed, "(as above)" * again]
        yield "    " * depth + "  ".join(filter(None, words))
        if not again:
            seen.add(self.ref)
            for source in self.inputs:
                yield from source._lines(seen, depth + 1)

    def raw(self) -> dict[str, Lineage]:
        """{name: leaf} of all raw sources below this node."""
        if self.kind == "raw":
            return {self.ref: self}
        return {name: leaf for source in self.inputs for name, leaf in source.raw().items()}

    def intact(self) -> bool:
        """Whether every manifest on the way is still the one that was read, and raw sources stand at all ends."""
        ends = self.inputs or self.kind == "raw"
        return bool(ends) and not self.changed and all(source.intact() for source in self.inputs)


def split_ref(ref: str, profile: str) -> tuple[str, str]:
    """("stage", "path inside it") of a reference such as "01_dataset/train.parquet" or "10_modifiers/code/adapter"."""
    parts = ref.split("/")
    for cut in range(1, len(parts)):
        if (outputs_dir(profile) / "/".join(parts[:cut]) / MANIFEST).is_file():
            return "/".join(parts[:cut]), "/".join(parts[cut:])
    return parts[0], "/".join(parts[1:])


def open_ref(ref: str, profile: str) -> tuple[Path, dict[str, Any]]:
    """(path, {sha256, bytes, manifest_sha256}) of a file or folder of a finished stage, each file checked by sha256."""
    stage, inner = split_ref(ref, profile)
    folder = outputs_dir(profile) / stage
    outputs = read_manifest(folder)["outputs"]
    files = {name: entry for name, entry in outputs.items() if name == inner or name.startswith(f"{inner}/")}
    if not inner or not files:
        raise _no_such_output(ref, stage, inner, profile, list(outputs))
    for name, entry in files.items():
        check_output(folder, name, entry)
    if list(files) == [inner]:
        sha256 = files[inner]["sha256"]
    else:
        sha256 = combine({name.removeprefix(f"{inner}/"): entry["sha256"] for name, entry in files.items()})
    size = sum(entry["bytes"] for entry in files.values())
    return folder / inner, {"sha256": sha256, "bytes": size, "manifest_sha256": sha256_file(folder / MANIFEST)}


def trace(gate_or_ref: str, profile: str) -> Lineage:
    """The tree behind a gate's name or a `stage/file`. Only manifests are read (each checked by its digest)."""
    if "/" in gate_or_ref:
        stage, inner = split_ref(gate_or_ref, profile)
        manifest = read_manifest(outputs_dir(profile) / stage)
        if not any(name == inner or name.startswith(f"{inner}/") for name in manifest["outputs"]):
            raise _no_such_output(gate_or_ref, stage, inner, profile, list(manifest["outputs"]))
        return _file_node(gate_or_ref, profile, None, {})
    stages = finished_stages(profile)
    for stage, manifest in stages.items():
        if gate := manifest.get("gates", {}).get(gate_or_ref):
            note = f"{gate['verdict']} in {stage}"
            return Lineage(gate_or_ref, "gate", note=note, inputs=_sources(stage, manifest, profile, {}))
    known = [name for manifest in stages.values() for name in manifest.get("gates", {})]
    near = nearest(gate_or_ref, known)
    raise ArtifactError(
        expected=f"a gate that a finished stage of {profile} has judged, or stage/file",
        found=repr(gate_or_ref),
        why=f"{len(known)} gates are recorded there, and it is none of them",
        fix=near.strip(" ()") or f"run its stage first: ./run_all.sh {profile}",
    )


def finished_stages(profile: str) -> dict[str, dict[str, Any]]:
    """{stage: manifest} of all stages of a profile that have one, in order; instances such as 10_modifiers/code too."""
    base = outputs_dir(profile)
    folders = sorted(path.parent for pattern in ("*", "*/*") for path in base.glob(f"{pattern}/{MANIFEST}"))
    inside = [folder for folder in folders if not folder.relative_to(base).parts[0].startswith(".")]
    return {folder.relative_to(base).as_posix(): read_manifest(folder) for folder in inside}


def _sources(stage: str, manifest: dict[str, Any], profile: str, known: dict[str, Lineage]) -> list[Lineage]:
    nodes = []
    for ref, entry in manifest["inputs"].items():
        if ref.startswith(RAW):
            note = f"{entry['rows']} rows, {entry['licence']}"
            nodes.append(Lineage(ref, "raw", entry["sha256"], note))
        else:
            nodes.append(_file_node(ref, profile, entry, known))
    return nodes


def _file_node(ref: str, profile: str, entry: dict[str, Any] | None, known: dict[str, Lineage]) -> Lineage:
    """A file of a finished stage; `entry` is what its reader recorded (None at the root of the tree)."""
    if ref not in known:
        stage, _ = split_ref(ref, profile)
        folder = outputs_dir(profile) / stage
        manifest = read_manifest(folder)
        inputs = _sources(stage, manifest, profile, known)
        commit, dirty, _ = (manifest.get("git_commit") or "no commit").partition("+dirty")
        note = f"made by {stage} at {commit[:12]}{dirty}"
        known[ref] = Lineage(ref, "file", _recorded_sha256(ref, stage, manifest), note, False, inputs)
    node = known[ref]
    if entry is None or entry["sha256"] == node.sha256:
        return node
    return Lineage(ref, "file", entry["sha256"], node.note, True, node.inputs)


def _recorded_sha256(ref: str, stage: str, manifest: dict[str, Any]) -> str:
    inner = ref.removeprefix(f"{stage}/")
    if inner in manifest["outputs"]:
        return manifest["outputs"][inner]["sha256"]
    files = {name: entry["sha256"] for name, entry in manifest["outputs"].items() if name.startswith(f"{inner}/")}
    return combine({name.removeprefix(f"{inner}/"): sha256 for name, sha256 in files.items()}) if files else ""


def _no_such_output(ref: str, stage: str, inner: str, profile: str, known: list[str]) -> ArtifactError:
    return ArtifactError(
        expected=f"an output of {stage}: {', '.join(known[:12])}",
        found=f"{ref!r}{nearest(inner, known)}",
        why="its manifest lists no such file or folder",
        fix=f"take one of its outputs; if the notebook makes this one now: ./run_all.sh {profile} --only {stage}",
    )
