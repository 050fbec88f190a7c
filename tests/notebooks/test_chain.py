"""`./run_all.sh smoke`, for real: what it leaves, what it refuses, and how it goes on after a kill -9."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import time
from fnmatch import fnmatch
from functools import partial
from pathlib import Path

import nbformat
import pandas as pd
import psutil
import pytest
from anatomy import fresh, names, stored
from checkout_copy import Copy
from notebook_files import Facts, Notebook

from cogumi_utils import artifacts, review, stages
from cogumi_utils.artifacts import ArtifactError, verify
from cogumi_utils.gate_rules import load_rules
from cogumi_utils.lineage import open_ref

pytestmark = pytest.mark.chain
STAGES = list(stages.graph("smoke"))
# A student that knows something; a header, and the tables of a code, that are small beside the file.
OF_A_REAL_SIZE = {"patterns_fail_more", "pack_near_bound", "archive_near_entropy"}
PATIENCE = 300  # seconds until a test gives up; nothing waits that long unless it is broken


def notebook_of(stage: str) -> str:
    return stage.partition("/")[0]


@pytest.fixture
def results(chain: Copy, monkeypatch: pytest.MonkeyPatch) -> Copy:
    """The finished chain, with this process looking at its outputs."""
    monkeypatch.setenv("COGUMI_OUTPUTS", str(chain.outputs))
    return chain


# ---- what it leaves ----


@pytest.mark.parametrize("stage", STAGES)
def test_the_stage_is_complete(chain: Copy, stage: str):
    manifest = verify(chain.stage(stage))
    assert (manifest["stage"], manifest["profile"]) == (stage, "smoke")
    assert f"{manifest['headline']}\n" in chain.said


@pytest.mark.parametrize("stage", STAGES)
def test_the_rendered_notebook_is_fit_to_be_shown(chain: Copy, stage: str):
    path = chain.outputs / f"smoke/{stage.replace('/', '_')}.ipynb"
    assert list(stored(Notebook.read(path), Facts())) == []
    assert str(chain.outputs) not in path.read_text() and str(chain.root) not in path.read_text()


@pytest.mark.parametrize("stage", STAGES)
def test_the_first_cell_names_what_is_written(chain: Copy, stage: str):
    """All that the manifest lists beside figures and tables, folders as one; nothing that it doesn't list."""
    notebook = Notebook.read(chain.root / f"notebooks/{notebook_of(stage)}.ipynb")
    written = {path.partition("/")[0] for path in chain.manifest(stage)["outputs"]} - {"figures", "tables"}
    assert names(notebook.column("writes")) == written


@pytest.mark.parametrize("stage", STAGES)
def test_the_first_cell_names_what_is_read(chain: Copy, stage: str):
    notebook = Notebook.read(chain.root / f"notebooks/{notebook_of(stage)}.ipynb")
    read = {ref for ref in chain.manifest(stage)["inputs"] if not ref.startswith("raw:")}
    named = {name for name in names(notebook.column("reads")) if "/" in name}  # * where it is one a domain
    assert {ref for ref in read if not any(fnmatch(ref, name) for name in named)} == set()
    assert {name for name in named if not any(fnmatch(ref, name) for ref in read)} == set()


def test_every_registered_gate_is_recorded_by_its_stage(chain: Copy):
    recorded = {stage: set(chain.manifest(stage)["gates"]) for stage in STAGES}
    registered = {
        stage: {name for name, rule in load_rules().items() if rule.stage == notebook_of(stage)} for stage in STAGES
    }
    assert recorded == registered


def test_what_must_hold_at_any_size_holds(chain: Copy):
    """Shares need many tasks and a trained student; exact gates do not, but for three."""
    gates = [gate for stage in STAGES for gate in chain.manifest(stage)["gates"].values() if gate["kind"] == "exact"]
    gates = [gate for gate in gates if gate["name"] not in OF_A_REAL_SIZE]
    assert {gate["name"]: gate["verdict"] for gate in gates if gate["verdict"] not in ("PASS", "NOT RUN")} == {}
    assert len(gates) > 10


def test_every_gate_goes_back_to_raw_rows(results: Copy):
    chains = review.lineages("smoke").set_index("gate")
    assert set(chains.index) == set(load_rules())
    assert chains["intact"].all()
    raw = chains["raw sources"].str.split(", ").map(set)
    assert raw["qlora_beats_start"] == {"raw:cogumi/corpus", "raw:cogumi/skills"}
    assert raw["modifier_gains"] == raw["qlora_beats_start"] | {"raw:cogumi/specialist/code"}
    assert all(sources <= raw["modifier_gains"] and sources for sources in raw)


def test_the_lineage_of_a_gate_ends_in_the_rows_that_were_read(results: Copy):
    """The ends are the digests that 00 and 01 recorded, found again through three manifests."""
    leaves = artifacts.lineage("qlora_beats_start", "smoke").raw()
    for stage, name in (("00_student", "raw:cogumi/corpus"), ("01_dataset", "raw:cogumi/skills")):
        assert leaves[name].sha256 == results.manifest(stage)["inputs"][name]["sha256"]


def test_no_artifact_names_a_folder_of_this_machine(chain: Copy):
    """An artifact that does would be another one on the next machine, for the same weights."""
    files = [path for stage in STAGES for path in chain.stage(stage).rglob("*") if path.is_file()]
    assert [path.name for path in files if str(chain.outputs).encode() in path.read_bytes()] == []


def test_outputs_are_stored_in_the_notebooks_without_a_change_to_their_cells(chain: Copy, tmp_path: Path):
    fork = chain.fork(tmp_path)
    before = {path: json.loads(path.read_text()) for path in (fork.root / "notebooks").glob("*.ipynb")}
    done = fork.python("tools/store_outputs.py")
    assert done.returncode == 0, done.stderr
    for path, old in before.items():
        new = json.loads(path.read_text())
        assert [cell["source"] for cell in new["cells"]] == [cell["source"] for cell in old["cells"]]
        assert [(cell["id"], cell["metadata"]) for cell in new["cells"]] == [
            (cell["id"], cell["metadata"]) for cell in old["cells"]
        ]
        made = Notebook.read(path)
        assert [*stored(made, Facts()), *fresh(made, Facts())] == []
    kept = {path: path.read_bytes() for path in before}
    change_a_cell(fork.root / "notebooks/14_validation.ipynb")
    done = fork.python("tools/store_outputs.py")
    assert done.returncode == 2 and "14_validation.ipynb to be a run of the code" in done.stderr
    assert {path.name for path in kept if kept[path] != path.read_bytes()} == {"14_validation.ipynb"}


def change_a_cell(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[-1].source += "\nprint(1)"
    nbformat.write(notebook, path)


# ---- what it does not do again, and what it does ----


def test_a_second_start_runs_nothing(chain: Copy):
    before = chain.manifests()
    done = chain.run_all("smoke")
    assert done.returncode == 0 and "nothing to do" in done.stdout, done.stdout + done.stderr
    assert chain.manifests() == before and "started" not in done.stdout
    assert not list((chain.outputs / "smoke/.partial").rglob("*.status.json"))


@pytest.mark.parametrize("stage", STAGES)
def test_a_changed_parameter_reruns_the_stage_and_what_depends_on_it(chain: Copy, stage: str, tmp_path: Path):
    """By the plan of a dry run; that the plan is what happens, the kill below shows."""
    fork = chain.fork(tmp_path)
    fork.set(stage, "seed: 2\n" + "rank: 8\n" * ("/" in stage))  # a domain's file gives its rank
    done = fork.run_all("smoke", "--dry-run")
    state = dict(line.split()[1::-1] for line in done.stdout.splitlines() if line.startswith(("run ", "keep ")))
    assert state == {name: "run" if name in and_below(stage) else "keep" for name in STAGES}
    assert "seed 1 -> 2" in done.stdout


def and_below(stage: str) -> set[str]:
    """The stage and all that depend on it."""
    below = {stage}
    for name, found in stages.graph("smoke").items():
        below |= {name} if below & set(found.upstreams) else set()
    return below


# ---- damage ----


def damage(path: Path, generator: random.Random) -> str:
    """Flip one bit of a file or cut its end off; says which."""
    data = bytearray(path.read_bytes())
    if generator.random() < 0.3:
        length = generator.randrange(len(data))
        path.write_bytes(data[:length])
        return f"{path.name} cut to {length} of {len(data)} bytes"
    place, bit = generator.randrange(len(data)), generator.randrange(8)
    data[place] ^= 1 << bit
    path.write_bytes(data)
    return f"{path.name}: bit {bit} of byte {place}"


def test_200_damages_of_real_artifacts_are_caught_before_use(chain: Copy, tmp_path: Path, monkeypatch):
    """Files that stages read, and manifests: neither `verify` nor what `run.input` opens lets one through."""
    fork = chain.fork(tmp_path)
    monkeypatch.setenv("COGUMI_OUTPUTS", str(fork.outputs))
    inputs = {ref for stage in STAGES for ref in fork.manifest(stage)["inputs"] if not ref.startswith("raw:")}
    refs = {path: ref for ref in sorted(inputs) for path in files_of(fork, ref)}
    generator, paths = random.Random(2), sorted(refs)
    for number in range(200):
        path = paths[number % len(paths)] if number < 2 * len(paths) else generator.choice(paths)
        whole, what = path.read_bytes(), damage(path, generator)
        for read in (partial(verify, fork.stage(stage_of(refs[path]))), partial(open_ref, refs[path], "smoke")):
            with pytest.raises(ArtifactError, match="./run_all.sh smoke --only"):
                read()
                pytest.fail(f"got through: {what}")
        path.write_bytes(whole)
    assert all(open_ref(ref, "smoke") for ref in inputs)


def stage_of(ref: str) -> str:
    return next(name for name in STAGES if ref.startswith(f"{name}/"))


def files_of(copy: Copy, ref: str) -> list[Path]:
    """The files behind a reference, and the manifest that names them."""
    stage = stage_of(ref)
    path = copy.stage(stage) / ref.removeprefix(f"{stage}/")
    return [*(file for file in path.rglob("*") if file.is_file()), *([path] * path.is_file()),
            copy.stage(stage) / artifacts.MANIFEST]  # fmt: skip


def test_a_stage_ends_at_a_damaged_input(chain: Copy, tmp_path: Path):
    """By the stage's own runner, which looks at nothing beforehand: the notebook stops where it would read."""
    fork = chain.fork(tmp_path)
    answers = fork.stage("08_recovery") / "answers.parquet"
    whole = answers.read_bytes()
    answers.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    done = fork.python("-m", "cogumi_utils.runner", "14_validation", "--profile", "smoke")
    assert done.returncode == 2 and not (fork.stage("14_validation") / artifacts.MANIFEST).exists()
    assert re.search(
        r"expected: .*\n *found: .*answers.parquet has another sha256.*\n *why: .*\n *fix: .* --only 08_recovery\n",
        done.stderr,
    )
    planned = fork.run_all("smoke", "--dry-run").stdout
    assert re.search(r"^run +08_recovery .* damaged: .*answers.parquet", planned, re.MULTILINE)


# ---- kill -9 ----


def until(true, process: subprocess.Popen[bytes], what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        assert process.poll() is None, f"it ended before {what}"
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.02)


def certified(checkpoints: Path) -> list[int]:
    """Steps of the checkpoints that have their manifest, which is written last."""
    return sorted(int(path.parent.name.rpartition("-")[2]) for path in checkpoints.glob("*/manifest.json"))


@pytest.fixture(scope="module")
def resumed(chain: Copy, tmp_path_factory: pytest.TempPathFactory) -> Copy:
    """A run with one changed parameter (how often a checkpoint is made), killed after the first one, and run again."""
    fork = chain.fork(tmp_path_factory.mktemp("resumed"))
    fork.set("02_qlora", "save_every: 2\n")
    checkpoints = fork.outputs / "smoke/.partial/02_qlora/checkpoints"
    process = fork.start("smoke")
    try:
        until(lambda: certified(checkpoints), process, "its first certified checkpoint")
        below = psutil.Process(process.pid).children(recursive=True)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    _, alive = psutil.wait_procs(below, PATIENCE)  # kernels are in groups of their own, and end with their parent
    assert alive == [] and certified(checkpoints) != []
    assert not (fork.stage("02_qlora") / artifacts.MANIFEST).exists()
    done = fork.run_all("smoke")
    assert done.returncode == 0, done.stdout + done.stderr
    return fork


def test_a_changed_parameter_and_a_kill_rerun_only_what_they_must(chain: Copy, resumed: Copy):
    before, after = chain.manifests(), resumed.manifests()
    assert {stage for stage in STAGES if after[stage][0] != before[stage][0]} == and_below("02_qlora")
    resumed_from = resumed.manifest("02_qlora")["metrics"]["resumed_from"]["value"]
    assert 0 < resumed_from < resumed.manifest("02_qlora")["parameters"]["steps"]
    assert chain.manifest("02_qlora")["metrics"]["resumed_from"]["value"] == 0


def trained(copy: Copy, *, weights: bool) -> dict[str, str]:
    """{file: sha256} of adapter and merged model: the weights, or the files beside them."""
    files = {name: entry["sha256"] for name, entry in copy.manifest("02_qlora")["outputs"].items()}
    inside = {name for name in files if name.split("/")[0] in ("adapter", "model")}
    return {name: files[name] for name in inside if name.endswith(".safetensors") == weights}


def test_the_weights_are_those_of_a_run_that_was_never_killed(chain: Copy, resumed: Copy):
    weights = trained(resumed, weights=True)
    assert weights == trained(chain, weights=True)
    assert set(weights) == {"adapter/adapter_model.safetensors", "model/model.safetensors"}


def test_so_are_the_files_beside_them(chain: Copy, resumed: Copy):
    beside = trained(resumed, weights=False)
    assert beside == trained(chain, weights=False) and len(beside) > 4


# ---- real data ----

SETS = ("dolly_3k", "gsm8k", "humaneval")
PUBLIC = {
    "01_dataset": "public_sets: [dolly_3k, gsm8k]\nevaluation_sets: [humaneval]\nrows_per_set: 40\n",
    "14_validation": "benchmarks: [humaneval]\n",
}
OFFLINE = {"HF_HUB_OFFLINE": "1"}  # the pinned copy is what is read, wherever the tests run


def test_real_data_that_is_not_there_is_missed_before_the_first_kernel(chain: Copy, tmp_path: Path):
    fork = chain.fork(tmp_path)
    fork.set("01_dataset", PUBLIC["01_dataset"])
    before = fork.manifests()
    done = fork.run_all("smoke", **OFFLINE)
    assert done.returncode == 2 and "COGUMI_DATA" in done.stderr and fork.manifests() == before


@pytest.fixture(scope="module")
def public(chain: Copy, tmp_path_factory) -> tuple[Copy, Path]:
    """01 on a few public rows and 14 on HumanEval; and the pinned copy of those sets that they read."""
    if "COGUMI_DATA" not in os.environ:
        pytest.skip("COGUMI_DATA names no folder with the public sets")
    folder = tmp_path_factory.mktemp("public")
    fork, data = chain.fork(folder), pinned(Path(os.environ["COGUMI_DATA"]), folder / "data")
    for stage, text in PUBLIC.items():
        fork.set(stage, text)
    done = fork.run_all("smoke", "--only", "01", "--only", "14", COGUMI_DATA=str(data), **OFFLINE)
    assert done.returncode == 0, done.stdout + done.stderr
    return fork, data


def pinned(source: Path, target: Path) -> Path:
    """A copy of the sets that are read, with their part of the manifest."""
    target.mkdir()
    kept = [entry for entry in json.loads((source / "MANIFEST.json").read_text())["data_sets"] if entry["name"] in SETS]
    (target / "MANIFEST.json").write_text(json.dumps({"data_sets": kept}))
    for name in (file["file"] for entry in kept for file in entry["files"]):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source / name, target / name)
    return target


def test_the_lineage_of_public_rows_ends_in_the_pinned_files(public: tuple[Copy, Path]):
    fork, data = public
    entries = {entry["name"]: entry for entry in json.loads((data / "MANIFEST.json").read_text())["data_sets"]}
    made = fork.manifest("01_dataset")["inputs"]
    for name in SETS:
        raw = made[f"raw:{entries[name]['hub_id']}"]
        digest = artifacts.combine({file["file"]: file["sha256"] for file in entries[name]["files"]})
        assert raw["sha256"] == digest and raw["rows"] == entries[name]["rows"] and raw["licence"]
    humaneval = "raw:openai/openai_humaneval"
    assert fork.manifest("14_validation")["inputs"][humaneval] == made[humaneval]


def test_public_rows_pass_what_every_training_row_must_pass(public: tuple[Copy, Path]):
    gates = public[0].manifest("01_dataset")["gates"]
    required = ("dedup_precision", "exact_duplicates_found", "licence_on_every_row", "no_evaluation_row_in_training")
    assert {gates[name]["verdict"] for name in required} == {"PASS"}
    rows = pd.read_parquet(public[0].stage("01_dataset") / "public.parquet")
    assert 0 < len(rows) <= 80 and set(rows["source"]) == {"dolly_3k", "gsm8k"} and all(rows["licence"])


def test_the_sandbox_is_judged_on_humaneval_alone(public: tuple[Copy, Path]):
    gates = public[0].manifest("14_validation")["gates"]
    verdicts = {
        name: (gates[name]["verdict"], gates[name]["value"]) for name in gates if name.endswith(("pass", "fail"))
    }
    assert verdicts == {
        "humaneval_references_pass": ("PASS", 164), "humaneval_broken_fail": ("PASS", 0),
        "mbpp_references_pass": ("NOT RUN", None), "mbpp_broken_fail": ("NOT RUN", None),
    }  # fmt: skip


def test_a_pinned_set_that_changed_makes_its_readers_stale(public: tuple[Copy, Path]):
    fork, data = public
    manifest = json.loads((data / "MANIFEST.json").read_text())
    entry = next(entry for entry in manifest["data_sets"] if entry["name"] == "humaneval")
    before = fork.run_all("smoke", "--dry-run", COGUMI_DATA=str(data), **OFFLINE).stdout
    entry["files"][0]["sha256"] = "0" * 64
    (data / "MANIFEST.json").write_text(json.dumps(manifest))
    after = fork.run_all("smoke", "--dry-run", COGUMI_DATA=str(data), **OFFLINE).stdout
    assert "openai/openai_humaneval changed" in after and "openai/openai_humaneval changed" not in before, after
