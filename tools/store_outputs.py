"""Put the outputs of a finished smoke run into notebooks/, cleaned: what a reader sees there and what nbval compares.

    ./run_all.sh smoke && python tools/store_outputs.py

Sources, ids and metadata of the cells stay as they are. The notebook's own metadata gets `outputs_of`, the digest of
the code cells that ran, so that outputs which an edit has left behind can be told. Where a stage is not finished, or
ran with other code or parameters than those of now, nothing is written.
"""

from __future__ import annotations

import sys
from typing import Any

import nbformat

from cogumi_utils import params, rendered, stages
from cogumi_utils.artifacts import atomic_write_bytes, digest_of, verify
from cogumi_utils.errors import CogumiError
from cogumi_utils.paths import notebooks_dir
from cogumi_utils.profiles import SMOKE
from cogumi_utils.stages import Stage


class StoreError(CogumiError):
    """The smoke run is not the run of these notebooks."""


def main() -> int:
    try:
        merged = {stage.notebook: merged_bytes(stage) for stage in first_instances()}
    except CogumiError as error:
        print(error, file=sys.stderr)
        return 2
    for path, data in merged.items():
        atomic_write_bytes(path, data)
        print(f"{path.name}: {len(data) / 1e3:.0f} KB")
    return 0


def first_instances() -> list[Stage]:
    """One stage for each notebook: the first, where it has several instances."""
    graph = stages.graph(SMOKE)
    firsts = {stage.notebook: stage for stage in reversed(graph.values())}
    missing = [name for name in params.notebooks() if notebooks_dir() / f"{name}.ipynb" not in firsts]
    if missing:
        raise StoreError(
            expected="smoke to run every notebook",
            found=f"no stage for {', '.join(missing)}",
            why="stored outputs are those of smoke",
            fix="mend the graph: ./run_all.sh smoke --dry-run shows it",
        )
    return list(firsts.values())


def merged_bytes(stage: Stage) -> bytes:
    """The notebook's file with the run's outputs and cell numbers in its code cells."""
    require_same(stage, verify(stage.folder))
    notebook, run = (nbformat.read(path, as_version=4) for path in (stage.notebook, stage.rendered))
    made = {cell.id: cell for cell in rendered.cleaned(run).cells}
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = made[cell.id].outputs, made[cell.id].execution_count
    notebook.metadata["outputs_of"] = digest_of([cell.source for cell in notebook.cells if cell.cell_type == "code"])
    data = nbformat.writes(notebook).encode() + b"\n"
    if len(data) > rendered.MAX_BYTES:
        raise StoreError(
            expected=f"at most {rendered.MAX_BYTES:,} bytes a notebook",
            found=f"{stage.notebook.name} with {len(data):,}",
            why="code-hosting pages show no more",
            fix="smaller figures, or fewer rows in its tables",
        )
    return data


def require_same(stage: Stage, manifest: dict[str, Any]) -> None:
    """Words may have changed since the run, code and parameters not."""
    then = manifest["hashes"]["code"], manifest["hashes"]["parameters"]
    now = stages.code_hash(stage.name), params.parameters_hash(params.load_profile(SMOKE)[stage.name])
    if then != now:
        raise StoreError(
            expected=f"{stage.rendered.name} to be a run of the code and parameters of now",
            found="a run of others",
            why="outputs that the code does not give are worse than none",
            fix="./run_all.sh smoke, then this again",
        )


if __name__ == "__main__":
    sys.exit(main())
