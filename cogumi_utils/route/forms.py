"""Other forms in which the same is asked, made by program from training prompts: stubs and snippets of code.

A router that saw code asked for in words alone takes a function's stub for anything; nobody has to write stubs by
hand where a set gives the function.
"""

from __future__ import annotations

import ast
import textwrap
import warnings
from collections.abc import Iterator
from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

MADE = "made: "  # how the detail of a made form begins
REQUESTS = (
    "Explain this code.", "What does this function return?", "There is a bug here, fix it.", "Make this faster.",
    "Write unit tests for this.", "Finish this.", "Refactor this.", "Add type hints and a docstring.", "",
)  # fmt: skip


def made(frame: pd.DataFrame, seed: int) -> pd.DataFrame:
    """More rows for training: for each prompt whose answer is Python, its stub, its words and a request about its code.

    Source, group and route are those of the prompt, so that a made form is held out with what it was made of.
    """
    import pandas as pd

    rng = Random(seed)
    rows = [
        {**row, "text": text, "detail": f"{MADE}{kind}", "answer": ""}
        for row in frame.to_dict("records")
        if row["answer"]
        for kind, text in _forms(row["text"], row["answer"], rng)
    ]
    return pd.DataFrame(rows, columns=frame.columns)


def _forms(text: str, code: str, rng: Random) -> Iterator[tuple[str, str]]:
    function = _last_function(code)
    if function is None:
        return
    words = ast.get_docstring(function) or text
    yield "stub", stub(function, words)
    yield "snippet", "\n".join(filter(None, (rng.choice(REQUESTS), ast.unparse(_undocumented(function)))))
    if words != text:  # the prompt is a stub itself
        yield "words", words.partition(">>>")[0].strip()


def _last_function(code: str) -> ast.FunctionDef | None:
    """The function that the rest serves; None where the code does not parse or has none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # sets have code with text such as '\\w'
        try:
            functions = [node for node in ast.parse(code).body if isinstance(node, ast.FunctionDef)]
        except (SyntaxError, ValueError):
            return None
    return functions[-1] if functions else None


def stub(function: ast.FunctionDef, words: str) -> str:
    """Signature and docstring, as an editor would send it for completion."""
    signature = f"def {function.name}({ast.unparse(function.args)}):"
    return "\n".join([signature, textwrap.indent(f'"""\n{textwrap.fill(words, 80)}\n"""', "    ")])


def _undocumented(function: ast.FunctionDef) -> ast.FunctionDef:
    if ast.get_docstring(function) is not None:
        function.body = function.body[1:] or [ast.Pass()]
    return function
