"""`./run_all.sh`: check everything, plan, run what is stale through Snakemake, and end with one table.

A run in which nothing changed starts neither Snakemake nor a kernel. Exit codes: 0 done, 1 a stage or a required gate
failed, 2 the request or an input is wrong, 130 interrupted.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Collection, Iterable
from typing import IO, Any

from cogumi_utils import arguments, hardware, params, stages
from cogumi_utils.artifacts import ArtifactError, read_manifest
from cogumi_utils.errors import CogumiError
from cogumi_utils.paths import outputs_dir, params_dir
from cogumi_utils.plan import Step, make_plan, required_failures
from cogumi_utils.report import plan_table, result_table

LOCK_SECONDS = 3  # the processes of a run that was killed are gone by then


class PipelineError(CogumiError):
    """The run can't start."""


def main(argv: list[str] | None = None) -> int:
    try:
        return run(arguments.parse(sys.argv[1:] if argv is None else argv))
    except CogumiError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ninterrupted; finished stages are kept, the same command goes on from here", file=sys.stderr)
        return 130


def run(options: argparse.Namespace) -> int:
    params.check_all()
    domains = wanted_domains(options)
    graph = stages.graph(options.profile, domains)
    chosen = choose(options, list(graph))
    wishes = {"fresh": options.fresh, "named": bool(options.only or options.from_)}
    if options.dry_run:
        print(plan_table(make_plan(graph, chosen, **wishes)))
        return 0
    with open_lock(options.profile) as lock:
        steps = make_plan(graph, chosen, **wishes)
        todo, failures = [step for step in steps if step.runs], dict[str, str]()
        if todo:
            from cogumi_utils.execution import execute

            preflight(todo, {step.name: step for step in steps}, domains)
            print("\n".join(f"{step.name:<24} {step.why}" for step in todo), end="\n\n", flush=True)
            failures = execute(todo, domains, jobs=options.jobs, lock=lock, extra=options.snakemake)
        return conclude([step for step in steps if step.chosen], failures, len(todo))


def wanted_domains(options: argparse.Namespace) -> list[str] | None:
    """The domains of --domains (None: the profile's own), and those of stages beyond them that the user names."""
    words = [*(options.only or ()), *filter(None, (options.from_, options.to))]
    names = set(stages.included(options.profile, options.domains))
    every = stages.included(options.profile, stages.ALL_DOMAINS)
    left_out = [name for word in words if names.isdisjoint(meant := stages.find(word, every)) for name in meant]
    return params.domains([*names, *left_out]) if left_out else options.domains


def choose(options: argparse.Namespace, names: list[str]) -> list[str]:
    """The stages that --only, --from and --to leave, in order."""
    if options.only:
        only = {name for word in options.only for name in stages.find(word, names)}
        return [name for name in names if name in only]
    begin = names.index(stages.find(options.from_, names)[0]) if options.from_ else 0
    end = names.index(stages.find(options.to, names)[-1]) if options.to else len(names) - 1
    if begin > end:
        raise PipelineError(
            expected="--from to name an earlier stage than --to",
            found=f"--from {names[begin]} --to {names[end]}",
            why="no stage is left between them",
            fix=f"--from {names[end]} --to {names[begin]}",
        )
    return names[begin : end + 1]


def open_lock(profile: str) -> IO[str]:
    """One pipeline at a time per profile. The system drops the lock when the last process that holds it ends."""
    import fcntl

    folder = outputs_dir(profile)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        stream = open(folder / ".lock", "a+")  # noqa: SIM115 - the caller closes it
    except OSError as error:
        raise PipelineError(
            expected=f"a folder for results that can be written, {folder}",
            found=f"{type(error).__name__}: {error.strerror}",
            why="every stage leaves its files there",
            fix="set COGUMI_OUTPUTS to a folder of yours",
        ) from None
    until = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return stream
        except OSError:
            if time.monotonic() > until:
                break
            time.sleep(0.1)
    stream.close()
    raise PipelineError(
        expected=f"no other run of the profile {profile}",
        found=f"another run_all.sh is at work in {folder}",
        why="two runs would start the same stages twice",
        fix="wait for it to end, or stop it, and start again",
    )


# ---- before the first kernel ----


def preflight(todo: list[Step], steps: dict[str, Step], domains: Collection[str] | None) -> None:
    """Fail now rather than in an hour: what the stages read is finished, data sets are in reach, the disk has space."""
    for step in todo:
        for upstream in step.stage.upstreams:
            require_usable(steps[upstream], step, domains)
    profile = todo[0].stage.profile
    require_sources(step.parameters for step in todo)
    written = sum(entry["bytes"] for step in todo for entry in step.last.get("outputs", {}).values())
    hardware.require_disk(outputs_dir(profile), max(int(todo[0].facts.disk_gb * 1e9), written))


def require_usable(upstream: Step, step: Step, domains: Collection[str] | None) -> None:
    """What a chosen stage reads is run before it or finished already; an older version of it is only mentioned."""
    if upstream.runs or not upstream.why:
        return
    if not upstream.manifest:
        raise PipelineError(
            expected=f"{upstream.name}, which {step.name} reads, to be finished",
            found=f"{upstream.name}: {upstream.why}",
            why="a stage starts only from verified results",
            fix=f"./run_all.sh {step.stage.profile} --to {step.name}"
            + (f" --domains {','.join(domains)}" if domains else ""),
        )
    print(f"note: {step.name} reads {upstream.name} as it is, though {upstream.why}")


def require_sources(given: Iterable[dict[str, Any]]) -> None:
    """Public sets that the stages' parameters list can be reached. One known name makes a list one of sets."""
    lists = [value for parameters in given for value in parameters.values() if isinstance(value, list)]
    if not lists or not (params_dir() / "sources.yaml").is_file():
        return
    from cogumi_utils.data import sources

    known = sources.sources()
    sources.require_reachable(sorted({name for names in lists if not known.keys().isdisjoint(names) for name in names}))


# ---- the end ----


def conclude(steps: list[Step], failures: dict[str, str], ran: int) -> int:
    """Print what failed, and the table. Returns the exit code."""
    manifests = {step.name: manifest for step in steps if (manifest := manifest_now(step, ran))}
    print(("\n" if ran else "") + result_table(steps, manifests, failures), flush=True)
    for name, text in failures.items():
        print(f"\n{name} failed\n{text}", file=sys.stderr)
    if len(manifests) == len(steps) and not ran:
        print("nothing to do: parameters, code and inputs are those of the stored results")
    strict = steps[0].facts.raise_on_failed_gate
    missed = [f"{gate} ({name})" for name in manifests for gate in required_failures(manifests[name]) if strict]
    if missed:
        print(f"\nrequired gates failed: {', '.join(missed)}", file=sys.stderr)
    return 1 if failures or missed or len(manifests) < len(steps) else 0


def manifest_now(step: Step, ran: int) -> dict[str, Any]:
    """The stage's manifest after the run; {} where it has none that holds."""
    if not step.why:
        return step.manifest
    try:
        return read_manifest(step.stage.folder) if ran and step.runs else {}
    except ArtifactError:
        return {}


if __name__ == "__main__":
    sys.exit(main())
