"""The student's few operations as an ONNX graph. torch's exporter would add twenty nodes that make up the LSTM's empty
first state, which ONNX has by default.
"""

from __future__ import annotations

import numpy as np

from cogumi_utils.route import onnx_graph
from cogumi_utils.route.onnx_graph import node

INPUT, OUTPUT = "pieces", "logit"
_GATES = (0, 3, 1, 2)  # torch: input, forget, cell, output; ONNX: input, output, forget, cell


def graph(weights: dict[str, np.ndarray]) -> bytes:
    """An ONNX model: `pieces` int64 [texts, pieces] → `logit` float32 [texts]; weights as the network names them."""
    hidden = weights["lstm.weight_hh_l0"].shape[1]
    constants = {
        "table": weights["table.weight"],
        "W": np.stack([_gates(weights[f"lstm.weight_ih_l0{way}"]) for way in ("", "_reverse")]),
        "R": np.stack([_gates(weights[f"lstm.weight_hh_l0{way}"]) for way in ("", "_reverse")]),
        "B": np.stack([_biases(weights, way) for way in ("", "_reverse")]),
        "head": weights["head.weight"].T,
        "bias": weights["head.bias"],
        "flat": np.array([0, 2 * hidden], dtype=np.int64),
        "line": np.array([-1], dtype=np.int64),
    }
    nodes = [
        node("Transpose", [INPUT], "turned", perm=[1, 0]),
        node("Gather", ["table", "turned"], "embedded"),  # [pieces, texts, width]
        node("LSTM", ["embedded", "W", "R", "B"], "states", direction="bidirectional", hidden_size=hidden),
        node("ReduceMax", ["states"], "highest", axes=[0], keepdims=0),  # [directions, texts, hidden]
        node("ReduceMean", ["states"], "mean", axes=[0], keepdims=0),
        node("Transpose", ["highest"], "highest by text", perm=[1, 0, 2]),
        node("Transpose", ["mean"], "mean by text", perm=[1, 0, 2]),
        node("Reshape", ["highest by text", "flat"], "highest flat"),
        node("Reshape", ["mean by text", "flat"], "mean flat"),
        node("Concat", ["highest flat", "mean flat"], "pooled", axis=1),
        node("Gemm", ["pooled", "head", "bias"], "column"),
        node("Reshape", ["column", "line"], OUTPUT),
    ]
    return onnx_graph.model(
        "escalation", nodes, constants, {INPUT: (np.int64, ["texts", "pieces"])}, (OUTPUT, ["texts"])
    )


def sizes(model: bytes) -> dict[str, int]:
    """Bytes of the word table, and of all the rest of the file."""
    import onnx

    tables = [one for one in onnx.load_from_string(model).graph.initializer if one.name.startswith("table")]
    table = max((one.ByteSize() for one in tables), default=0)
    return {"table": table, "rest": len(model) - table}


def _gates(matrix: np.ndarray) -> np.ndarray:
    """Rows of the four gates in ONNX's order."""
    return np.concatenate([np.split(matrix, 4)[gate] for gate in _GATES])


def _biases(weights: dict[str, np.ndarray], way: str) -> np.ndarray:
    return np.concatenate([_gates(weights[f"lstm.bias_{part}_l0{way}"]) for part in ("ih", "hh")])
