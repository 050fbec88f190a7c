"""What no order-0 code of a file's bytes can beat, for each way of splitting it, and how near zstd comes."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cogumi_utils.compress.archive._layouts import PLANES, pieces
from cogumi_utils.compress.archive._planes import entropy_bytes, histograms
from cogumi_utils.compress.archive._segments import NUMBERS, segments

if TYPE_CHECKING:
    import pandas as pd


def entropies(
    path: Path, levels: Sequence[int] = (3, 10, 19), dictionaries: Sequence[bool] = (False, True),
    planes: Sequence[str] = PLANES,
) -> pd.DataFrame:  # fmt: skip
    """A row a split, level and dictionary: bytes of the archive, beside the fewest that its split allows.

    entropy: Σ over planes of n·H(their bytes) / 8, each plane counted over all blocks of one tensor type in the file
    (none: one table for the whole file; bytes: a plane for each byte of a float, one for other types; blocks and
    best: a plane for each byte of a block). gap: archive / entropy of the best split − 1; what zstd finds to repeat
    brings it below 0. levels=() gives the entropies alone. Planes are estimated from their own bytes, so those of
    small files come out low (by about 184 bits a plane, were all 256 values used).
    """
    import pandas as pd

    bounds = split_entropies(Path(path))
    names = [name for name in PLANES if name in planes]
    if not levels:
        return pd.DataFrame([{"planes": name, "entropy": bounds[name]} for name in names])
    rows = [
        {"planes": name, "level": level, "dictionary": known, "entropy": bounds[name]}
        for name in names
        for level in levels
        for known in dictionaries
    ]
    table = pd.DataFrame(rows)
    table["bytes"] = [_packed(Path(path), row.level, row.planes, row.dictionary) for row in table.itertuples()]
    table["saved"] = 1 - table["bytes"] / max(1, Path(path).stat().st_size)
    return table.assign(gap=table["bytes"] / max(1.0, bounds["best"]) - 1)


def study(files: Sequence[Path], **options) -> pd.DataFrame:
    """`entropies` of several files under each other, the file's name first. options: levels, dictionaries, planes."""
    import pandas as pd

    found = pd.concat([entropies(path, **options) for path in files], keys=[Path(path).name for path in files])
    return found.reset_index(0, names="file").reset_index(drop=True)


def in_words(table: pd.DataFrame) -> pd.DataFrame:
    """A table of `study` as a reader takes it: a row a file and layout, a column of kilobytes a level, the smallest
    archive with a dictionary, and the smallest of all beside the plain file and the entropy of the best layout.
    """
    names = {"none": "as it is", "bytes": "floats by byte", "blocks": "blocks by byte", "best": "whatever is smallest"}
    keys = ["file", "planes"]
    rows, known = table.groupby(keys, sort=False), table["dictionary"]
    found = (rows["entropy"].first() / 1e3).to_frame("entropy, kB")
    for level, some in table[~known].groupby("level"):
        found[f"level {level}, kB"] = some.set_index(keys)["bytes"] / 1e3
    found["with a dictionary, kB"] = table[known].groupby(keys)["bytes"].min() / 1e3
    found["saved, %"] = 100 * rows["saved"].max()
    found["gap to the best entropy, %"] = 100 * rows["gap"].min()
    return found.reset_index().rename(columns={"planes": "layout"}).replace({"layout": names})


def split_entropies(path: Path) -> dict[str, float]:
    """Bytes by the name of the split; one pass over the file."""
    found = segments(path)
    kinds = {segment.kind: segment.width for segment in found}
    counts = {kind: sum(map(histograms, pieces(path, found, kind)), np.zeros((1, 256), int)) for kind in kinds}
    pooled = {kind: float(entropy_bytes(table.sum(axis=0))) for kind, table in counts.items()}
    split = {kind: float(entropy_bytes(table).sum()) for kind, table in counts.items()}
    whole = sum((table.sum(axis=0) for table in counts.values()), np.zeros(256, int))
    blocks = sum(split.values())
    numbers = sum(split[kind] if kind in NUMBERS else pooled[kind] for kind in kinds)
    return {"none": float(entropy_bytes(whole)), "bytes": numbers, "blocks": blocks, "best": blocks}


def _packed(path: Path, level: int, planes: str, dictionary: bool) -> int:
    from cogumi_utils.compress.archive import pack_file  # its face has this module's table

    with tempfile.TemporaryDirectory() as scratch:
        return pack_file(path, Path(scratch) / "x", level=level, planes=planes, dictionary=dictionary).bytes_file
