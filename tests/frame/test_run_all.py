"""run_all.sh sets up: which environment, which lock, which words to pip. Python is a stand-in that takes notes."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PYTHON = """#!/bin/bash
# -c asks for the version; -m venv makes a copy of this file; everything else is noted
case "$*" in
  "-c "*) exit ${WRONG_VERSION:-0} ;;
  "-m venv"*) mkdir -p "${@: -1}/bin"; cp "$0" "${@: -1}/bin/python"; exit ;;
  "-m pip index versions torch") echo "Available versions: 2.14.0, $TORCH"; for line in {1..9999}; do echo more; done ;;
  "-m cogumi_utils.arguments"*) [[ $3 != tyni ]] || { echo refused >&2; exit 2; } ;;
  *--constraint*) echo "$* <$(cat)>" >>"$NOTES"; exit ${PIP_FAILS:-0} ;;
  *) echo "$*" >>"$NOTES" ;;
esac
"""
NEEDED = ("bash", "sed", "grep", "cat", "cp", "cmp", "dirname", "tail", "mkdir", "uname")


@pytest.fixture
def machine(tmp_path):
    """A clone of run_all.sh and its locks, on a machine with the fewest programs; returns how to type words there."""
    root, programs = tmp_path / "clone", tmp_path / "programs"
    root.mkdir()
    programs.mkdir()
    for name in ("run_all.sh", "requirements.lock", "requirements-cuda.lock"):
        shutil.copy2(ROOT / name, root / name)
    for name in NEEDED:
        (programs / name).symlink_to(shutil.which(name))
    for name in ("python3.11", "c++"):
        (programs / name).write_text(PYTHON)
        (programs / name).chmod(0o755)
    version = next(line for line in (root / "requirements.lock").read_text().splitlines() if line.startswith("torch=="))
    torch = version.split("==")[1].split()[0]
    notes = tmp_path / "notes"
    base = {"PATH": str(programs), "NOTES": str(notes), "TORCH": f"{torch}+cpu", "HOME": str(tmp_path)}

    def type_words(*words: str, **environment: str) -> tuple[subprocess.CompletedProcess[str], list[str]]:
        notes.unlink(missing_ok=True)
        done = subprocess.run(
            ["bash", "run_all.sh", *words], cwd=root, env={**base, **environment}, capture_output=True, text=True
        )
        return done, notes.read_text().splitlines() if notes.exists() else []

    type_words.root, type_words.programs, type_words.torch = root, programs, torch
    return type_words


PIP = "-m pip install --no-input --disable-pip-version-check"


def program(machine, name: str, text: str = "#!/bin/bash\n") -> None:
    (machine.programs / name).write_text(text)
    (machine.programs / name).chmod(0o755)


def test_the_first_start_makes_an_environment_and_the_second_costs_nothing(machine):
    done, notes = machine("smoke", "--jobs", "2")
    assert done.returncode == 0, done.stderr
    assert notes == [
        f"{PIP} --require-hashes -r requirements.lock --constraint /dev/stdin <torch=={machine.torch}+cpu>",
        f"{PIP} --no-deps --no-build-isolation --editable .",
        "-m cogumi_utils.pipeline smoke --jobs 2",
    ]
    assert (machine.root / ".venv/.cogumi-lock").read_bytes() == (machine.root / "requirements.lock").read_bytes()
    assert machine()[1] == ["-m cogumi_utils.pipeline"]
    assert machine("test", "-k", "x")[1] == ["-m pytest -n 2 --dist loadfile -k x"]


def test_a_changed_lock_is_installed(machine):
    machine()
    with open(machine.root / "requirements.lock", "a") as lock:
        lock.write("# changed\n")
    assert machine()[1][0].startswith(f"{PIP} --require-hashes -r requirements.lock")


def test_another_checkout_in_the_same_environment_installs_only_itself(machine):
    machine()
    (machine.root / ".venv/.cogumi-root").write_text("/elsewhere\n")
    assert machine()[1] == [f"{PIP} --no-deps --no-build-isolation --editable .", "-m cogumi_utils.pipeline"]


def test_without_a_cpu_build_the_cuda_lock_is_taken_and_said_why(machine):
    done, notes = machine(TORCH="2.12.0+cpu")
    assert notes[0] == f"{PIP} --require-hashes -r requirements-cuda.lock"
    assert f"no CPU build of torch {machine.torch}" in done.stdout and "3 GB" in done.stdout
    assert machine()[1] == ["-m cogumi_utils.pipeline"]


def test_a_gpu_means_the_cuda_lock_even_after_a_cpu_set_up(machine):
    machine()
    program(machine, "nvidia-smi")
    done, notes = machine()
    assert notes[0] == f"{PIP} --require-hashes -r requirements-cuda.lock" and "NVIDIA GPU found" in done.stdout
    assert machine()[1] == ["-m cogumi_utils.pipeline"]


def test_macos_takes_the_cpu_lock_as_it_is(machine):
    (machine.programs / "uname").unlink()
    program(machine, "uname", "#!/bin/bash\n[[ $1 == -s ]] && echo Darwin || echo arm64\n")
    assert machine()[1][0] == f"{PIP} --require-hashes -r requirements.lock"


@pytest.mark.parametrize("variables", [{"VIRTUAL_ENV": ""}, {"CONDA_PREFIX": "", "CONDA_DEFAULT_ENV": "cogumi"}])
def test_an_active_environment_is_used(machine, tmp_path, variables):
    active = tmp_path / "active"
    (active / "bin").mkdir(parents=True)
    shutil.copy2(machine.programs / "python3.11", active / "bin/python")
    done, _ = machine(**{name: value or str(active) for name, value in variables.items()})
    assert done.returncode == 0 and (active / ".cogumi-lock").exists() and not (machine.root / ".venv").exists()


def test_the_base_environment_of_conda_is_left_alone(machine, tmp_path):
    machine(CONDA_PREFIX=str(tmp_path / "base"), CONDA_DEFAULT_ENV="base")
    assert (machine.root / ".venv/.cogumi-lock").exists() and not (tmp_path / "base").exists()


def refused(done: subprocess.CompletedProcess[str]) -> str:
    names = [line.split(":")[0].strip() for line in done.stderr.splitlines()[-4:]]
    assert done.returncode == 2 and names == ["expected", "found", "why", "fix"], done.stderr
    return done.stderr


def test_another_python_is_refused(machine, tmp_path):
    assert "Python 3.11" in refused(machine(WRONG_VERSION="1")[0])
    active = tmp_path / "active"
    (active / "bin").mkdir(parents=True)
    shutil.copy2(machine.programs / "python3.11", active / "bin/python")
    assert f"none in {active}" in refused(machine(VIRTUAL_ENV=str(active), WRONG_VERSION="1")[0])


def test_a_missing_compiler_is_refused_before_anything_is_installed(machine):
    (machine.programs / "c++").unlink()
    done, notes = machine()
    assert "a C++ compiler" in refused(done) and notes == []
    program(machine, "clang++")
    assert machine()[0].returncode == 0


def test_an_unknown_word_is_refused_before_anything_is_installed(machine):
    done, notes = machine("tyni")
    assert done.returncode == 2 and "refused" in done.stderr and notes == []


def test_a_failed_install_is_shown_and_tried_again(machine):
    done, notes = machine(PIP_FAILS="1")
    assert "pip to install requirements.lock" in refused(done) and len(notes) == 1
    assert len(machine()[1]) == 3


def test_a_missing_bubblewrap_is_only_mentioned(machine):
    assert "sandlock" in machine()[0].stdout
    shutil.rmtree(machine.root / ".venv")
    program(machine, "bwrap")
    assert "sandlock" not in machine()[0].stdout


def test_help_needs_no_environment(machine):
    done, notes = machine("--help")
    assert done.returncode == 0 and notes == [] and not (machine.root / ".venv").exists()
    for word in ("--only", "--from", "--to", "--domains", "--jobs", "--dry-run", "--fresh", "test"):
        assert word in done.stdout
    assert "set -euo" not in done.stdout


def test_it_works_from_any_folder(machine, tmp_path):
    done = subprocess.run(
        ["bash", str(machine.root / "run_all.sh"), "--help"], cwd=tmp_path, capture_output=True, env={**os.environ}
    )
    assert done.returncode == 0 and b"--only" in done.stdout
