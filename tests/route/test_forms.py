"""Stubs, snippets and plain words made of code prompts."""

from __future__ import annotations

import pandas as pd

from cogumi_utils.route import forms, prompts

STUB = 'def twice(x: int) -> int:\n    """Give x two times.\n    >>> twice(2)\n    4\n    """\n'
ADD = "import math\ndef add(a, b=0):\n  return a + b"
ROWS = [
    ("Write a function to add two numbers.", "mbpp", "mbpp", "code", "all", ADD),
    (STUB, "humaneval", "humaneval", "code", "stub", STUB + "    return 2 * x\n"),
    ("What is 2 + 2?", "gsm8k", "gsm8k", "reasoning", "word problem", ""),
    ("Write a broken function.", "mbpp", "mbpp", "code", "all", "def broken(:"),
    ("Print a word.", "mbpp", "mbpp", "code", "all", "print('word')"),
]  # fmt: skip


def made():
    return forms.made(pd.DataFrame(ROWS, columns=prompts.COLUMNS), seed=0)


def test_each_function_gives_its_forms_and_nothing_else_does():
    found = made()
    assert list(zip(found["source"], found["detail"], strict=True)) == [
        ("mbpp", "made: stub"), ("mbpp", "made: snippet"),
        ("humaneval", "made: stub"), ("humaneval", "made: snippet"), ("humaneval", "made: words"),
    ]  # fmt: skip
    assert set(found["route"]) == {"code"} and (found["group"] == found["source"]).all()


def test_a_stub_has_the_words_and_not_the_body():
    stub, snippet = made()["text"][:2]
    assert stub.startswith("def add(a, b=0):\n") and "Write a function to add two numbers." in stub
    assert "return" not in stub and "return a + b" in snippet


def test_words_are_the_docstring_without_its_examples():
    assert made()["text"].iloc[-1] == "Give x two times."


def test_the_same_seed_makes_the_same():
    assert made().equals(made())
