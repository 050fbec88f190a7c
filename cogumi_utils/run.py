"""One run of one notebook: `run = start("02_qlora", globals())`, inputs, outputs, figures, gates, `run.finish(...)`."""

from __future__ import annotations

import datetime
import errno
import time
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from cogumi_utils import artifacts, display, gates, hardware, params, publish, startup
from cogumi_utils.errors import CogumiError
from cogumi_utils.gate_rules import rules_of_stage
from cogumi_utils.gates import Gate, GateFailed
from cogumi_utils.lineage import RAW, open_ref
from cogumi_utils.paths import outputs_dir
from cogumi_utils.stats import Interval, Paired
from cogumi_utils.tracking import NullTracker, open_tracker

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from cogumi_utils.hardware import Device

PAID = ".paid"  # below the profile's outputs


def start(stage: str, namespace: dict[str, Any]) -> Run:
    """Begin a stage: check the parameters that `namespace` (a notebook's globals) holds against the notebook's own
    parameters cell, seed, open an empty partial folder, choose device and W&B mode, and print all of it in one table.
    """
    values = startup.given_values(stage, namespace)
    profile, instance = values["profile"], params.instance_of(stage, values)
    startup.seed_everything(values["seed"])
    hashes = {"parameters": params.parameters_hash(values), **startup.source_hashes(instance)}
    hardware.require_disk(outputs_dir(profile), int(params.profile_facts(profile).disk_gb * 1e9))
    folder = publish.open_partial(profile, instance, {name: hashes[name] for name in ("parameters", "code")})
    tracker = open_tracker(instance, profile, values, outputs_dir(profile) / ".wandb")
    run = Run(instance, stage, values, hashes, folder, hardware.choose_device(), tracker)
    display.show_table(startup.settings_frame(stage, values, run.machine, tracker.why))
    return run


class Run:
    """A stage in progress. params: SimpleNamespace of parameters; dir: its partial folder; device: "cpu" or "cuda"."""

    def __init__(
        self, stage: str, notebook: str, values: dict[str, Any], hashes: dict[str, str], folder: Path, device: Device,
        tracker: NullTracker,
    ):  # fmt: skip
        self.stage, self.notebook, self.dir, self.params = stage, notebook, folder, SimpleNamespace(**values)
        self.profile, self.seed, self.device, self.machine = values["profile"], values["seed"], device.kind, device
        self.gates: dict[str, Gate] = {}
        self.manifest: dict[str, Any] = {}
        self._values, self._hashes, self._tracker = values, hashes, tracker
        self._inputs: dict[str, dict[str, Any]] = {}
        self._outputs: list[str] = []
        self._metrics: dict[str, dict[str, Any]] = {}
        self._begun, self._facts = time.perf_counter(), params.profile_facts(self.profile)

    def input(self, ref: str) -> Path:
        """Path of an upstream file or folder, such as "01_dataset/train.parquet", after its sha256 was checked."""
        path, entry = open_ref(ref, self.profile)
        publish.note_input(self.dir, ref, entry["sha256"])
        self._inputs[ref] = entry
        return path

    def raw(self, name: str, *, sha256: str, rows: int, licence: str, origin: str = "") -> None:
        """Record a source data set by its name (or a generator by its own): where the lineage ends.

        origin: "hub" or "local"; a local set whose digest changes makes its readers stale.
        """
        entry = {"sha256": sha256, "rows": int(rows), "licence": licence}
        self._inputs[f"{RAW}{name}"] = entry | ({"origin": origin} if origin else {})

    def output(self, relpath: str) -> Path:
        """Declare an output file or folder; its path in the partial folder. It is hashed at `finish`."""
        name = publish.check_name(relpath)
        if name not in self._outputs:
            self._outputs.append(name)
        path = self.dir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def checkpoints(self) -> Path:
        """A folder that survives a crash (while parameters, code and inputs stay the same); dropped at `finish`."""
        folder = self.dir / publish.CHECKPOINTS
        folder.mkdir(exist_ok=True)
        return folder

    def paid(self) -> Path:
        """A folder of the profile that outlives the stage: answers that were paid for, and what was spent in all."""
        folder = outputs_dir(self.profile) / PAID / self.stage
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def figure(self, figure: Figure, name: str, caption: str = "") -> None:
        """Show a matplotlib figure, keep it as figures/<name>.png, and log it."""
        png, path = display.png_bytes(figure), self.output(f"figures/{name}.png")
        path.write_bytes(png)
        display.show_png(png, caption or name)
        self._tracker.image(name, path, caption)

    def table(self, frame: pd.DataFrame, name: str, caption: str = "") -> None:
        """Show a table, keep it whole as tables/<name>.csv, and log it."""
        frame.to_csv(self.output(f"tables/{name}.csv"), index=False)
        display.show_table(frame, caption)
        self._tracker.table(name, frame)

    def log(self, values: dict[str, float], step: int | None = None) -> None:
        """Log numbers of one step of a curve (units in their names)."""
        self._tracker.log(values, step)

    def say(self, sentence: str) -> None:
        """Show a computed sentence (Markdown)."""
        display.show_markdown(sentence)

    def metric(
        self, name: str, value: float | Interval | Paired, low: float | None = None, high: float | None = None,
        n: int | None = None, unit: str = "",
    ) -> None:  # fmt: skip
        """Record a number, an Interval or a Paired difference, with its 95% interval and unit in the manifest."""
        if isinstance(value, Interval | Paired):
            unit = unit or getattr(value, "unit", "")
            value, low, high, n = value.value, value.low, value.high, value.n
        self._metrics[name] = {"value": value, "low": low, "high": high, "n": n, "unit": unit}
        self._tracker.summary({name: value})

    def gate(self, name: str, **measurement: Any) -> Gate:
        """Judge a gate of `params/gates.yaml` (see `gates.judge` for what each kind takes)."""
        self.gates[name] = gates.judge(name, self.profile, **measurement)
        return self.gates[name]

    def finish(self, headline: str) -> None:
        """Hash the outputs, write the manifest last, put the stage in its place; raise if a required gate failed.

        headline: the stage's result in one line, with interval and n.
        """
        if self.manifest:
            raise _finished(self.stage)
        judged = gates.apply_families(self.gates.values()) if self.gates else []
        self._require_judged()
        manifest = self._manifest(headline, judged)
        try:
            publish.publish(self.profile, self.stage, manifest)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            raise hardware.no_space(self.dir, "room for the manifest", str(error)) from None
        self.manifest = manifest
        self._show_end(judged)
        self._tracker.finish()
        failed = [gate for gate in judged if gate.required and gate.verdict == gates.FAIL]
        if failed and self._facts.raise_on_failed_gate:
            raise _gate_failed(self.stage, self.profile, failed)

    def _manifest(self, headline: str, judged: list[Gate]) -> dict[str, Any]:
        outputs = publish.collect(self.dir, self._outputs)
        seconds = time.perf_counter() - self._begun
        return artifacts.plain({
            "stage": self.stage, "profile": self.profile, "parameters": self._values, "hashes": self._hashes,
            "inputs": self._inputs, "outputs": outputs, "metrics": self._metrics,
            "gates": {gate.name: gate.to_dict() for gate in judged}, "headline": headline, "seconds": seconds,
            "peak_memory_bytes": hardware.peak_memory_bytes(),
            "peak_device_memory_bytes": hardware.peak_device_memory_bytes(),
            "device": f"{self.device}: {self.machine.why}", "cost_usd": seconds / 3600 * self._facts.usd_per_hour,
            "versions": hardware.versions(), "git_commit": hardware.git_commit(),
            "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        })  # fmt: skip

    def _require_judged(self) -> None:
        """A gate that the profile requires can't be left out in silence."""
        if not self._facts.raise_on_failed_gate:
            return
        rules = rules_of_stage(self.notebook)
        left_out = [name for name, rule in rules.items() if self.profile in rule.required and name not in self.gates]
        if left_out:
            raise gates.GateError(
                expected=f"a verdict on every gate that {self.profile} requires of {self.notebook}",
                found=f"never judged: {', '.join(left_out)}",
                why="a gate that is left out looks like one that passed",
                fix=f'call run.gate("{left_out[0]}", ...) before run.finish, or with not_run="why"',
            )

    def _show_end(self, judged: list[Gate]) -> None:
        if judged:
            display.show_table(gates.table(judged), "Gates")
            self._tracker.table("gates", gates.table(judged))
        size, seconds = self.manifest["peak_memory_bytes"] / 1e6, self.manifest["seconds"]
        cost = self.manifest["cost_usd"]
        self.say(f"**{self.manifest['headline']}** ({self.stage}: {seconds:.1f} s, {size:.0f} MB, ${cost:.2f})")


def _gate_failed(stage: str, profile: str, failed: list[Gate]) -> GateFailed:
    return GateFailed(
        expected=f"the gates that {profile} requires of {stage} to pass",
        found="; ".join(f"{gate.name} = {gate.value:.4g}, not {gates.bound_in_words(gate)}" for gate in failed),
        why="; ".join(gate.claim for gate in failed),
        fix=f"the artifacts are in {publish.final_dir(profile, stage)}: look there, mend the stage, run it again",
    )


def _finished(stage: str) -> CogumiError:
    return CogumiError(
        expected="one run.finish(...) at the end of the notebook",
        found=f"a second one in {stage}",
        why="the stage is in its place already, and its manifest is written",
        fix="run the notebook again from its first cell",
    )
