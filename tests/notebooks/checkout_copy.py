"""A copy of this checkout, with the words that a user types there: what runs in it changes nothing here."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from cogumi_utils import artifacts

ROOT = Path(__file__).resolve().parents[2]
UNSET = ("COGUMI_DATA", "COGUMI_OUTPUTS", "CONDA_PREFIX", "PYTHONPATH", "SNAKEMAKE_PROFILE", "WANDB_MODE")


@dataclass(frozen=True)
class Copy:
    """A copy of the checkout, with an outputs folder of its own, and the words that a user types there."""

    root: Path
    outputs: Path
    environment: dict[str, str]
    said: str = ""  # by the run that made the outputs

    def run_all(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["./run_all.sh", *words], **self.process(environment), stdin=subprocess.DEVNULL, capture_output=True,
            text=True,
        )  # fmt: skip

    def python(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Python in this copy, such as a stage's runner: nothing is looked at beforehand."""
        return subprocess.run([sys.executable, *words], **self.process({}), capture_output=True, text=True)

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        """run_all.sh in the background, in a process group of its own."""
        return subprocess.Popen(
            ["./run_all.sh", *words], **self.process({}), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip

    def process(self, environment: dict[str, str]) -> dict:
        places = {"COGUMI_OUTPUTS": str(self.outputs), "PYTHONPATH": str(self.root)}
        return {"cwd": self.root, "env": {**self.environment, **places, **environment}}

    def stage(self, name: str) -> Path:
        return self.outputs / "smoke" / name

    def manifest(self, stage: str) -> dict:
        return artifacts.read_manifest(self.stage(stage))

    def manifests(self) -> dict[str, tuple[str, int]]:
        """{stage: (sha256, time) of its manifest}: a stage that ran again has another."""
        smoke = self.outputs / "smoke"
        paths = sorted([*smoke.glob(f"[0-9]*/{artifacts.MANIFEST}"), *smoke.glob(f"[0-9]*/*/{artifacts.MANIFEST}")])
        return {
            path.parent.relative_to(smoke).as_posix(): (artifacts.sha256_file(path), path.stat().st_mtime_ns)
            for path in paths
        }

    def set(self, stage: str, text: str) -> None:
        """Parameters of smoke that differ from the notebook's cell."""
        path = self.root / f"params/smoke/{stage}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def fork(self, folder: Path) -> Copy:
        """The same checkout and the same results elsewhere, to be changed there."""
        shutil.copytree(self.root, folder / "checkout")
        shutil.copytree(self.outputs, folder / "outputs")
        return Copy(folder / "checkout", folder / "outputs", make_environment(folder))


def make_copy(folder: Path) -> Copy:
    """What git tracks, or would track, of this checkout; nothing has run in it."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", ":!outputs"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / "checkout" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / "checkout" / name)
    (folder / "outputs").mkdir()
    return Copy(folder / "checkout", folder / "outputs", make_environment(folder))


def make_environment(folder: Path) -> dict[str, str]:
    """Variables under which run_all.sh takes this interpreter for an active environment that is set up already."""
    python = folder / "venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    shutil.copy2(folder / "checkout/requirements-cuda.lock", folder / "venv/.cogumi-lock")
    (folder / "venv/.cogumi-root").write_text(f"{folder / 'checkout'}\n")
    inherited = {name: value for name, value in os.environ.items() if name not in UNSET}
    return {**inherited, "VIRTUAL_ENV": str(folder / "venv")}
