"""A checkpoint exists once its manifest verifies; whatever else lies there is removed before training."""

from __future__ import annotations

from pathlib import Path

import pytest

from cogumi_utils.artifacts import MANIFEST, verify
from cogumi_utils.model.checkpoints import certify, newest_verified


def checkpoint(folder: Path, steps: int, certified: bool = True) -> Path:
    made = folder / f"checkpoint-{steps}"
    (made / "inner").mkdir(parents=True)
    (made / "weights.safetensors").write_bytes(bytes(range(256)) * 8)
    (made / "inner/optimizer.pt").write_bytes(f"state of step {steps}".encode())
    if certified:
        certify(made)
    return made


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_manifest_names_every_file(tmp_path):
    made = checkpoint(tmp_path, 7)
    assert set(verify(made)["outputs"]) == {"weights.safetensors", "inner/optimizer.pt"}


def test_the_one_with_the_most_steps_is_taken(tmp_path):
    for steps in (9, 10, 2):
        checkpoint(tmp_path, steps)
    assert newest_verified(tmp_path) == tmp_path / "checkpoint-10"
    assert names(tmp_path) == ["checkpoint-10", "checkpoint-2", "checkpoint-9"]


def test_none_there(tmp_path):
    assert newest_verified(tmp_path) is None
    (tmp_path / "README.md").write_text("not a checkpoint")
    assert newest_verified(tmp_path) is None and names(tmp_path) == ["README.md"]


def flip(path: Path) -> None:
    body = bytearray(path.read_bytes())
    body[len(body) // 2] ^= 1
    path.write_bytes(bytes(body))


SPOILED = {
    "a flipped bit": lambda made: flip(made / "weights.safetensors"),
    "a flipped bit further down": lambda made: flip(made / "inner/optimizer.pt"),
    "a flipped bit of the manifest": lambda made: flip(made / MANIFEST),
    "cut short": lambda made: (made / "weights.safetensors").write_bytes(b"\0" * 100),
    "a file is missing": lambda made: (made / "inner/optimizer.pt").unlink(),
    "the manifest is missing": lambda made: (made / MANIFEST).unlink(),
    "the manifest is empty": lambda made: (made / MANIFEST).write_bytes(b""),
    "the manifest is cut short": lambda made: (made / MANIFEST).write_bytes((made / MANIFEST).read_bytes()[:-20]),
}


@pytest.mark.parametrize("spoil", SPOILED.values(), ids=SPOILED)
def test_a_spoiled_one_is_removed_and_the_one_before_is_taken(tmp_path, spoil):
    good, bad = checkpoint(tmp_path, 20), checkpoint(tmp_path, 30)
    spoil(bad)
    assert newest_verified(tmp_path) == good and names(tmp_path) == ["checkpoint-20"]
    spoil(good)
    assert newest_verified(tmp_path) is None and names(tmp_path) == []


def test_one_that_was_still_being_written(tmp_path):
    checkpoint(tmp_path, 4)
    checkpoint(tmp_path, 6, certified=False)
    (tmp_path / "checkpoint-8").mkdir()
    assert newest_verified(tmp_path) == tmp_path / "checkpoint-4" and names(tmp_path) == ["checkpoint-4"]
