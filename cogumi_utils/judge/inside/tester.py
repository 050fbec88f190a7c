"""The process that runs the tests and decides: names that the tests do not define are the candidate's, by proxy.

The verdict is made here, out of the candidate's reach, and signed with a nonce that only this process and the judge
outside the sandbox have ever held.
"""

from __future__ import annotations

import builtins
import importlib
import json
import linecache
import random
import re
import sys
import traceback
from typing import Any

from .codec import decode, encode, receive, send

TESTS_FILE = "<tests>"
_ADDRESS = re.compile(r"0x[0-9a-f]{6,16}")


class CandidateGone(BaseException):
    """The candidate's process ended, or ended the program by SystemExit and the like. Tests cannot recover from it."""


class Link:
    """Requests to the candidate's process and what came of them."""

    def __init__(self, requests: int, replies: int):
        self._to_candidate, self._from_candidate = requests, replies
        self._remotes: dict[int, Remote] = {}
        self._callbacks: list[Any] = []
        self.requests = 0
        self.stopped = ""

    def ask(self, operation: str, *args: Any, **kwargs: Any) -> Any:
        request = {"do": operation, "args": encode(list(args), self._refer), "kwargs": encode(kwargs, self._refer)}
        try:
            return self.converse(request)
        except StopIteration as error:
            if operation == "next":
                raise
            raise RuntimeError("StopIteration, which would end the loop of a test") from error

    def get(self, name: str) -> Any:
        return self.converse({"do": "get", "name": name})

    def converse(self, request: dict | None = None) -> Any:
        """Send a request (none: the first reply tells how loading went) and wait for its value or its exception."""
        if self.stopped:
            raise CandidateGone(self.stopped)
        try:
            if request is not None:
                self.requests += 1
                send(self._to_candidate, request)
            while "callback" in (reply := receive(self._from_candidate)):
                send(self._to_candidate, self._run_callback(reply))
        except (EOFError, BrokenPipeError):
            self.stopped = "ended"
            raise CandidateGone(self.stopped) from None
        if "error" in reply:
            self._raise(reply)
        return decode(reply["value"], self._resolve)

    def _raise(self, reply: dict) -> None:
        kind = getattr(builtins, str(reply["error"]), None)
        if not (isinstance(kind, type) and issubclass(kind, Exception)):
            self.stopped = f"stopped by {_clean(str(reply['class']))}"
            raise CandidateGone(self.stopped)
        try:
            error = kind(*decode(reply["args"], self._resolve))
        except TypeError:
            error = ValueError(f"a {kind.__name__} that cannot be rebuilt")
        error.candidate_class = str(reply["class"])
        raise error

    def _run_callback(self, reply: dict) -> dict:
        function = self._callbacks[reply["callback"]]
        try:
            args, kwargs = decode(reply["args"], self._resolve), decode(reply["kwargs"], self._resolve)
            return {"value": encode(function(*args, **kwargs), self._refer)}
        except Exception as error:
            name = next(k.__name__ for k in type(error).__mro__ if getattr(builtins, k.__name__, None) is k)
            return {"error": name, "args": [str(error)]}

    def _refer(self, value: Any) -> dict:
        if type(value) is Remote:
            return {"object": object.__getattribute__(value, "_number")}
        if not callable(value):
            raise TypeError(f"a {type(value).__name__} cannot be handed to the candidate")
        self._callbacks.append(value)
        return {"callback": len(self._callbacks) - 1}

    def _resolve(self, tag: str, number: int) -> Any:
        if tag == "callback":
            return self._callbacks[number]
        if tag != "object" or type(number) is not int:
            raise ValueError(f"no such tag: {tag}")
        return self._remotes.setdefault(number, Remote(self, number))


class Remote:
    """An object that lives in the candidate's process. Equal to itself alone: equality is not for it to say."""

    def __init__(self, link: Link, number: int):
        object.__setattr__(self, "_link", link)
        object.__setattr__(self, "_number", number)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._ask("getattr", name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._ask("setattr", name, value)

    def _ask(self, operation: str, *args: Any, **kwargs: Any) -> Any:
        return object.__getattribute__(self, "_link").ask(operation, self, *args, **kwargs)

    def __iter__(self) -> Any:
        iterator = self._ask("iter")
        return iterator if type(iterator) is Remote else iter(iterator)


def _forward(operation: str) -> Any:
    return lambda self, *args, **kwargs: Remote._ask(self, operation, *args, **kwargs)


for _name in ("call", "getitem", "setitem", "delitem", "contains", "next", "len", "bool", "str", "repr"):
    setattr(Remote, f"__{_name}__", _forward(_name))


class _Names(dict):
    """The tests' globals: what they do not define is a built-in, a standard module, or else the candidate's."""

    def __init__(self, link: Link, entry_point: str):
        super().__init__(__name__="tests", __builtins__=builtins)
        self._link, self._entry_point = link, entry_point

    def __missing__(self, name: str) -> Any:
        if name != self._entry_point:
            if hasattr(builtins, name):
                raise KeyError(name)
            if name in sys.stdlib_module_names:
                return importlib.import_module(name)
        try:
            self[name] = self._link.get(name)
        except KeyError:
            raise NameError(f"name {name!r} is not defined by the program") from None
        return self[name]


def judge(program: dict, requests: int, replies: int) -> dict:
    """Run `program["tests"]` against the candidate: {"nonce", "passed", "reason", "gone"}."""
    link = Link(requests, replies)
    random.seed(0)
    try:
        link.converse()
    except BaseException as error:
        return _verdict(program, link, f"did not load: {link.stopped or _named(error)}")
    return _verdict(program, link, _run(program, link))


def _run(program: dict, link: Link) -> str:
    """The reason why the tests fail, empty if they pass."""
    tests = program["tests"]
    linecache.cache[TESTS_FILE] = (len(tests), None, tests.splitlines(True), TESTS_FILE)
    try:
        exec(compile(tests, TESTS_FILE, "exec", dont_inherit=True), _Names(link, program["entry_point"]))
    except BaseException as error:
        return _describe(error)
    return "" if link.requests else "the tests asked nothing of the program"


def _describe(error: BaseException) -> str:
    lines = [frame.line for frame in traceback.extract_tb(error.__traceback__) if frame.filename == TESTS_FILE]
    where = f" in `{lines[-1].strip()[:200]}`" if lines else ""
    if type(error) is AssertionError:
        return f"wrong answer{where}"
    if type(error) is CandidateGone:
        return f"{error}{where}"
    return f"{_named(error)}{where}"


def _named(error: BaseException) -> str:
    try:
        return _clean(f"{getattr(error, 'candidate_class', type(error).__name__)}: {error}")
    except BaseException:  # an argument of the error is an object of the candidate's, and it refuses to be printed
        return type(error).__name__


def _verdict(program: dict, link: Link, reason: str) -> dict:
    reason = reason or link.stopped
    signed = {"nonce": program["nonce"], "passed": not reason, "reason": reason or "passed"}
    return {**signed, "gone": link.stopped == "ended"}


def _clean(text: str) -> str:
    """Without memory addresses, which differ from run to run."""
    return " ".join(_ADDRESS.sub("0x…", text).split())[:300]


def main(program: bytes, requests: int, replies: int, verdict: int) -> None:
    send(verdict, judge(json.loads(program), requests, replies))
