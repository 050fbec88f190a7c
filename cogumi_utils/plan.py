"""Which stages would run, and why: manifests are verified and compared with the parameters, code and inputs of now."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cogumi_utils import params
from cogumi_utils.artifacts import MANIFEST, ArtifactError, sha256_file, verify
from cogumi_utils.fingerprint import code_hash
from cogumi_utils.lineage import RAW
from cogumi_utils.paths import data_dir
from cogumi_utils.profiles import Facts, profile_facts
from cogumi_utils.stages import Stage

STALE = ("manifest.stale.json", "manifest.failed.json")


@dataclass(slots=True)
class Step:
    """One stage in a plan. why: the reason to run it, "" where it is fresh; blocked: the reason not to run it now."""

    stage: Stage
    why: str = ""
    blocked: str = ""
    chosen: bool = True
    parameters: dict[str, Any] = field(default_factory=dict)  # of now
    facts: Facts = field(default_factory=Facts)  # of the profile
    manifest: dict[str, Any] = field(default_factory=dict)  # of the complete stage, {} where there is none
    last: dict[str, Any] = field(default_factory=dict)  # of the last finished run, stale or not: for estimates

    @property
    def name(self) -> str:
        return self.stage.name

    @property
    def runs(self) -> bool:
        return bool(self.why) and self.chosen and not self.blocked

    def minutes(self) -> float | None:
        """Expected minutes: those of the last run, else the profile's estimate, else None."""
        if self.last:
            return self.last["seconds"] / 60
        return self.facts.minutes.get(self.name)

    def usd(self) -> float:
        return (self.minutes() or 0) / 60 * self.facts.usd_per_hour


def make_plan(graph: dict[str, Stage], chosen: Collection[str], *, fresh: bool, named: bool) -> list[Step]:
    """A Step for each stage of the graph, in order.

    fresh: chosen stages run even where nothing changed. named: the user named a stage to start with, so that a failed
    gate of an earlier one does not hold it back.
    """
    steps: dict[str, Step] = {}
    (profile,) = {stage.profile for stage in graph.values()}
    values, facts = params.load_profile(profile), profile_facts(profile)
    for name, stage in graph.items():
        known = {"parameters": values[name], "facts": facts, "last": last_manifest(stage.folder)}
        step = steps[name] = Step(stage, chosen=name in chosen, **known)
        above = [steps[upstream] for upstream in stage.upstreams]
        step.why = "--fresh" if fresh and step.chosen else reason(step, above)
        if not named:
            step.blocked = next(filter(None, (upstream.blocked or failed_gate(upstream) for upstream in above)), "")
    return list(steps.values())


def reason(step: Step, above: list[Step]) -> str:
    """Why the stage is not fresh; "" if it is (then its verified manifest is kept in the step)."""
    if not (step.stage.folder / MANIFEST).exists():
        return "not finished yet" if not step.last else "its results were set aside"
    try:
        manifest = verify(step.stage.folder)
    except ArtifactError as error:
        return f"damaged: {error.found}"
    runs = [upstream.name for upstream in above if upstream.runs]
    changed = (
        changed_parameters(step.parameters, manifest)
        or ("its code changed" if manifest["hashes"]["code"] != code_hash(step.name) else "")
        or (f"{', '.join(runs)} will run" if runs else "")
        or changed_inputs(manifest, above)
    )
    step.manifest = manifest
    return changed


def changed_parameters(now: dict[str, Any], manifest: dict[str, Any]) -> str:
    then = manifest["parameters"]
    if params.parameters_hash(now) == manifest["hashes"]["parameters"]:
        return ""
    names = [name for name in {**then, **now} if then.get(name) != now.get(name)]
    return "parameters changed: " + ", ".join(f"{name} {then.get(name)!r} -> {now.get(name)!r}" for name in names)


def changed_inputs(manifest: dict[str, Any], above: list[Step]) -> str:
    """An upstream whose manifest is another than the one that was read, or pinned source data that changed."""
    inputs = manifest["inputs"]
    for ref, entry in inputs.items():
        if ref.startswith(RAW) and (changed := changed_source(ref.removeprefix(RAW), entry)):
            return changed
    for upstream in above:
        path = upstream.stage.folder / MANIFEST
        read = {entry["manifest_sha256"] for ref, entry in inputs.items() if ref.startswith(f"{upstream.name}/")}
        # a stage that reviews all others has no such entry: there the clock must do
        newer = not read and upstream.last.get("created", "") > manifest["created"]
        if newer or (read and (not path.exists() or read != {sha256_file(path)})):
            return f"{upstream.name} was run again"
    return ""


def changed_source(name: str, entry: dict[str, Any]) -> str:
    """Whether COGUMI_DATA holds another version of a set that was read from there; "" where nothing can be said."""
    if entry.get("origin") != "local" or data_dir() is None:
        return ""
    from cogumi_utils.data import _local, sources

    try:
        same = _local.find(sources.find(name).name).sha256 == entry["sha256"]
    except _local.Missing as missing:
        return str(missing)
    return "" if same else f"the data set {name} changed in COGUMI_DATA"


def failed_gate(step: Step) -> str:
    """A required gate that this complete, unchanged stage failed; "" where the profile does not end at failed gates."""
    if step.why or not step.facts.raise_on_failed_gate:
        return ""
    failed = required_failures(step.manifest)
    return f"{step.name} failed the gate {failed[0]}" if failed else ""


def required_failures(manifest: dict[str, Any]) -> list[str]:
    gates = manifest.get("gates", {})
    return [name for name, gate in gates.items() if gate["required"] and gate["verdict"] == "FAIL"]


def last_manifest(folder: Path) -> dict[str, Any]:
    """The newest manifest of the stage that can be read at all, complete, stale or failed; {} where there is none."""
    for name in (MANIFEST, *STALE):
        try:
            found = json.loads((folder / name).read_bytes())
            return found if isinstance(found["seconds"], (int, float)) else {}
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return {}
