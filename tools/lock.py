"""Write requirements.lock (CPU) and requirements-cuda.lock from pyproject.toml: versions pinned, files hashed.

    pip install uv && python tools/lock.py [--upgrade]

One resolution serves Linux (x86_64, aarch64) and macOS (arm64) on Python 3.11. The CPU lock is the CUDA lock without
what only torch's CUDA wheel needs, and takes torch's CPU build of the same version beside the index's own wheel; pip
must be able to find that build (a find-links folder or an extra index in pip's configuration).
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

from packaging.markers import Marker
from packaging.utils import parse_wheel_filename

ROOT = Path(__file__).resolve().parents[1]
CPU_LOCK, CUDA_LOCK = ROOT / "requirements.lock", ROOT / "requirements-cuda.lock"
CUDA_ONLY = re.compile(r"nvidia-(?!ml-py)|cuda-|triton$")
PYTHON = {"python_version": "3.11", "python_full_version": "3.11.0", "implementation_name": "cpython"}
PLATFORMS = [
    {**PYTHON, "sys_platform": "linux", "platform_system": "Linux", "platform_machine": "x86_64"},
    {**PYTHON, "sys_platform": "linux", "platform_system": "Linux", "platform_machine": "aarch64"},
    {**PYTHON, "sys_platform": "darwin", "platform_system": "Darwin", "platform_machine": "arm64"},
]
PLATFORM_TAG = re.compile(r"any$|manylinux.*_(x86_64|aarch64)$|linux_(x86_64|aarch64)$|macosx_.*_(arm64|universal2)$")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions instead of those locked now")
    packages = resolve(upgrade=parser.parse_args().upgrade)
    cpu = [package for package in packages if not CUDA_ONLY.match(package["name"])]
    write(CUDA_LOCK, packages)
    write(CPU_LOCK, cpu, more={"torch": [torch_cpu_hash(packages)]})


def resolve(*, upgrade: bool) -> list[dict[str, Any]]:
    """pyproject.toml with all extras → the packages of uv's pylock.toml; the versions locked now are preferred."""
    with tempfile.TemporaryDirectory() as folder:
        found, kept = Path(folder) / "pylock.toml", Path(folder) / "kept.txt"
        kept.write_text("" if upgrade or not CUDA_LOCK.exists() else pins(CUDA_LOCK))
        command = [sys.executable, "-m", "uv", "pip", "compile", "pyproject.toml", "--all-extras", "--universal"]
        command += ["--python-version", "3.11", "--format", "pylock.toml", "--quiet", "--output-file", str(found)]
        subprocess.run([*command, "--constraints", str(kept)], cwd=ROOT, check=True)
        return tomllib.loads(found.read_text())["packages"]


def pins(lock: Path) -> str:
    return "\n".join(re.findall(r"^[\w.-]+==[^\s;]+", lock.read_text(), re.MULTILINE))


def torch_cpu_hash(packages: list[dict[str, Any]]) -> str:
    """sha256 of torch's CPU build of the locked version, as pip finds it here."""
    version = next(package["version"] for package in packages if package["name"] == "torch")
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--no-deps", "--ignore-installed", "--quiet"]
    report = subprocess.run(
        [*command, "--report", "-", f"torch=={version}+cpu"], capture_output=True, text=True, check=True
    )
    return json.loads(report.stdout)["install"][0]["download_info"]["archive_info"]["hashes"]["sha256"]


def write(path: Path, packages: list[dict[str, Any]], more: dict[str, list[str]] | None = None) -> None:
    lines = ["# Made by tools/lock.py from pyproject.toml; do not edit."]
    for package in sorted(packages, key=lambda package: package["name"]):
        where = condition(package)
        if where is None:
            continue
        hashes = sorted({*file_hashes(package), *(more or {}).get(package["name"], [])})
        lines.append(f"{package['name']}=={package['version']}{where} \\")
        lines += [f"    --hash=sha256:{digest} \\" for digest in hashes[:-1]] + [f"    --hash=sha256:{hashes[-1]}"]
    path.write_text("\n".join(lines) + "\n")
    hashes = sum("--hash" in line for line in lines)
    print(f"{path.name}: {len(lines) - hashes - 1} packages, {hashes} files")


def condition(package: dict[str, Any]) -> str | None:
    """The package's marker in its shortest form: nothing, one platform, or None where no served platform needs it."""
    marker = Marker(package["marker"]) if "marker" in package else None
    served = [platform for platform in PLATFORMS if marker is None or marker.evaluate(platform)]
    if len(served) in (0, len(PLATFORMS)):
        return "" if served else None
    for key in ("sys_platform", "platform_machine"):
        values = {platform[key] for platform in served}
        if len(values) == 1 and len(served) == sum(platform[key] in values for platform in PLATFORMS):
            return f" ; {key} == '{values.pop()}'"
    return f" ; {marker}"


def file_hashes(package: dict[str, Any]) -> list[str]:
    files = [wheel for wheel in package.get("wheels", []) if fits(wheel["url"].rsplit("/", 1)[-1])]
    files += [package["sdist"]] if "sdist" in package else []
    return [file["hashes"]["sha256"] for file in files]


def fits(filename: str) -> bool:
    """Whether CPython 3.11 on a served platform can install the wheel."""
    return any(
        PLATFORM_TAG.match(tag.platform)
        and (
            tag.interpreter in ("cp311", "py311", "py3")
            or (tag.abi == "abi3" and int(tag.interpreter.removeprefix("cp3")) <= 11)
        )
        for tag in parse_wheel_filename(filename.replace("%2B", "+"))[3]
    )


if __name__ == "__main__":
    main()
