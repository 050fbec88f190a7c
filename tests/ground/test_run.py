"""Whole runs of small stages: what start checks, what finish writes, what stops a stage."""

import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from cogumi_utils import artifacts, gates
from cogumi_utils.artifacts import ArtifactError, verify
from cogumi_utils.errors import CogumiError
from cogumi_utils.gates import GateError, GateFailed
from cogumi_utils.hardware import HardwareError
from cogumi_utils.params import ParameterError, load_profile, parameters_hash
from cogumi_utils.publish import StageError
from cogumi_utils.run import Run, start
from cogumi_utils.stages import code_hash, notebook_hash
from cogumi_utils.stats import Interval, paired_difference

DATA = {"profile": "tiny", "seed": 7, "rows": 50}
TRAIN = {
    "profile": "tiny", "seed": 7, "steps": 100, "rate": 3e-3, "student": "scratch", "hub_id": "", "packed": True,
    "levels": [0.1, 0.5],
}  # fmt: skip


@pytest.fixture
def outputs(repo: Path, tmp_path: Path) -> Path:
    return tmp_path / "outputs"


def data_stage(**changes) -> Run:
    run = start("01_data", DATA | changes)
    run.output("rows.txt").write_text("a\nb\n")
    run.raw("openai/gsm8k", sha256="ab" * 32, rows=50, licence="mit")
    run.gate("enough_rows", value=run.params.rows)
    run.finish(f"{run.params.rows} rows")
    return run


def train_stage(after: list[int], **changes) -> Run:
    run = start("02_train", TRAIN | changes)
    rows = run.input("01_data/rows.txt").read_text()
    run.output("adapter").mkdir()
    (run.output("adapter") / "weights.bin").write_text(rows * 2)
    run.gate("better", before=[0] * len(after), after=after)
    run.finish("trained")
    return run


def test_the_manifest_of_a_finished_stage(outputs):
    data_stage()
    run = train_stage([1] * 60 + [0] * 40)
    manifest = verify(outputs / "tiny/02_train")
    assert manifest.pop("digest") and artifacts.plain(run.manifest) == manifest
    assert list(manifest["outputs"]) == ["adapter/weights.bin"]
    assert manifest["outputs"]["adapter/weights.bin"]["bytes"] == 8
    upstream = outputs / "tiny/01_data"
    assert manifest["inputs"] == {
        "01_data/rows.txt": {
            "bytes": 4,
            "sha256": artifacts.sha256_file(upstream / "rows.txt"),
            "manifest_sha256": artifacts.sha256_file(upstream / "manifest.json"),
        }
    }
    assert manifest["parameters"] == TRAIN == load_profile("tiny")["02_train"]
    assert manifest["hashes"] == {
        "parameters": parameters_hash(TRAIN), "code": code_hash("02_train"), "notebook": notebook_hash("02_train"),
    }  # fmt: skip
    assert manifest["gates"]["better"]["verdict"] == "PASS" and manifest["gates"]["better"]["required"]
    assert (manifest["stage"], manifest["profile"], manifest["headline"]) == ("02_train", "tiny", "trained")
    assert manifest["cost_usd"] == manifest["seconds"] / 3600 * 3.6 > 0
    assert manifest["peak_memory_bytes"] > 30e6 and manifest["peak_device_memory_bytes"] == 0
    assert manifest["versions"]["numpy"] == np.__version__
    assert manifest["git_commit"] == "" and manifest["created"].endswith("+00:00")
    raw = verify(upstream)["inputs"]["raw:openai/gsm8k"]
    assert raw == {"sha256": "ab" * 32, "rows": 50, "licence": "mit"}
    assert not (outputs / "tiny/.partial/02_train").exists()


def test_what_was_paid_for_outlives_the_stage_and_a_change_of_its_parameters(outputs):
    run = start("01_data", DATA)
    (run.paid() / "answers.sqlite").write_text("paid")
    (run.checkpoints() / "weights").write_text("half")
    again = start("01_data", DATA | {"rows": 51})
    assert (again.paid() / "answers.sqlite").read_text() == "paid" and not list(again.checkpoints().iterdir())
    data_stage()
    assert (start("01_data", DATA).paid() / "answers.sqlite").read_text() == "paid"


def test_the_run_knows_its_parameters(outputs):
    run = start("02_train", TRAIN | {"rate": 1})
    assert (run.stage, run.profile, run.seed, run.device) == ("02_train", "tiny", 7, "cpu")
    assert run.params.levels == [0.1, 0.5] and run.params.rate == 1.0 and type(run.params.rate) is float
    assert run.dir == outputs / "tiny/.partial/02_train" and run.dir.is_dir()


def test_the_table_of_settings_marks_what_was_changed(outputs, capsys):
    start("02_train", TRAIN)
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert "changed, the cell has 10" in lines["steps"] and "optimiser steps" in lines["steps"]
    assert "changed" not in lines["seed"] and "0.003" in lines["rate"]
    assert "cpu" in lines["device"] and "not a git checkout" in lines["git"]
    assert "off: WANDB_MODE=disabled" in lines["W&B"] and f"numpy {np.__version__}" in lines["versions"]


def test_start_seeds_python_numpy_and_a_torch_that_is_loaded(outputs):
    def draw() -> tuple:
        start("01_data", DATA)
        return random.random(), np.random.rand(), torch.rand(1).item()

    import torch

    first = draw()
    assert draw() == first
    random.seed(7), np.random.seed(7), torch.manual_seed(7)
    assert first == (random.random(), np.random.rand(), torch.rand(1).item())


def test_start_loads_neither_torch_nor_wandb(repo, tmp_path):
    script = (
        "import sys; from cogumi_utils.run import start; start('01_data', {'profile': 'smoke', 'seed': 7, 'rows': 5});"
    )
    script += (
        "print([name for name in ('torch', 'wandb', 'transformers', 'matplotlib', 'scipy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"rows": 0}, "01_data: rows: 0 is out of range; legal: int, 1..1000"),
        (
            {"rows": "5e2"},
            "01_data: rows: '5e2' is of type str (YAML reads 5e2 as text: write 500); legal: int, 1..1000",
        ),
        ({"profile": ""}, "01_data: profile: '' is not allowed; legal: not empty text"),
        ({"profile": "tinny"}, "'tinny'"),
        ({"In": ["", "# Parameters\nrow = 3\n"], "row": 3}, "01_data: unknown parameter 'row' (did you mean 'rows'?)"),
    ],
)
def test_wrong_values_stop_the_stage_before_it_begins(outputs, changes, words):
    with pytest.raises(ParameterError) as caught:
        start("01_data", DATA | changes)
    assert caught.value.found == words and caught.value.fix
    assert not outputs.exists()


def test_a_value_that_the_notebook_does_not_hold(outputs):
    with pytest.raises(ParameterError, match="rows is not set"):
        start("01_data", {"profile": "tiny", "seed": 7})
    with pytest.raises(ParameterError) as caught:
        start("01_dat", DATA)
    assert "did you mean '01_data'?" in caught.value.fix


def test_a_notebook_needs_profile_and_seed(repo, write_notebook):
    write_notebook(repo / "notebooks/03_x.ipynb", 'profile = "tiny"  # profile, not empty')
    with pytest.raises(ParameterError, match="no `seed` in the parameters cell of 03_x"):
        start("03_x", {"profile": "tiny"})


def test_too_little_disk_stops_the_stage(repo, outputs):
    (repo / "params/tiny/profile.yaml").write_text("disk_gb: 1000000000\n")
    with pytest.raises(HardwareError, match="no space left"):
        start("01_data", DATA)


def test_a_missing_upstream_names_the_command(outputs):
    with pytest.raises(ArtifactError) as caught:
        start("02_train", TRAIN).input("01_data/rows.txt")
    assert caught.value.found == "no manifest.json there"
    assert caught.value.fix == "make it again: ./run_all.sh tiny --only 01_data"


def test_a_corrupted_upstream_is_not_read(outputs):
    data_stage()
    (outputs / "tiny/01_data/rows.txt").write_text("a\nc\n")
    with pytest.raises(ArtifactError, match="another sha256"):
        start("02_train", TRAIN).input("01_data/rows.txt")


def test_a_failed_gate_that_is_required_raises_and_keeps_the_artifacts(outputs, repo):
    gates_file = repo / "params/gates.yaml"
    gates_file.write_text(gates_file.read_text().replace("threshold: 0.0", "threshold: 0.9"))
    data_stage()
    with pytest.raises(GateFailed) as caught:
        train_stage([1] * 40 + [0] * 60)
    assert caught.value.found == "better = 0.4, not above 0.9"
    assert caught.value.why == "The trained student beats the one before."
    assert str(outputs / "tiny/02_train") in caught.value.fix
    assert verify(outputs / "tiny/02_train")["gates"]["better"]["verdict"] == "FAIL"


def test_what_is_not_required_or_not_decided_does_not_raise(repo, outputs):
    data_stage()
    assert train_stage([0] * 100).manifest["gates"]["better"]["verdict"] == "INCONCLUSIVE"
    gates_file = repo / "params/gates.yaml"
    gates_file.write_text(gates_file.read_text().replace("threshold: 0.0", "threshold: 0.9"))
    data_stage(profile="public"), data_stage(profile="smoke")
    for profile in ("public", "smoke"):
        assert train_stage([0] * 100, profile=profile).manifest["gates"]["better"]["verdict"] == "FAIL"


def test_a_profile_may_record_failures_without_raising(repo, outputs):
    (repo / "params/tiny/profile.yaml").write_text("raise_on_failed_gate: false\n")
    data_stage(rows=5)
    assert verify(outputs / "tiny/01_data")["gates"]["enough_rows"]["verdict"] == "FAIL"


def test_a_required_gate_that_was_never_judged(outputs):
    run = start("01_data", DATA)
    with pytest.raises(GateError) as caught:
        run.finish("nothing")
    assert caught.value.found == "never judged: enough_rows"
    assert not (outputs / "tiny/01_data").exists()
    run.gate("enough_rows", not_run="no rows today")
    run.finish("nothing")
    assert verify(outputs / "tiny/01_data")["gates"]["enough_rows"]["verdict"] == gates.NOT_RUN
    start("01_data", DATA | {"profile": "smoke"}).finish("smoke judges nothing")


def test_undeclared_and_missing_outputs_stop_finish(outputs):
    run = start("01_data", DATA | {"profile": "smoke"})
    (run.dir / "stray.txt").write_text("x")
    run.output("rows.txt")
    with pytest.raises(StageError) as caught:
        run.finish("x")
    assert caught.value.found == "declared and not written: rows.txt; written and not declared: stray.txt"
    (run.dir / "stray.txt").unlink()
    run.output("rows.txt").write_text("x")
    run.finish("now it is whole")


def test_finish_ends_the_run(outputs):
    run = data_stage()
    with pytest.raises(CogumiError, match="a second one in 01_data"):
        run.finish("again")


def test_a_full_disk_while_finishing_is_said_in_words(outputs, monkeypatch):
    run = start("01_data", DATA | {"profile": "smoke"})

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(HardwareError, match="no space left"):
        run.finish("x")
    monkeypatch.undo()


def test_checkpoints_survive_a_crash_and_not_the_end(outputs):
    run = start("01_data", DATA)
    (run.checkpoints() / "step-1").write_text("w")
    (run.dir / "half").write_text("x")
    again = start("01_data", DATA)
    assert (again.checkpoints() / "step-1").read_text() == "w" and not (again.dir / "half").exists()
    again.gate("enough_rows", value=50)
    again.finish("done")
    assert sorted(path.name for path in (outputs / "tiny/01_data").iterdir()) == ["manifest.json"]
    assert not any((start("01_data", DATA).checkpoints()).iterdir())


def test_checkpoints_made_from_another_upstream_are_not_resumed(outputs):
    data_stage()
    run = start("02_train", TRAIN)
    run.input("01_data/rows.txt")
    (run.checkpoints() / "step-1").write_text("w")
    for rows, kept in (("a\nb\n", True), ("other rows", False)):
        upstream = start("01_data", DATA)
        upstream.output("rows.txt").write_text(rows)
        upstream.gate("enough_rows", value=50)
        upstream.finish("again")
        run = start("02_train", TRAIN)
        assert (run.checkpoints() / "step-1").exists()
        run.input("01_data/rows.txt")
        assert (run.checkpoints() / "step-1").exists() == kept


def test_figures_and_tables_are_kept_and_the_same_each_time(outputs, capsys):
    def one(seed: int) -> dict:
        run = start("01_data", DATA | {"profile": "smoke", "seed": seed})
        figure = Figure(figsize=(3, 2))
        figure.subplots().plot([1, 2, seed])
        run.figure(figure, "curve", "A curve")
        run.table(pd.DataFrame({"skill": ["a<b", "c"], "share": [1 / 3, 0.5]}), "skills", "Two skills")
        run.say("**2** skills")
        run.metric("share", 0.5, 0.4, 0.6, 100, "%")
        run.metric("estimate", Interval(0.5, 0.4, 0.6, 100))
        run.metric("change", paired_difference([0, 0, 1], [1, 0, 1], seed=1))
        run.metric("broken", float("nan"))
        run.log({"loss": 1.0}, step=3)
        run.finish("x")
        return verify(outputs / "smoke/01_data")

    first, second, other = one(7), one(7), one(8)
    assert list(first["outputs"]) == ["figures/curve.png", "tables/skills.csv"]
    assert first["outputs"] == second["outputs"]
    assert first["outputs"]["figures/curve.png"] != other["outputs"]["figures/curve.png"]
    csv = (outputs / "smoke/01_data/tables/skills.csv").read_text()
    assert csv == "skill,share\na<b,0.3333333333333333\nc,0.5\n"
    assert first["metrics"]["share"] == {"value": 0.5, "low": 0.4, "high": 0.6, "n": 100, "unit": "%"}
    assert first["metrics"]["estimate"] == first["metrics"]["share"]
    change = paired_difference([0, 0, 1], [1, 0, 1], seed=1)
    assert first["metrics"]["change"] == {
        "value": change.value, "low": change.low, "high": change.high, "n": 3, "unit": ""
    }  # fmt: skip
    assert first["metrics"]["broken"]["value"] is None
    shown = capsys.readouterr().out
    assert "Two skills" in shown and "0.3333" in shown and "figure: A curve" in shown and "**2** skills" in shown


def test_a_domain_has_a_stage_of_its_own(repo, outputs, write_notebook):
    cell = 'profile = "smoke"  # p, not empty\nseed = 1  # s, 0..9\ndomain = "code"  # d, not empty'
    write_notebook(repo / "notebooks/10_mods.ipynb", cell)
    (repo / "params/tiny/10_mods").mkdir()
    (repo / "params/tiny/10_mods/code.yaml").write_text("")
    for domain in ("code", "maths"):
        run = start("10_mods", {"profile": "tiny", "seed": 1, "domain": domain})
        run.output("x").write_text(domain)
        run.finish(domain)
    assert verify(outputs / "tiny/10_mods/code")["stage"] == "10_mods/code"
    assert start("01_data", DATA).input("10_mods/maths/x").read_text() == "maths"
