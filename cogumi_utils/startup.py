"""What `run.start` settles before the first cell of work: parameter values, seeds, hashes, the table of decisions."""

from __future__ import annotations

import random
import sys
from typing import TYPE_CHECKING, Any

from cogumi_utils import hardware, params
from cogumi_utils.cells import ParameterError, assigned_names
from cogumi_utils.fingerprint import code_hash, notebook_hash

if TYPE_CHECKING:
    import pandas as pd

    from cogumi_utils.hardware import Device

INJECTED = "# Parameters"  # the first line of the cell that papermill puts in
SHOWN_VERSIONS = ("python", "torch", "transformers", "peft", "trl", "numpy")


def given_values(notebook: str, namespace: dict[str, Any]) -> dict[str, Any]:
    """The parameters as the running notebook holds them, checked. What papermill injected must be known to the cell."""
    cell = params.schema(notebook)
    names = [name for name in cell if name in namespace]
    for source in namespace.get("In", []):
        if source.startswith(INJECTED):
            names += [name for name in assigned_names(source) if name not in names]
    values = params.check_values(notebook, {name: namespace[name] for name in names})
    for name in ("profile", "seed"):
        if name not in values:
            raise _no_parameter(notebook, name)
    params.lookup_path(values["profile"])  # refuses a profile that doesn't exist
    return values


def seed_everything(seed: int, with_torch: bool | None = None) -> None:
    """Seed `random`, numpy and torch. torch is seeded where it is loaded already, or asked for by `with_torch`."""
    import numpy as np

    random.seed(seed)
    np.random.seed(seed % 2**32)
    if with_torch or (with_torch is None and "torch" in sys.modules):
        import torch

        torch.manual_seed(seed)  # every device


def source_hashes(instance: str) -> dict[str, str]:
    """{code, notebook}: hashes of what decides a stage's result beside its parameters and inputs."""
    return {"code": code_hash(instance), "notebook": notebook_hash(instance)}


def settings_frame(notebook: str, values: dict[str, Any], device: Device, tracking: str) -> pd.DataFrame:
    """The table at the top of every notebook: setting, value, note (what it is; where it differs from the cell)."""
    import pandas as pd

    rows = []
    for name, param in params.schema(notebook).items():
        changed = "" if values[name] == param.value else f" · changed, the cell has {param.value!r}"
        rows.append((name, values[name], f"{param.comment}{changed}"))
    found = hardware.versions()
    shown = " · ".join(f"{name} {found[name]}" for name in SHOWN_VERSIONS if name in found)
    machine = f"{hardware.cpu_cores()} cores of {hardware.cpu_model()}, {hardware.memory_bytes() / 1e9:.0f} GB"
    rows += [("device", device.kind, device.why), ("machine", machine, ""), ("versions", shown, "")]
    rows += [("git commit", *commit_and_note()), ("W&B", tracking, "")]
    return pd.DataFrame([tuple(map(str, row)) for row in rows], columns=["setting", "value", "note"])


def commit_and_note() -> tuple[str, str]:
    """("1a2b3c4d5e6f", "with uncommitted changes")."""
    commit, _, dirty = hardware.git_commit().partition("+")
    return commit[:12] or "none", "with uncommitted changes" if dirty else "" if commit else "not a git checkout"


def _no_parameter(notebook: str, name: str) -> ParameterError:
    return ParameterError(
        expected="every notebook to have the parameters `profile` and `seed`",
        found=f"no `{name}` in the parameters cell of {notebook}",
        why="they decide where outputs go and make runs repeatable",
        fix=f"add it to the parameters cell of notebooks/{notebook}.ipynb",
    )
