"""Profiles and their facts: the folders of `params/`, which may extend one another.

`params/<profile>/profile.yaml` holds facts of the whole profile and may say `extends: tiny`: whatever file or fact is
missing here is then taken from there.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from cogumi_utils.cells import ParameterError
from cogumi_utils.gate_rules import nearest
from cogumi_utils.paths import params_dir
from cogumi_utils.yaml_lines import read_yaml

SMOKE = "smoke"
FACTS_FILE = "profile.yaml"


@dataclass(frozen=True, slots=True)
class Facts:
    """`profile.yaml`: facts of a profile that no notebook asks for. Those left out come from the profile it extends."""

    description: str = ""
    extends: str = ""
    disk_gb: float = 0.2  # free space that a stage must find before it starts
    usd_per_hour: float = 0.0  # price of the machine that the profile is made for
    raise_on_failed_gate: bool = True  # end a stage with an error when a gate that it requires fails
    minutes: dict[str, float] = field(default_factory=dict)  # estimate per instance, for plans and progress lines
    stages: list[str] = field(default_factory=list)  # the instances that this profile runs; empty: all
    domains: list[str] = field(default_factory=list)  # of them, those that a run includes unasked; empty: all


def profiles() -> list[str]:
    """Names of all profiles: `smoke` and the folders of `params/`."""
    folders = (path for path in params_dir().iterdir() if path.is_dir() and not path.name.startswith("."))
    return sorted({SMOKE, *(path.name for path in folders)})


def lookup_path(profile: str) -> list[str]:
    """The profile and those that it extends, nearest first. Unknown names and circles are refused."""
    chain: list[str] = []
    while profile:
        if profile in chain:
            raise _circle(chain[-1], profile)
        if profile not in profiles():
            raise unknown("profile", profile, profiles())
        chain.append(profile)
        profile = _own_facts(profile).get("extends", "")
    return chain


def profile_facts(profile: str) -> Facts:
    """The facts of a profile; those that its file leaves out come from the profile that it extends."""
    merged: dict[str, Any] = {"raise_on_failed_gate": False} if profile == SMOKE else {}
    for name in reversed(lookup_path(profile)):
        merged |= _own_facts(name)
    return Facts(**merged)


def _own_facts(profile: str) -> dict[str, Any]:
    path = params_dir() / profile / FACTS_FILE
    if not path.is_file():
        return {}
    values, lines = read_yaml(path)
    faults = [f"{shown(path)}:{lines[name]}: {fault}" for name in values if (fault := _fact_fault(name, values[name]))]
    if faults:
        raise faulty(faults)
    return values


def _fact_fault(name: str, value: Any) -> str:
    known = [item.name for item in fields(Facts)]
    if name not in known:
        return f"unknown fact {name!r}{nearest(name, known)}"
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    names = isinstance(value, list) and all(isinstance(item, str) for item in value)
    right = {
        "disk_gb": number and value >= 0,
        "usd_per_hour": number and value >= 0,
        "raise_on_failed_gate": isinstance(value, bool),
        "minutes": isinstance(value, dict) and all(isinstance(item, (int, float)) for item in value.values()),
        "stages": names,
        "domains": names,
    }.get(name, isinstance(value, str))
    return "" if right else f"{name}: {value!r} is not what it takes"


def shown(path: Path) -> str:
    """The path from the repository's root, for messages."""
    return path.relative_to(params_dir().parent).as_posix()


def faulty(faults: list[str]) -> ParameterError:
    """One error for all faults."""
    return ParameterError(
        expected="parameters that the notebooks' parameters cells know, of their types and inside their ranges",
        found="\n          ".join(faults),
        why="papermill ignores a misspelled name, and a wrong type fails only after the work has begun",
        fix="mend the lines above; names and ranges stand in the first code cell of each notebook",
    )


def unknown(what: str, name: str, known: list[str]) -> ParameterError:
    """A name that there is none of, with the nearest right one."""
    return ParameterError(
        expected=f"a {what}: {', '.join(known)}",
        found=f"{name!r}",
        why=f"there is no such {what}",
        fix=f"use one of them{nearest(name, known)}",
    )


def _circle(profile: str, extended: str) -> ParameterError:
    return ParameterError(
        expected="profiles that end in one which extends nothing",
        found=f"params/{profile}/profile.yaml extends {extended}, which extends {profile}",
        why="a missing file would be looked for in a circle",
        fix=f"take `extends` out of params/{profile}/profile.yaml or params/{extended}/profile.yaml",
    )
