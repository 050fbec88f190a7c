"""Small networks written as ONNX by hand, node by node, and the same with their matrices in int8.

torch's exporter takes seconds for a dozen nodes, and adds some that say nothing.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import onnx

OPSET, IR_VERSION = 17, 8  # what runtimes of the last years read


def node(kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> onnx.NodeProto:
    """One operator with one output, in the names of ONNX's operator list."""
    from onnx import helper

    made = helper.make_node(kind, inputs, [output])
    made.attribute.extend(helper.make_attribute(name, value) for name, value in attributes.items())
    return made


def model(
    name: str, nodes: Sequence[onnx.NodeProto], constants: Mapping[str, np.ndarray],
    inputs: Mapping[str, tuple[type, Sequence[str]]], output: tuple[str, Sequence[str | int]],
) -> bytes:  # fmt: skip
    """A checked model. inputs: {name: (NumPy type, names of the axes)}; output: (name, axes), float32."""
    import numpy as np
    from onnx import checker, helper, numpy_helper

    def value(title: str, kind: type, axes: Sequence[str | int]) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(title, helper.np_dtype_to_tensor_dtype(np.dtype(kind)), axes)

    graph = helper.make_graph(
        nodes,
        name,
        [value(title, *described) for title, described in inputs.items()],
        [value(output[0], np.float32, output[1])],
        [numpy_helper.from_array(np.ascontiguousarray(array), title) for title, array in constants.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
    made.ir_version = IR_VERSION
    checker.check_model(made)
    return made.SerializeToString()


def int8(float32: bytes) -> bytes:
    """The same with its matrices, a table that is gathered from among them, as 8-bit integers.

    What flows between the nodes is quantised as it comes (dynamic quantisation), so that no calibration data is needed.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as scratch:
        source, target = Path(scratch) / "float.onnx", Path(scratch) / "int8.onnx"
        source.write_bytes(float32)
        with _quiet():
            quantize_dynamic(source, target, weight_type=QuantType.QInt8)
        return target.read_bytes()


@contextmanager
def _quiet() -> Iterator[None]:
    """The quantiser advises on the root logger, about images and about inputs that are no floats."""
    logger = logging.getLogger()
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
