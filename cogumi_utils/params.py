"""Profiles: folders of parameter files that override the notebooks' parameters cells, strictly.

`params/<profile>/<notebook>.yaml` overrides one notebook; with a folder `params/<profile>/<notebook>/` there is one run
("instance") of it per file, and the file's name becomes the parameter `domain`; the file beside the folder then holds
what its instances share. `params/<profile>/profile.yaml` holds
facts of the whole profile (see `Facts`) and may say `extends: tiny`: a file missing here is then taken from there.
The profile `smoke` is the cells themselves. `profile` is set by the profile's name, everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from cogumi_utils.artifacts import digest_of
from cogumi_utils.cells import Param, ParameterError, cell_parameters
from cogumi_utils.errors import CogumiError
from cogumi_utils.gate_rules import load_rules, nearest, reference_faults
from cogumi_utils.paths import notebooks_dir, params_dir
from cogumi_utils.profiles import FACTS_FILE, SMOKE, Facts, faulty, lookup_path, profile_facts, profiles, shown, unknown
from cogumi_utils.yaml_lines import read_yaml

__all__ = [
    "Facts",
    "Param",
    "ParameterError",
    "cell_parameters",
    "check_all",
    "domains",
    "load_profile",
    "profile_facts",
    "profiles",
]


def notebooks() -> list[str]:
    """Stems of the notebooks, in order: those whose name begins with two digits."""
    return sorted(path.stem for path in notebooks_dir().glob("[0-9][0-9]_*.ipynb"))


def schema(notebook: str) -> dict[str, Param]:
    """The parameters cell of a notebook given by its stem."""
    path = notebooks_dir() / f"{notebook}.ipynb"
    if not path.is_file():
        raise unknown("notebook", notebook, notebooks())
    return cell_parameters(path)


def instances(profile: str) -> dict[str, Path | None]:
    """{instance: its parameter file, None where the cell stands}: one per notebook, or one per file of its folder."""
    found: dict[str, Path | None] = {}
    for notebook in notebooks():
        for name in lookup_path(profile):
            folder, single = params_dir() / name / notebook, params_dir() / name / f"{notebook}.yaml"
            if folder.is_dir():
                found |= {f"{notebook}/{path.stem}": path for path in sorted(folder.glob("*.yaml"))}
            elif single.is_file():
                found[notebook] = single
            else:
                continue
            break
        else:
            cell = {name: param.value for name, param in schema(notebook).items()}
            found[instance_of(notebook, cell)] = None
    return found


def instance_of(notebook: str, values: dict[str, Any]) -> str:
    """`notebook`, or `notebook/<domain>` where any profile has a folder of parameter files for it."""
    folders = any((params_dir() / name / notebook).is_dir() for name in profiles())
    return f"{notebook}/{values['domain']}" if folders and "domain" in values else notebook


def domains(instances: Iterable[str]) -> list[str]:
    """The domains of instances such as `10_modifiers/code`, sorted; those without one don't count."""
    return sorted({domain for instance in instances if (domain := instance.partition("/")[2])})


def load_profile(profile: str) -> dict[str, dict[str, Any]]:
    """{instance: all its parameters}: the cell's values with the profile's overrides, checked."""
    wanted = profile_facts(profile).stages
    return {
        instance: resolve(instance, profile, path)
        for instance, path in instances(profile).items()
        if not wanted or instance in wanted
    }


def resolve(instance: str, profile: str, path: Path | None) -> dict[str, Any]:
    """All parameters of one instance; raises ParameterError that lists every fault of its file."""
    notebook, _, domain = instance.partition("/")
    cell = schema(notebook)
    files = [path for path in (_shared_file(path), path) if path] if path else []
    read = [file_faults(path, cell) for path in files]
    if faults := [fault for found, _ in read for fault in found]:
        raise faulty(faults)
    values = {name: value for _, given in read for name, value in given.items()}
    fixed = {"profile": profile, "domain": domain} if domain else {"profile": profile}
    cell_values = {name: param.value for name, param in cell.items()}
    return cell_values | values | {name: value for name, value in fixed.items() if name in cell}


def parameters_hash(parameters: dict[str, Any]) -> str:
    """The hash under which a manifest records these values: equal for equal values, in whatever order."""
    return digest_of(parameters)


def file_faults(path: Path, cell: dict[str, Param]) -> tuple[list[str], dict[str, Any]]:
    """(faults with file and line, checked values) of one parameter file."""
    try:
        values, lines = read_yaml(path)
    except CogumiError as error:
        return [error.found], {}
    of_instance = path.parent.name[:2].isdigit()
    fixed = {"profile": "folder"} | ({"domain": "file"} if of_instance or path.with_suffix("").is_dir() else {})
    own = [name for name, param in cell.items() if param.own and name not in values] if of_instance else []
    faults, checked = [f"{shown(path)}: no {name}; {cell[name].comment}" for name in own], {}
    for name, value in values.items():
        fault = f"{name} is set by the {fixed[name]}'s name" if name in fixed else value_fault(name, value, cell)
        if fault:
            faults.append(f"{shown(path)}:{lines[name]}: {fault}")
        else:
            checked[name] = cell[name].checked(value)
    return faults, checked


def _shared_file(path: Path) -> Path | None:
    """The file beside an instance's folder: what all instances of its notebook share in this profile."""
    shared = path.parent.with_suffix(".yaml")
    return shared if path.parent.name[:2].isdigit() and shared.is_file() else None


def value_fault(name: str, value: Any, cell: dict[str, Param]) -> str:
    """What is wrong with `name = value` under this cell; "" when nothing is."""
    if name not in cell:
        return f"unknown parameter {name!r}{nearest(name, cell)}"
    try:
        cell[name].checked(value)
    except ValueError as error:
        return f"{name}: {error}; legal: {cell[name].legal}"
    return ""


def check_values(notebook: str, values: dict[str, Any]) -> dict[str, Any]:
    """The values that a running notebook holds, checked against its cell. A missing name is a fault too."""
    cell = schema(notebook)
    faults = [f"{name} is not set" for name in cell if name not in values]
    faults += [fault for name, value in values.items() if (fault := value_fault(name, value, cell))]
    if faults:
        raise faulty([f"{notebook}: {fault}" for fault in faults])
    return {name: param.checked(values[name]) for name, param in cell.items()}


def check_all() -> None:
    """Check every cell, every file of every profile, and gates.yaml. One ParameterError lists all faults by line."""
    faults: list[str] = []
    for check in (*(partial(schema, notebook) for notebook in notebooks()), load_rules):
        faults += _fault_of(check)
    if not faults:  # the checks below read the cells
        cells = {notebook: schema(notebook) for notebook in notebooks()}
        for profile in profiles():
            faults += _fault_of(partial(profile_facts, profile)) or folder_faults(profile, cells)
        faults += reference_faults(cells, profiles())
    if faults:
        raise faulty(faults)


def _fault_of(check: Callable[[], Any]) -> list[str]:
    try:
        check()
    except CogumiError as error:
        return [error.found]
    return []


def folder_faults(profile: str, cells: dict[str, dict[str, Param]]) -> list[str]:
    """Faults of one profile's own files, and the notebooks that it has no file for."""
    folder, faults = params_dir() / profile, []
    for path in sorted(folder.rglob("*")) if folder.is_dir() else []:
        if path.is_dir() or path == folder / FACTS_FILE:
            continue
        notebook = path.parent.name if path.parent != folder else path.stem
        if path.suffix != ".yaml" or notebook not in cells:
            faults.append(f"{shown(path)}: no notebook {notebook!r}{nearest(notebook, cells)}")
        else:
            faults += file_faults(path, cells[notebook])[0]
    known, facts = instances(profile), profile_facts(profile)
    if profile != SMOKE:
        without = [name for name, path in known.items() if path is None and name in (facts.stages or known)]
        faults += [f"params/{profile}/{name}.yaml: missing" for name in without]
    for name in [*facts.stages, *facts.minutes]:
        if name not in known:
            faults.append(f"params/{profile}/profile.yaml: no stage {name!r}{nearest(name, known)}")
    for name in facts.domains:
        if name not in domains(known):
            faults.append(f"params/{profile}/profile.yaml: no domain {name!r}{nearest(name, domains(known))}")
    return faults
