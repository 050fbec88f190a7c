"""Plain values as JSON frames: all that can pass between the candidate's process and the tests' process.

Decoding builds exact built-in types and nothing else, so a value that reaches the tests has no behaviour of the
candidate's making: an `__eq__` that always answers True cannot cross. Anything that is not a plain value crosses as a
reference (a number) to an object that stays where it was made.
"""

from __future__ import annotations

import builtins
import json
import os
import struct
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from datetime import date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

MAX_FRAME_BYTES = 16 << 20
_SAFE_INTEGER = 1 << 62

# type → (tag, value → list of parts that are encoded in turn, list of decoded parts → value)
_CONTAINERS: dict[type, tuple[str, Callable, Callable]] = {
    tuple: ("tuple", list, tuple),
    set: ("set", list, set),
    frozenset: ("frozenset", list, frozenset),
    deque: ("deque", list, deque),
    Counter: ("counter", lambda value: list(value.items()), lambda parts: Counter(dict(parts))),
    OrderedDict: ("ordered", lambda value: list(value.items()), OrderedDict),
    dict: ("dict", lambda value: list(value.items()), dict),
}
# type → (tag, value → JSON, JSON → value)
_SCALARS: dict[type, tuple[str, Callable, Callable]] = {
    int: ("int", hex, lambda text: int(text, 16)),
    bytes: ("bytes", bytes.hex, bytes.fromhex),
    bytearray: ("bytearray", bytearray.hex, bytearray.fromhex),
    complex: ("complex", lambda value: [value.real, value.imag], lambda parts: complex(*parts)),
    range: ("range", lambda value: [value.start, value.stop, value.step], lambda parts: range(*parts)),
    Decimal: ("decimal", str, Decimal),
    Fraction: ("fraction", str, Fraction),
    datetime: ("datetime", datetime.isoformat, datetime.fromisoformat),
    date: ("date", date.isoformat, date.fromisoformat),
    timedelta: ("timedelta", lambda value: [value.days, value.seconds, value.microseconds], lambda p: timedelta(*p)),
}
_READ_CONTAINER = {tag: build for tag, _, build in _CONTAINERS.values()}
_READ_SCALAR = {tag: build for tag, _, build in _SCALARS.values()}
_BY_VALUE = (bool, int, float, str, list, *_CONTAINERS, *_SCALARS)


def encode(value: Any, refer: Callable[[Any], dict]) -> Any:
    """A JSON-able form of `value`; `refer` makes the tag for an object that cannot cross by value."""
    kind = type(value)
    if value is None or kind in (bool, float, str) or (kind is int and -_SAFE_INTEGER < value < _SAFE_INTEGER):
        return value
    if kind is list:
        return [encode(item, refer) for item in value]
    if kind in _CONTAINERS:
        tag, parts, _ = _CONTAINERS[kind]
        return {tag: [encode(part, refer) for part in parts(value)]}
    if kind in _SCALARS:
        tag, write, _ = _SCALARS[kind]
        return {tag: write(value)}
    if kind is type and getattr(builtins, value.__name__, None) is value:
        return {"type": value.__name__}
    return _encode_subclass(value, refer)


def _encode_subclass(value: Any, refer: Callable[[Any], dict]) -> Any:
    """A subclass of a plain type crosses as that plain type (a namedtuple as a tuple), all else as a reference."""
    for base in _BY_VALUE:
        if isinstance(value, base):
            plain = base.__new__(base, value) if base in (int, float, str) else base(value)
            return encode(plain, refer)
    return refer(value)


def decode(data: Any, resolve: Callable[[str, Any], Any]) -> Any:
    """The value behind `data`; `resolve(tag, number)` finds what a reference stands for. Malformed data raises."""
    if isinstance(data, list):
        return [decode(item, resolve) for item in data]
    if not isinstance(data, dict):
        return data
    (tag, content), *more = data.items()
    if more:
        raise ValueError("a value has one tag")
    if tag in _READ_CONTAINER:
        return _READ_CONTAINER[tag](decode(content, resolve))
    if tag in _READ_SCALAR:
        return _READ_SCALAR[tag](content)
    if tag == "type":
        return _builtin_type(content)
    return resolve(tag, content)


def _builtin_type(name: str) -> type:
    found = getattr(builtins, name)
    if type(found) is not type:
        raise ValueError(f"{name} is not a built-in type")
    return found


def read_exactly(fd: int, count: int) -> bytes:
    """`count` bytes from a pipe; EOFError if it ends before. Unbuffered, so that it never reads what is not its own."""
    chunks = []
    while count:
        chunk = os.read(fd, min(count, 1 << 20))
        if not chunk:
            raise EOFError
        chunks.append(chunk)
        count -= len(chunk)
    return b"".join(chunks)


def write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def send(fd: int, message: dict) -> None:
    """One frame: four bytes of length, then JSON."""
    body = json.dumps(message, separators=(",", ":")).encode()
    if len(body) > MAX_FRAME_BYTES:
        raise ValueError(f"a value of {len(body)} bytes is too large to cross")
    write_all(fd, struct.pack(">I", len(body)) + body)


def receive(fd: int) -> dict:
    (size,) = struct.unpack(">I", read_exactly(fd, 4))
    if size > MAX_FRAME_BYTES:
        raise ValueError(f"a frame of {size} bytes is too large")
    return json.loads(read_exactly(fd, size))
