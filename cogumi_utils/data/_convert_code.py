"""HumanEval and MBPP: Python functions, judged by running their tests."""

from __future__ import annotations

import warnings

from cogumi_utils.data._readers import Row
from cogumi_utils.data.convert import each, example, fenced
from cogumi_utils.data.sources import Source
from cogumi_utils.judge.benchmarks import mbpp_program
from cogumi_utils.schema import Example

PASS_TESTS = "Your code should pass these tests:"


@each("humaneval")
def humaneval(source: Source, row: Row) -> Example:
    """setup: what stands above the function in the prompt (imports, helpers), which a chat answer may leave out."""
    prompt, name = row["prompt"], row["entry_point"]
    setup = prompt[: prompt.rindex(f"def {name}(")].strip()
    payload = {"entry_point": name, "tests": f"{row['test'].strip()}\n\ncheck({name})", "setup": setup}
    return example(
        source, row, f"Complete this Python function.\n\n{fenced(prompt)}", fenced(prompt + row["canonical_solution"]),
        skill="humaneval", verifier={"kind": "python_tests", "payload": payload},
    )  # fmt: skip


@each("mbpp")
def mbpp(source: Source, row: Row) -> Example:
    """Both the 974 items and the 427 that the authors reworded; the latter under the skill `mbpp_sanitized`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the set's code has text such as '\\w', which Python now warns of
        program = mbpp_program(row)
    payload = {"entry_point": program.entry_point, "tests": program.tests.strip(), "setup": ""}
    text, skill = (row["text"], "mbpp") if row.get("text") else (row["prompt"], "mbpp_sanitized")
    shown = "\n".join(row["test_list"]).replace("\r\n", "\n")
    question = f"{text.strip()} {PASS_TESTS}\n\n{fenced(shown)}"
    verifier = {"kind": "python_tests", "payload": payload}
    return example(source, row, question, fenced(row["code"].replace("\r\n", "\n")), skill=skill, verifier=verifier)
