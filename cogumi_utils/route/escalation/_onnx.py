"""The student's few operations as an ONNX graph, and the same graph in int8.

The graph is written with ONNX's own helper: torch's exporter takes seconds for it and adds twenty nodes that make up
the LSTM's empty first state, which ONNX has by default.
"""

from __future__ import annotations

import logging
import tempfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np

OPSET, IR_VERSION = 17, 8  # what runtimes of the last years read
INPUT, OUTPUT = "pieces", "logit"
_GATES = (0, 3, 1, 2)  # torch: input, forget, cell, output; ONNX: input, output, forget, cell


def graph(weights: dict[str, np.ndarray]) -> bytes:
    """An ONNX model: `pieces` int64 [texts, pieces] → `logit` float32 [texts]; weights as the network names them."""
    from onnx import TensorProto, checker, helper, numpy_helper

    hidden = weights["lstm.weight_hh_l0"].shape[1]
    constants = {
        "table": weights["table.weight"],
        "W": np.stack([_gates(weights[f"lstm.weight_ih_l0{way}"]) for way in ("", "_reverse")]),
        "R": np.stack([_gates(weights[f"lstm.weight_hh_l0{way}"]) for way in ("", "_reverse")]),
        "B": np.stack([_biases(weights, way) for way in ("", "_reverse")]),
        "head": np.ascontiguousarray(weights["head.weight"].T),
        "bias": weights["head.bias"],
        "flat": np.array([0, 2 * hidden], dtype=np.int64),
        "line": np.array([-1], dtype=np.int64),
    }
    nodes = [
        _node("Transpose", [INPUT], ["turned"], perm=[1, 0]),
        _node("Gather", ["table", "turned"], ["embedded"]),  # [pieces, texts, width]
        _node("LSTM", ["embedded", "W", "R", "B"], ["states"], direction="bidirectional", hidden_size=hidden),
        _node("ReduceMax", ["states"], ["highest"], axes=[0], keepdims=0),  # [directions, texts, hidden]
        _node("ReduceMean", ["states"], ["mean"], axes=[0], keepdims=0),
        _node("Transpose", ["highest"], ["highest by text"], perm=[1, 0, 2]),
        _node("Transpose", ["mean"], ["mean by text"], perm=[1, 0, 2]),
        _node("Reshape", ["highest by text", "flat"], ["highest flat"]),
        _node("Reshape", ["mean by text", "flat"], ["mean flat"]),
        _node("Concat", ["highest flat", "mean flat"], ["pooled"], axis=1),
        _node("Gemm", ["pooled", "head", "bias"], ["column"]),
        _node("Reshape", ["column", "line"], [OUTPUT]),
    ]
    made = helper.make_graph(
        nodes,
        "escalation",
        [helper.make_tensor_value_info(INPUT, TensorProto.INT64, ["texts", "pieces"])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["texts"])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(made)
    model.ir_version = IR_VERSION
    del model.opset_import[:]
    model.opset_import.append(helper.make_opsetid("", OPSET))
    checker.check_model(model)
    return model.SerializeToString()


def _node(kind: str, inputs: list[str], outputs: list[str], **attributes):
    from onnx import helper

    node = helper.make_node(kind, inputs, outputs)
    node.attribute.extend(helper.make_attribute(name, value) for name, value in attributes.items())
    return node


def int8(model: bytes) -> bytes:
    """The same with weights in int8; what flows between the nodes is quantised as it comes (dynamic)."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as scratch:
        source, target = Path(scratch) / "float.onnx", Path(scratch) / "int8.onnx"
        source.write_bytes(model)
        with _quiet():
            quantize_dynamic(source, target, weight_type=QuantType.QInt8)
        return target.read_bytes()


@contextmanager
def _quiet():
    """The quantiser advises on the root logger, about images and about inputs that are no floats."""
    logger = logging.getLogger()
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


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
