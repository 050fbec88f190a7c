"""Running the stages of a plan through Snakemake, with a line of progress for each."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Collection, Sequence
from typing import IO, Any

from cogumi_utils import hardware, kernel
from cogumi_utils.artifacts import MANIFEST, read_manifest
from cogumi_utils.paths import outputs_dir, repo_root
from cogumi_utils.plan import Step
from cogumi_utils.report import Progress, shown_path
from cogumi_utils.runner import set_aside, status_file

POLL_SECONDS = 0.2
LOG_LINES = 15
GRACE_SECONDS = 20


def execute(
    todo: list[Step], domains: Collection[str] | None, *, jobs: int, lock: IO[str], extra: Sequence[str] = ()
) -> dict[str, str]:
    """Run the stages, `jobs` at a time. Returns {stage: what to show} of those that failed.

    domains: those of the graph that the stages are from (see `stages.included`).
    lock: inherited by Snakemake, so that it is held as long as one of the two lives. extra: more words for Snakemake.
    """
    profile = todo[0].stage.profile
    for step in todo:
        set_aside(step.stage, "stale")
        status_file(step.stage).unlink(missing_ok=True)
    state = outputs_dir(profile) / ".snakemake"
    shutil.rmtree(state / "incomplete", ignore_errors=True)  # what is complete, the manifests say
    state.mkdir(exist_ok=True)
    log = state / "last.log"
    with open(log, "w", encoding="utf-8") as stream:
        process = subprocess.Popen(
            [*snakemake_command(todo, profile, domains, jobs, extra), *(f"{step.name}/{MANIFEST}" for step in todo)],
            stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, pass_fds=(lock.fileno(),),
            env={**os.environ, kernel.TIE_ENV: "1"},
        )  # fmt: skip
    try:
        failures = watch(process, todo)
    except KeyboardInterrupt:
        end(process)
        raise
    if process.returncode and not failures:
        tail = "\n".join(log.read_text(encoding="utf-8").splitlines()[-LOG_LINES:])
        failures["snakemake"] = f"{tail}\nlog: {shown_path(log)}"
    return failures


def end(process: subprocess.Popen[bytes]) -> None:
    """Wait for Snakemake, which the terminal interrupted too and which ends its stages first; a process that slept
    through its interrupt is not waited for longer than `GRACE_SECONDS`: stages end with Snakemake, kernels with them.
    """
    try:
        process.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def snakemake_command(
    todo: list[Step], profile: str, domains: Collection[str] | None, jobs: int, extra: Sequence[str]
) -> list[str]:
    """Only the rules of `todo` may run: Snakemake orders and starts them, `plan` has decided which are stale."""
    folder, cores, devices = outputs_dir(profile), hardware.cpu_cores(), gpus()
    settings = {"profile": profile, "threads": max(1, cores // jobs), "gpu": int(devices > 0)}
    settings |= {} if domains is None else {"domains": ",".join(domains)}
    return [
        sys.executable, "-m", "snakemake", "--snakefile", str(repo_root() / "Snakefile"), "--directory", str(folder),
        "--runtime-source-cache-path", str(folder / ".snakemake" / "sources"), "--nolock", "--keep-going",
        "--keep-incomplete", "--cores", str(max(cores, jobs)), "--resources", f"gpu={devices}", *extra,
        "--config", *(f"{key}={value}" for key, value in settings.items()),
        "--allowed-rules", *(rule_name(step.name) for step in todo), "--",
    ]  # fmt: skip


def rule_name(stage: str) -> str:
    """The name that the Snakefile gives to a stage's rule."""
    return f"stage_{stage.replace('/', '_')}"


def gpus() -> int:
    """NVIDIA devices on this machine: so many stages run at a time there."""
    if not shutil.which("nvidia-smi"):
        return 0
    return subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True).stdout.count("GPU ")


def watch(process: subprocess.Popen[bytes], todo: list[Step]) -> dict[str, str]:
    """Show progress until Snakemake ends. Returns {stage: what to show} of the failed ones."""
    progress, waiting, failures = Progress(len(todo)), list(todo), dict[str, str]()
    while waiting:
        over = process.poll() is not None  # asked first: what ends now is still seen below
        for step in list(waiting):
            status = read_status(step)
            if status and step.name not in progress.begun:
                progress.started(step)
            if status and "failure" in status:
                failures[step.name] = status["failure"]
                progress.ended(step, "FAILED")
                waiting.remove(step)
            elif not status and (step.stage.folder / MANIFEST).exists():
                progress.ended(step, read_manifest(step.stage.folder)["headline"])
                waiting.remove(step)
        if over:
            break
        progress.running([(step, read_status(step).get("cell")) for step in waiting if step.name in progress.begun])
        time.sleep(POLL_SECONDS)
    process.wait()
    return failures


def read_status(step: Step) -> dict[str, Any]:
    """What the stage's runner says of itself; empty when it has not begun or has ended well."""
    try:
        return json.loads(status_file(step.stage).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
