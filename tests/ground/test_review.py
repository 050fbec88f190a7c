"""What the last notebook reads of all stages before it."""

from __future__ import annotations

from pathlib import Path

import pytest

from cogumi_utils import artifacts, gates, review
from cogumi_utils.artifacts import ArtifactError, write_manifest
from cogumi_utils.lineage import open_ref
from cogumi_utils.publish import partial_dir
from cogumi_utils.stats import Interval

RAW = {"raw:cogumi/skills": {"sha256": "5" * 64, "rows": 3000, "licence": "Apache-2.0"}}


def gate(name: str, verdict: str = gates.PASS) -> dict:
    return gates.Gate(name, verdict, value=0.7, low=0.6, high=0.8, threshold=0.5, n=100, direction="above").to_dict()


def make(stage: str, inputs: dict, *judged: dict, text: str = "") -> Path:
    """A finished stage with one output and these gates, keyed by name in the manifest."""
    folder = partial_dir("tiny", stage).parent.parent / stage
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "out.txt").write_text(stage + text)
    manifest = {
        "stage": stage, "inputs": inputs, "outputs": artifacts.describe(folder, ["out.txt"]), "metrics": {},
        "gates": {one["name"]: one for one in judged}, "headline": f"headline of {stage}", "seconds": 90.0,
        "peak_memory_bytes": 250_000_000, "cost_usd": 0.25, "git_commit": "0" * 40,
    }  # fmt: skip
    write_manifest(folder, manifest)
    return folder


def read(*refs: str) -> dict:
    return {ref: open_ref(ref, "tiny")[1] for ref in refs}


@pytest.fixture
def outputs(tmp_path, monkeypatch) -> Path:
    """01 reads raw rows, 02 reads 01, 03 reads nothing at all."""
    monkeypatch.setenv("COGUMI_OUTPUTS", str(tmp_path))
    make("01_data", RAW, gate("clean"))
    make("02_train", read("01_data/out.txt"), gate("better"), gate("small", gates.FAIL))
    make("03_loose", {}, gate("rootless"))
    return tmp_path / "tiny"


def test_all_gates_in_the_order_of_their_stages(outputs):
    found = review.recorded_gates("tiny")
    assert [(one.name, one.verdict) for one in found] == [
        ("clean", "PASS"), ("better", "PASS"), ("small", "FAIL"), ("rootless", "PASS"),
    ]  # fmt: skip
    assert found[0] == gates.Gate.from_dict(gate("clean")) and found[0].n == 100


def test_what_each_stage_took(outputs):
    table = review.stage_table("tiny")
    assert list(table.columns) == ["stage", "minutes", "peak MB", "USD", "headline"]
    assert table.iloc[1].tolist() == ["02_train", 1.5, 250.0, 0.25, "headline of 02_train"]
    assert list(table["stage"]) == ["01_data", "02_train", "03_loose"]


def test_each_gate_with_the_raw_sources_behind_it(outputs):
    table = review.lineages("tiny").set_index("gate")
    assert table.loc["better"].tolist() == ["PASS", "raw:cogumi/skills", True]
    assert table.loc["small", "verdict"] == "FAIL"
    assert table.loc["rootless"].tolist() == ["PASS", "", False], "a gate that rests on nothing is not intact"
    assert list(table.index) == ["clean", "better", "small", "rootless"]


def test_an_upstream_that_was_made_again_breaks_the_chain(outputs):
    make("01_data", RAW, gate("clean"), text=" again")
    table = review.lineages("tiny").set_index("gate")
    assert not table.loc["better", "intact"] and table.loc["clean", "intact"]
    assert table.loc["better", "raw sources"] == "raw:cogumi/skills"


def test_a_review_that_runs_again_leaves_out_its_own_last_run(outputs):
    """Its last run rests on what was there then: it would judge the old 02, and find its lineage broken."""
    make("14_review", read("02_train/out.txt"), gate("gates_reach_raw_rows"))
    make("02_train", read("01_data/out.txt"), gate("better"), text=" again")
    assert not review.lineages("tiny").set_index("gate").loc["gates_reach_raw_rows", "intact"]
    partial_dir("tiny", "14_review").mkdir(parents=True)
    assert [one.name for one in review.recorded_gates("tiny")] == ["clean", "better", "rootless"]
    assert list(review.stage_table("tiny")["stage"]) == ["01_data", "02_train", "03_loose"]
    assert list(review.lineages("tiny")["gate"]) == ["clean", "better", "rootless"]


def test_a_garbled_manifest_is_an_error_and_not_a_missing_stage(outputs):
    path = outputs / "02_train" / artifacts.MANIFEST
    path.write_text(path.read_text().replace("PASS", "FAIL"))
    with pytest.raises(ArtifactError):
        review.recorded_gates("tiny")


def test_a_profile_without_stages(tmp_path, monkeypatch):
    monkeypatch.setenv("COGUMI_OUTPUTS", str(tmp_path))
    assert review.recorded_gates("tiny") == []
    assert len(review.stage_table("tiny")) == len(review.lineages("tiny")) == 0


def test_tables_of_one_name_are_gathered_from_all_stages(outputs):
    assert review.tables("tiny", "sizes").empty
    for stage, rows in (("02_train", "file,bytes\na,1\n"), ("03_loose", "file,bytes\nb,2\nc,3\n")):
        folder = outputs / stage
        (folder / "tables").mkdir()
        (folder / "tables" / "sizes.csv").write_text(rows)
        manifest = artifacts.read_manifest(folder)
        named = ["out.txt", "tables/sizes.csv"]
        write_manifest(folder, {**manifest, "outputs": artifacts.describe(folder, named)})
    table = review.tables("tiny", "sizes")
    assert table.to_dict("list") == {
        "stage": ["02_train", "03_loose", "03_loose"],
        "file": list("abc"),
        "bytes": [1, 2, 3],
    }
    (outputs / "03_loose" / "tables" / "sizes.csv").write_text("file,bytes\nb,9\n")
    with pytest.raises(ArtifactError):
        review.tables("tiny", "sizes")


def test_a_metric_of_all_stages_that_have_it(outputs):
    share = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 90, "unit": "%"}
    for stage, metrics in (("01_data", {"rows": share}), ("03_loose", {"accuracy": share})):
        folder = outputs / stage
        write_manifest(folder, {**artifacts.read_manifest(folder), "metrics": metrics})
    assert review.metric("tiny", "accuracy") == {"03_loose": Interval(0.5, 0.4, 0.6, 90)}
    assert review.metric("tiny", "unheard of") == {}
