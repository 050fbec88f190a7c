"""Run ONE stage: its notebook through papermill, in a strict kernel, catching what papermill lets pass.

    python -m cogumi_utils.runner 02_qlora --profile tiny [--threads N]

What papermill would call a success and is none here: a failing `!command`, an exception in a thread, `sys.exit(0)` or
the kernel's end half-way, a misspelled parameter, a notebook without a manifest at its end, outputs that don't verify.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

from cogumi_utils import params, rendered, stages
from cogumi_utils.artifacts import MANIFEST, ArtifactError, verify
from cogumi_utils.errors import CogumiError
from cogumi_utils.fingerprint import PACKAGE
from cogumi_utils.kernel import FAULTS_ENV, TIE_ENV, die_with_parent, manager_class
from cogumi_utils.paths import notebooks_dir, outputs_dir
from cogumi_utils.stages import Stage

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS", "RAYON_NUM_THREADS")
# A thread that has nothing to do sleeps. By default it spins, and where anything else runs beside, another stage or a
# browser, it keeps the core from the very thread that it waits for.
WAITING = ("OMP_WAIT_POLICY", "passive")
# Progress bars are for who waits; a rendered notebook would keep their last state, with clock times in it.
QUIET = {"TQDM_DISABLE": "1", "PYTHONWARNINGS": "ignore:IProgress not found"}
FOUR_PARTS = re.compile(r"expected: (.*?)\n +found: (.*?)\n +why: (.*?)\n +fix: (.*)", re.DOTALL)
ANSI = re.compile(r"\x1b\[[0-9;]*m")
SHOWN_LINES = 15
USER_ERROR, GATE_FAILED = 2, 3  # exit codes; 1 is any other failure


class StageFailed(Exception):
    """The stage did not end as it should. str: what to show the user; GATE_FAILED keeps the stage's artifacts."""

    def __init__(self, text: str, exit_code: int = 1):
        super().__init__(text)
        self.exit_code = exit_code


def run_stage(stage: Stage) -> dict[str, Any]:
    """Run the stage's notebook and keep it rendered. Returns the manifest; raises StageFailed with what to show."""
    values = params.load_profile(stage.profile)[stage.name]
    set_aside(stage, "stale")
    draft = half_rendered(stage)
    short = "/tmp" if len(tempfile.gettempdir()) > 60 else None  # the kernel's sockets lie there, see `manager_class`
    with tempfile.TemporaryDirectory(prefix="cogumi-", dir=short) as scratch:
        faults = Path(scratch) / "faults.txt"
        failure = execute(stage, values, draft, faults)
        failure = thread_failure(faults) or failure or unfinished(draft)
    try:
        manifest = judged(stage, values, failure)
    except StageFailed:
        set_aside(stage, "failed")
        raise
    keep_rendered(stage, draft)
    if failure:
        raise failure
    return manifest


def execute(stage: Stage, values: dict[str, Any], draft: Path, faults: Path) -> StageFailed | None:
    """Execute the notebook into `draft`; what papermill raised, put into words."""
    import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    os.environ.update({FAULTS_ENV: str(faults), **{name: os.environ.get(name, word) for name, word in QUIET.items()}})
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(PACKAGE.parent), os.environ.get("PYTHONPATH"))))
    cell, running = params.schema(stage.notebook.stem), [0]
    changed = {name: value for name, value in values.items() if value != cell[name].value}

    def cell_started(cell: Any, cell_index: int) -> None:
        running[0] = cell_index
        write_status(stage, cell=cell_index)

    try:
        papermill.execute_notebook(
            stage.notebook, draft, parameters=changed, cwd=notebooks_dir(), kernel_name="python3",
            kernel_manager_class=manager_class(faults.parent), on_cell_start=cell_started,
            record_timing=False, coalesce_streams=True, progress_bar=False,
        )  # fmt: skip
    except PapermillExecutionError as error:
        return cell_failure(error)
    except DeadKernelError:
        return StageFailed(f"the kernel ended in cell {running[0]}: os._exit, a crash, or killed (out of memory?)")
    return None


def cell_failure(error: Any) -> StageFailed:
    """A cell's exception: a CogumiError's four lines, or the last lines of the traceback."""
    if parts := FOUR_PARTS.search(error.evalue):
        failure = CogumiError(**dict(zip(("expected", "found", "why", "fix"), parts.groups(), strict=True)))
        return StageFailed(str(failure), GATE_FAILED if error.ename == "GateFailed" else USER_ERROR)
    return StageFailed(last_lines("\n".join(error.traceback) or f"{error.ename}: {error.evalue}"))


def last_lines(text: str) -> str:
    return "\n".join(ANSI.sub("", text).splitlines()[-SHOWN_LINES:])


def thread_failure(faults: Path) -> StageFailed | None:
    """What a thread of the notebook died of, if one did."""
    if not faults.exists():
        return None
    return StageFailed("an exception ended a thread:\n" + last_lines(faults.read_text(encoding="utf-8")))


def unfinished(draft: Path) -> StageFailed | None:
    """A run that stopped early without an error (sys.exit(0), exit()): a code cell that was never completed."""
    for number, cell in enumerate(json.loads(draft.read_text(encoding="utf-8"))["cells"]):
        if cell["cell_type"] == "code" and cell["metadata"]["papermill"]["status"] != "completed":
            return StageFailed(f"the notebook stopped in cell {number}, before its end, without an error (sys.exit?)")
    return None


def judged(stage: Stage, values: dict[str, Any], failure: StageFailed | None) -> dict[str, Any]:
    """The manifest that this run left, verified; raises StageFailed where the run does not count."""
    if failure and failure.exit_code != GATE_FAILED:
        raise failure
    try:
        manifest = verify(stage.folder)
    except ArtifactError as broken:
        raise failure or StageFailed(str(broken), USER_ERROR) from None
    if manifest["hashes"]["parameters"] != params.parameters_hash(values):
        raise StageFailed("the manifest holds other parameters than those that were given to the notebook")
    return manifest


def set_aside(stage: Stage, why: str) -> None:
    """Rename the stage's manifest (`manifest.stale.json`): its files stay where they are, but no longer count."""
    manifest = stage.folder / MANIFEST
    if manifest.exists():
        os.replace(manifest, manifest.with_name(f"manifest.{why}.json"))


def keep_rendered(stage: Stage, draft: Path) -> None:
    import nbformat

    size = rendered.write(nbformat.read(draft, as_version=4), stage.rendered)
    draft.unlink()
    if size > rendered.MAX_BYTES:
        limit = rendered.MAX_BYTES / 1e3
        print(f"note: {stage.rendered.name} has {size / 1e3:.0f} KB, more than the {limit:.0f} KB that pages show well")


def half_rendered(stage: Stage) -> Path:
    """The notebook as far as it got; kept when the stage fails."""
    return outputs_dir(stage.profile) / ".partial" / f"{stage.name}.ipynb"


def status_file(stage: Stage) -> Path:
    """What a run in progress tells others: {"pid", "cell"}, and of a failed one {"failure", "exit_code"}."""
    return half_rendered(stage).with_suffix(".status.json")


def write_status(stage: Stage, **facts: Any) -> None:
    path = status_file(stage)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps({"pid": os.getpid(), **facts}), encoding="utf-8")
    os.replace(draft, path)


def report(stage: Stage) -> int:
    """Run the stage, print what became of it, and return the exit code."""
    write_status(stage, cell=0)
    try:
        manifest = run_stage(stage)
    except Exception as error:
        failed = error if isinstance(error, StageFailed) else StageFailed(last_lines(traceback.format_exc()))
        kept = half_rendered(stage) if half_rendered(stage).exists() else stage.rendered
        text = f"{failed}\nnotebook: {kept}"
        write_status(stage, failure=text, exit_code=failed.exit_code)
        print(text, file=sys.stderr)
        return failed.exit_code
    status_file(stage).unlink()
    print(f"{stage.name}: {manifest['headline']}")
    return 0


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m cogumi_utils.runner", description="Run one stage of a profile.")
    parser.add_argument("stage")
    parser.add_argument("--profile", default="tiny")
    parser.add_argument("--threads", type=int, help="threads of numeric libraries (default: all cores)")
    options = parser.parse_args(argv)
    if os.environ.get(TIE_ENV):
        die_with_parent()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if options.threads:
        os.environ.update(dict.fromkeys(THREADS, str(options.threads)))
    os.environ.setdefault(*WAITING)
    try:
        graph = stages.graph(options.profile, stages.ALL_DOMAINS)  # who names a stage wants it
        codes = [report(graph[name]) for name in stages.find(options.stage, graph)]
    except CogumiError as error:
        print(error, file=sys.stderr)
        return USER_ERROR
    return max(codes)


if __name__ == "__main__":
    sys.exit(main())
