"""Where things are, found from the repository root and never from the working directory."""

from __future__ import annotations

import os
from pathlib import Path

from cogumi_utils.errors import CogumiError

OUTPUTS_ENV = "COGUMI_OUTPUTS"
DATA_ENV = "COGUMI_DATA"


def repo_root(start: Path | None = None) -> Path:
    """The folder that holds `pyproject.toml` and `notebooks/`, searched upwards from `start` (default: here)."""
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents, Path(__file__).resolve().parents[1]):
        if (folder / "pyproject.toml").is_file() and (folder / "notebooks").is_dir():
            return folder
    raise CogumiError(
        expected="a Cogumi checkout (a folder with pyproject.toml and notebooks/) above the working directory",
        found=f"none above {here}",
        why="parameters, notebooks and outputs are found relative to it",
        fix="cd into the cloned repository and run the command again",
    )


def notebooks_dir() -> Path:
    return repo_root() / "notebooks"


def params_dir() -> Path:
    return repo_root() / "params"


def outputs_dir(profile: str) -> Path:
    """`outputs/<profile>`, or the same under the folder that COGUMI_OUTPUTS names (tests, other disks)."""
    base = os.environ.get(OUTPUTS_ENV)
    return (Path(base).resolve() if base else repo_root() / "outputs") / profile


def data_dir() -> Path | None:
    """The local copy of the public data sets (COGUMI_DATA), or None when it is not set."""
    value = os.environ.get(DATA_ENV)
    return Path(value).resolve() if value else None
