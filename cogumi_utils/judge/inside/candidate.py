"""The process that runs model-written code: it loads the code, then answers calls with values.

It never holds the tests, an expected value or the verdict. Whatever the code does to this process (it shares the
interpreter with it), it can only make this process answer differently or not at all.
"""

from __future__ import annotations

import builtins
import operator
import random
import sys
import types
from collections.abc import Callable
from typing import Any

from .codec import decode, encode, receive, send

OPERATIONS: dict[str, Callable] = {
    "call": lambda function, *args, **kwargs: function(*args, **kwargs),
    "getattr": getattr,
    "setattr": setattr,
    "getitem": operator.getitem,
    "setitem": operator.setitem,
    "delitem": operator.delitem,
    "contains": operator.contains,
    "iter": iter,
    "next": next,
    "len": len,
    "bool": bool,
    "str": str,
    "repr": repr,
}


class Candidate:
    """One loaded program and the objects of it that the tests hold references to."""

    def __init__(self, requests: int, replies: int):
        self._requests, self._replies = requests, replies
        self._objects: list[Any] = []
        self._numbers: dict[int, int] = {}
        self._namespace: dict[str, Any] = {}

    def load(self, code: str) -> None:
        module = types.ModuleType("candidate")
        sys.modules["candidate"] = module
        self._namespace = module.__dict__
        random.seed(0)
        self._answer(lambda: exec(compile(code, "<candidate>", "exec", dont_inherit=True), self._namespace))

    def serve(self) -> None:
        """Answer requests until the tests' process closes its end."""
        while True:
            self._perform(receive(self._requests))

    def _perform(self, request: dict) -> None:
        if request["do"] == "get":
            self._answer(lambda: self._namespace[request["name"]])
            return
        operation = OPERATIONS[request["do"]]
        args, kwargs = self._decode(request["args"]), self._decode(request["kwargs"])
        self._answer(lambda: operation(*args, **kwargs))

    def _answer(self, compute: Callable[[], Any]) -> None:
        try:
            reply = {"value": encode(compute(), self._refer)}
        except BaseException as error:
            reply = self._failure(error)
        try:
            send(self._replies, reply)
        except (ValueError, RecursionError, MemoryError) as error:
            send(self._replies, self._failure(error))

    def _failure(self, error: BaseException) -> dict:
        """The exception by its nearest built-in class: the tests' process raises that, never a candidate's class."""
        builtin = next(kind.__name__ for kind in type(error).__mro__ if getattr(builtins, kind.__name__, None) is kind)
        try:
            args = encode(list(error.args), self._refer)
        except Exception:
            args = []
        return {"error": builtin, "class": type(error).__name__, "args": args}

    def _refer(self, value: Any) -> dict:
        number = self._numbers.get(id(value))
        if number is None:
            number = self._numbers[id(value)] = len(self._objects)
            self._objects.append(value)
        return {"object": number}

    def _decode(self, data: Any) -> Any:
        return decode(data, lambda tag, number: self._objects[number] if tag == "object" else self._callback(number))

    def _callback(self, number: int) -> Callable:
        """A function of the tests that the candidate may call."""

        def call(*args: Any, **kwargs: Any) -> Any:
            send(self._replies, {"callback": number, **self._encoded(args, kwargs)})
            while "do" in (message := receive(self._requests)):
                self._perform(message)
            if "error" in message:
                raise getattr(builtins, message["error"])(*self._decode(message["args"]))
            return self._decode(message["value"])

        return call

    def _encoded(self, args: tuple, kwargs: dict) -> dict:
        return {"args": encode(list(args), self._refer), "kwargs": encode(kwargs, self._refer)}
