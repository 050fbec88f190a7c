"""Manifests and the files behind them: no damage gets through to a reader."""

import json
import os
import random
import shutil
from pathlib import Path

import numpy as np
import pytest

from cogumi_utils import artifacts
from cogumi_utils.artifacts import ArtifactError, read_manifest, verify, write_manifest
from cogumi_utils.lineage import open_ref

FILES = {"train.parquet": 5000, "adapter/weights.bin": 3000, "adapter/config.json": 40, "empty.txt": 0}


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A finished stage of four files, in outputs/tiny/01_data."""
    monkeypatch.setenv("COGUMI_OUTPUTS", str(tmp_path))
    folder = tmp_path / "tiny" / "01_data"
    generator = random.Random(0)
    for name, size in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(generator.randbytes(size))
    outputs = artifacts.describe(folder, sorted(FILES))
    values = {"rate": 1e-05, "text": "naïve \u2028 é", "share": 0.1 + 0.2}
    write_manifest(folder, {"stage": "01_data", "inputs": {}, "outputs": outputs, "parameters": values})
    return folder


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


@pytest.mark.parametrize("name", ["train.parquet", "adapter/weights.bin", "adapter/config.json", "manifest.json"])
def test_50_random_damages_of_each_file_are_caught_before_use(stage, name):
    """200 in all: verify() and open_ref() both refuse, and the error says how to make the stage again."""
    generator, whole = random.Random(name), (stage / name).read_bytes()
    ref = "01_data/adapter" if name.startswith("adapter") else "01_data/train.parquet"
    for _ in range(50):
        what = damage(stage / name, generator)
        for reader in (lambda: verify(stage), lambda: open_ref(ref, "tiny")):
            with pytest.raises(ArtifactError) as caught:
                reader()
                pytest.fail(f"got through: {what}")
            assert caught.value.fix == "make it again: ./run_all.sh tiny --only 01_data"
        (stage / name).write_bytes(whole)
    verify(stage)


def test_every_single_bit_of_a_manifest_counts(stage):
    """All of them, not a sample: also those that change only its spelling (1e-05 and 1E-05 are one number)."""
    path = stage / "manifest.json"
    whole = path.read_bytes()
    for place in range(len(whole)):
        for bit in range(8):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :])
            with pytest.raises(ArtifactError):
                read_manifest(stage)
    path.write_bytes(whole)
    assert read_manifest(stage)["parameters"] == {"rate": 1e-05, "text": "naïve \u2028 é", "share": 0.1 + 0.2}


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"digest": 3}', '{"outputs": {}}', "[" * 100_000])
def test_a_manifest_that_is_something_else(stage, text):
    (stage / "manifest.json").write_text(text)
    with pytest.raises(ArtifactError):
        read_manifest(stage)


def test_an_edited_manifest_is_caught_even_if_it_is_well_formed(stage):
    manifest = json.loads((stage / "manifest.json").read_bytes())
    manifest["outputs"].pop("train.parquet")
    artifacts.atomic_write_json(stage / "manifest.json", manifest)
    with pytest.raises(ArtifactError, match="its own digest"):
        verify(stage)


def test_a_missing_file_or_manifest_says_which_and_what_to_type(stage):
    (stage / "empty.txt").unlink()
    with pytest.raises(ArtifactError) as caught:
        verify(stage)
    assert caught.value.found == f"{stage}/empty.txt is missing"
    assert caught.value.expected == f"a complete, unchanged stage in {stage}"
    assert caught.value.why == "its manifest lists it"
    (stage / "manifest.json").unlink()
    with pytest.raises(ArtifactError) as caught:
        verify(stage)
    assert caught.value.found == "no manifest.json there" and "the stage is not complete" in caught.value.why


def test_a_cut_file_is_found_by_its_size(stage):
    os.truncate(stage / "train.parquet", 4000)
    with pytest.raises(ArtifactError) as caught:
        verify(stage)
    assert caught.value.found == f"{stage}/train.parquet has 4000 bytes, its manifest says 5000"


def test_two_files_that_change_places_are_caught(stage):
    (stage / "a").write_text("1")
    (stage / "b").write_text("2")
    write_manifest(stage, {"outputs": artifacts.describe(stage, ["a", "b"])})
    (stage / "a").write_text("2")
    (stage / "b").write_text("1")
    with pytest.raises(ArtifactError):
        verify(stage)


def test_a_folder_is_read_under_one_hash(stage):
    path, entry = open_ref("01_data/adapter", "tiny")
    assert path == stage / "adapter"
    assert entry["sha256"] == artifacts.sha256_tree(stage / "adapter")
    assert entry["bytes"] == 3040
    assert entry["manifest_sha256"] == artifacts.sha256_file(stage / "manifest.json")
    _, entry = open_ref("01_data/train.parquet", "tiny")
    assert entry["sha256"] == artifacts.sha256_file(stage / "train.parquet")


def test_tree_hash_sees_names_contents_and_places(tmp_path):
    def tree(files: dict[str, str]) -> str:
        shutil.rmtree(tmp_path / "t", ignore_errors=True)
        for name, text in files.items():
            (tmp_path / "t" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "t" / name).write_text(text)
        return artifacts.sha256_tree(tmp_path / "t")

    trees = [{"a": "1", "b": "2"}, {"a": "2", "b": "1"}, {"a": "1", "d/b": "2"}, {"a": "1"}, {"a": "1", "b": ""}]
    assert len({tree(files) for files in trees}) == len(trees)
    assert tree({"b": "2", "a": "1"}) == tree({"a": "1", "b": "2"})


def test_links_are_refused(stage):
    os.symlink(stage / "train.parquet", stage / "adapter" / "link")
    with pytest.raises(ArtifactError, match="symbolic link"):
        artifacts.sha256_tree(stage / "adapter")


@pytest.mark.parametrize("ref", ["01_data", "01_data/", "01_data/train", "01_data/adapter/x", "01_data/manifest.json"])
def test_only_listed_outputs_can_be_read(stage, ref):
    with pytest.raises(ArtifactError) as caught:
        open_ref(ref, "tiny")
    assert "train.parquet" in caught.value.expected and "./run_all.sh tiny --only 01_data" in caught.value.fix


def test_a_stage_that_never_ran_names_the_command(stage):
    with pytest.raises(ArtifactError) as caught:
        open_ref("03_clusters/patterns.json", "tiny")
    assert caught.value.fix == "make it again: ./run_all.sh tiny --only 03_clusters"


def test_plain_values():
    found = artifacts.plain(
        {"a": np.float32(0.5), 1: np.arange(3), "nan": float("nan"), "inf": [np.inf], "p": Path("x/y"), "s": {2, 1}}
    )
    assert found == {"a": 0.5, "1": [0, 1, 2], "nan": None, "inf": [None], "p": "x/y", "s": [1, 2]}
    assert artifacts.canonical({"b": 1, "a": [True, None]}) == b'{\n "a": [\n  true,\n  null\n ],\n "b": 1\n}\n'


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_writing_keeps_the_old_file_when_it_fails(tmp_path, monkeypatch, step):
    path = tmp_path / "state.json"
    artifacts.atomic_write_json(path, {"version": 1})

    def no_space(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, step, no_space)
    with pytest.raises(OSError):
        artifacts.atomic_write_json(path, {"version": 2})
    assert json.loads(path.read_text()) == {"version": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["state.json"]
