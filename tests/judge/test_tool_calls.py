"""Calls are read without evaluation and compared as trees."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cogumi_utils.judge.tool_calls import Unreadable, compare_calls, difference, fenced_blocks, read_calls

LIGHT = {"name": "set_light", "arguments": {"room": "hall", "level": 30}}
DOOR = {"name": "door", "arguments": {"room": "hall", "do": "lock"}}
NESTED = {"name": "at", "arguments": {"hour": 7, "do": LIGHT}}
LIGHT_TEXT = 'set_light(room="hall", level=30)'


@pytest.mark.parametrize(
    ("answer", "calls"),
    [
        (LIGHT_TEXT, [LIGHT]),
        ("set_light( level = 30 , room='hall' )", [LIGHT]),
        (f'{LIGHT_TEXT}\ndoor(room="hall", do="lock")', [LIGHT, DOOR]),
        (f'{LIGHT_TEXT}; door(room="hall", do="lock");', [LIGHT, DOOR]),
        (f'[{LIGHT_TEXT}, door(room="hall", do="lock")]', [LIGHT, DOOR]),
        (f"at(hour=7, do={LIGHT_TEXT})", [NESTED]),
        (f"Of course:\n```python\n{LIGHT_TEXT}\n```\nDone.", [LIGHT]),
        (f"```\n{LIGHT_TEXT}", [LIGHT]),
        ('{"name": "set_light", "arguments": {"room": "hall", "level": 30}}', [LIGHT]),
        ('{"name": "set_light", "parameters": {"room": "hall", "level": 30}}', [LIGHT]),
        ('{"function": {"name": "set_light", "arguments": "{\\"room\\": \\"hall\\", \\"level\\": 30}"}}', [LIGHT]),
        ('[{"name": "set_light", "arguments": {"room": "hall", "level": 30}}]', [LIGHT]),
        ('<tool_call>{"name": "set_light", "arguments": {"room": "hall", "level": 30}}</tool_call>', [LIGHT]),
        (
            '{"name": "a", "arguments": {}}\n{"name": "b", "arguments": {}}',
            [{"name": n, "arguments": {}} for n in "ab"],
        ),
        ("[]", []),
        ("none()", [{"name": "none", "arguments": {}}]),
        ("math.factorial(number=5)", [{"name": "math.factorial", "arguments": {"number": 5}}]),
        ("get-weather(from=1, in=2)", [{"name": "get-weather", "arguments": {"from": 1, "in": 2}}]),
        (
            "f(a=-1, b=+2.5, c=None, d=true, e=null, g=[1, (2,)], h={'k': {'l': False}})",
            [
                {
                    "name": "f",
                    "arguments": {
                        "a": -1,
                        "b": 2.5,
                        "c": None,
                        "d": True,
                        "e": None,
                        "g": [1, [2]],
                        "h": {"k": {"l": False}},
                    },
                }
            ],
        ),
        ("f(a='g(b=1)', c=\"x = 'y'\")", [{"name": "f", "arguments": {"a": "g(b=1)", "c": "x = 'y'"}}]),
    ],
)
def test_calls_are_read(answer, calls):
    assert read_calls(answer) == calls


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "I will set the light.",
        "set_light",
        "set_light(",
        'set_light("hall", 30)',
        "set_light(room=hall)",
        "f(**{'a': 1})",
        "f(a=1, a=2)",
        "f(a=g)",
        "f(a=1 + 1)",
        "f(a=[x for x in (1,)])",
        "f(a=lambda: 1)",
        "f(a=f'{1}')",
        "f(a=b'1')",
        "f()()",
        "f()[0]",
        "x = f()",
        "import os",
        "f(a=...)",
        "f(a={1: 2})",
        "f(a={**{}})",
        "await f()",
        "{'name': 'f'}",
        '{"name": "f"}',
        '[{"name": "f", "arguments": [1]}]',
        '{"name": "f", "arguments": "x"}',
        "[1, 2]",
        '"f()"',
        "f(a=" + "[" * 60 + "]" * 60 + ")",
        "__import__('os').system('touch /tmp/x')",
        "f(a=" + "1" * 5000 + ")",
        "(f(a=1)",
        "f(a=1) and g()",
    ],
)
def test_what_is_no_call_is_unreadable(answer):
    with pytest.raises(Unreadable):
        read_calls(answer)


def test_reading_evaluates_nothing(tmp_path):
    marker = tmp_path / "ran"
    for answer in (f"f(a=open({str(marker)!r}, 'w'))", f"open(file={str(marker)!r}, mode='w')"):
        try:
            read_calls(answer)
        except Unreadable:
            pass
    assert not marker.exists()


@pytest.mark.parametrize(
    ("given_calls", "payload", "reason"),
    [
        ([LIGHT], {"calls": [LIGHT]}, ""),
        ([{"name": "set_light", "arguments": {"level": 30.0, "room": "hall"}}], {"calls": [LIGHT]}, ""),
        (
            [{"name": "set_light", "arguments": {"room": "hall", "level": "30"}}],
            {"calls": [LIGHT]},
            "set_light.level: '30', expected 30",
        ),
        (
            [{"name": "set_light", "arguments": {"room": "hall", "level": True}}],
            {"calls": [{**LIGHT, "arguments": {"room": "hall", "level": 1}}]},
            "set_light.level: True, expected 1",
        ),
        ([{"name": "set_light", "arguments": {"room": "hall"}}], {"calls": [LIGHT]}, "set_light: level is missing"),
        (
            [{"name": "set_light", "arguments": {"room": "hall", "level": 30, "x": 1}}],
            {"calls": [LIGHT]},
            "set_light: x is too much",
        ),
        ([DOOR], {"calls": [LIGHT]}, "door called, expected set_light"),
        ([LIGHT, LIGHT], {"calls": [LIGHT]}, "2 calls, expected 1"),
        ([], {"calls": [LIGHT]}, "0 calls, expected 1"),
        ([DOOR, LIGHT], {"calls": [LIGHT, DOOR], "ordered": True}, "door called, expected set_light"),
        ([DOOR, LIGHT], {"calls": [LIGHT, DOOR], "ordered": False}, ""),
        ([DOOR, DOOR], {"calls": [LIGHT, DOOR], "ordered": False}, "door called, expected set_light"),
        (
            [NESTED],
            {"calls": [{"name": "at", "arguments": {"hour": 7, "do": DOOR}}]},
            "at.do.name: 'set_light', expected 'door'",
        ),
    ],
)
def test_calls_are_compared(given_calls, payload, reason):
    assert compare_calls(given_calls, payload).startswith(reason)
    assert bool(compare_calls(given_calls, payload)) is bool(reason)


def test_accepted_values_and_arguments_that_may_be_left_out():
    accept = [{"name": "f", "arguments": {"city": ["NY", "New York"], "unit": ["C"]}, "optional": ["unit"]}]
    payload = {"calls": [], "accept": accept, "ordered": False}
    assert not compare_calls([{"name": "f", "arguments": {"city": "New York"}}], payload)
    assert not compare_calls([{"name": "f", "arguments": {"city": "NY", "unit": "C"}}], payload)
    assert compare_calls([{"name": "f", "arguments": {"city": "LA"}}], payload) == "f.city: 'LA' is not allowed"
    assert compare_calls([{"name": "f", "arguments": {"unit": "C"}}], payload) == "f: city is missing"
    assert compare_calls([{"name": "f", "arguments": {"city": "NY", "day": 1}}], payload) == "f: day is too much"


def test_unordered_calls_are_paired_the_best_way():
    """The first expected call takes either value; taking the only one that fits the second would leave it alone."""
    accept = [{"name": "f", "arguments": {"x": [1, 2]}}, {"name": "f", "arguments": {"x": [1]}}]
    calls = [{"name": "f", "arguments": {"x": 1}}, {"name": "f", "arguments": {"x": 2}}]
    for order in (calls, calls[::-1]):
        assert not compare_calls(order, {"calls": [], "accept": accept, "ordered": False})
    assert compare_calls([calls[1], calls[1]], {"calls": [], "accept": accept, "ordered": False})


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.from_regex(r"[a-z][a-z_]{0,6}", fullmatch=True)
CALLS = st.lists(
    st.builds(
        lambda name, arguments: {"name": name, "arguments": arguments},
        NAMES,
        st.dictionaries(NAMES, VALUES, max_size=3),
    ),
    min_size=1,
    max_size=3,
)


@given(calls=CALLS)
def test_what_is_written_is_read_again(calls):
    text = "\n".join(f"{c['name']}({', '.join(f'{k}={v!r}' for k, v in c['arguments'].items())})" for c in calls)
    assert not compare_calls(read_calls(text), {"calls": calls, "ordered": True})


@given(value=VALUES, other=VALUES)
def test_difference_is_symmetric_and_empty_for_equals(value, other):
    assert difference(value, value) == ""
    assert bool(difference(value, other)) is bool(difference(other, value))


def test_fenced_blocks():
    assert fenced_blocks("no fence") == []
    assert fenced_blocks("a\n```python\nx\n```\nb\n  ```\ny\nz") == ["x", "y\nz"]
