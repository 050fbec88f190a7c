"""A finished notebook made fit to be kept: no machine paths, no clocks of papermill, no widget state."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cogumi_utils.artifacts import atomic_write_bytes
from cogumi_utils.paths import data_dir, repo_root

if TYPE_CHECKING:
    from nbformat import NotebookNode

MAX_BYTES = 300_000
KERNELSPEC = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
_CLOCKS = ("papermill", "execution", "collapsed", "scrolled")
_MARKER = "papermill-error-cell-tag"


def cleaned(notebook: NotebookNode) -> NotebookNode:
    """The notebook, changed in place: what papermill and the machine left in it is taken out."""
    notebook.metadata = type(notebook.metadata)(kernelspec=KERNELSPEC, language_info={"name": "python"})
    notebook.cells = [cell for cell in notebook.cells if _MARKER not in cell.metadata.get("tags", [])]
    for cell in notebook.cells:
        tags = cell.metadata.get("tags", [])
        cell.metadata = {key: value for key, value in cell.metadata.items() if key not in (*_CLOCKS, "tags")}
        if tags:
            cell.metadata["tags"] = tags
        if "injected-parameters" in tags:
            cell["id"] = "injected-parameters"  # papermill draws a random one
        for output in cell.get("outputs", []):
            _clean_output(output)
    return notebook


def _clean_output(output: dict[str, Any]) -> None:
    output.get("metadata", {}).pop("widgets", None)
    data = output.get("data", {})
    for kind in [kind for kind in data if kind.startswith("application/vnd.jupyter.widget")]:
        del data[kind]
    for kind, value in data.items():
        if isinstance(value, str) and not kind.startswith("image/"):
            data[kind] = without_paths(value)
    for key in ("text", "evalue"):
        if isinstance(output.get(key), str):
            output[key] = without_paths(output[key])
    if "traceback" in output:
        output["traceback"] = [without_paths(line) for line in output["traceback"]]


def without_paths(text: str) -> str:
    """`text` with this machine's folders replaced by what a reader elsewhere would call them."""
    for path, name in _folders():
        text = text.replace(path, name)
    return text


def _folders() -> list[tuple[str, str]]:
    known = {str(repo_root()): ".", sys.prefix: "<environment>", sys.base_prefix: "<python>", str(Path.home()): "~"}
    known[tempfile.gettempdir()] = "<tmp>"
    if data_dir():
        known[str(data_dir())] = "$COGUMI_DATA"
    if os.environ.get("COGUMI_OUTPUTS"):
        known[str(Path(os.environ["COGUMI_OUTPUTS"]).resolve())] = "outputs"
    longest_first = sorted(known.items(), key=lambda item: -len(item[0]))
    return [(path, name) for path, name in longest_first if len(path) > 1]


def write(notebook: NotebookNode, path: Path) -> int:
    """Clean the notebook and write it atomically. Returns its size in bytes."""
    import nbformat

    data = nbformat.writes(cleaned(notebook)).encode() + b"\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write_bytes(path, data)
    return len(data)
