"""Where encoders are loaded from."""

from __future__ import annotations

from pathlib import Path

from cogumi_utils.model import encoders


def test_the_packaged_one_is_a_folder_of_safetensors_and_other_names_are_left_alone():
    assert (Path(encoders.place()) / "model.safetensors").is_file()
    assert [encoders.place(name) for name in ("some/folder", "hub/id")] == ["some/folder", "hub/id"]
