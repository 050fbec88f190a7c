"""Sets whose answer is a number or a word at the end of a chain: GSM8K, MATH-500, TheoremQA, BBH, ConvFinQA, CoT."""

from __future__ import annotations

import re

from cogumi_utils.data._readers import Row
from cogumi_utils.data.convert import NONE, choice, each, example, final, is_plain_number, number, worked
from cogumi_utils.data.sources import Source
from cogumi_utils.schema import Example

END_WITH = "End with a line `Answer: ` and the answer alone."
ROUNDED = "Round the result to 5 decimals. "  # as the set does; the verifier compares exactly
THEOREM_DOMAINS = {"Physics": "science", "Finance": "finance", "EECS": "science"}
COT_DOMAINS = {"aqua": "math", "qasc": "science"}


@each("gsm8k")
def gsm8k(source: Source, row: Row) -> Example:
    """`<<48/2=24>>` is a calculator's note, not text; the result stands after `####`."""
    chain, _, result = row["answer"].rpartition("####")
    result = result.strip().replace(",", "")
    chain = re.sub(r"<<[^<>]*>>", "", chain)
    return example(source, row, row["question"], worked(chain, result), skill="gsm8k", verifier=number(result))


@each("math500")
def math500(source: Source, row: Row) -> Example:
    result = row["answer"].strip()
    verifier = number(result.replace(",", "")) if is_plain_number(result) else final(result)
    return example(
        source, row, f"{row['problem']}\n{END_WITH}", worked(row["solution"], result),
        skill=row["subject"], difficulty=int(row["level"]), verifier=verifier,
    )  # fmt: skip


@each("theoremqa")
def theoremqa(source: Source, row: Row) -> Example | None:
    """Items with a picture are left out: the pictures are not part of the set. Only the result is given, no chain."""
    if row["Picture"] is not None:
        return None
    result, kind = str(row["Answer"]), row["Answer_type"]
    rounded = f"Round the result to {_decimals(result)} decimals. " if kind == "float" and _decimals(result) else ""
    verifier = {"integer": number, "float": number, "option": lambda text: choice(text.strip("()").upper())}
    return example(
        source, row, f"{row['Question']}\n{rounded}{END_WITH}", f"Answer: {result}", skill=row["subfield"],
        domain=THEOREM_DOMAINS.get(row["field"], ""), verifier=verifier.get(kind, final)(result),
    )  # fmt: skip


def _decimals(number: str) -> int:
    return len(number.partition(".")[2]) if "e" not in number else 0


@each("bbh")
def bbh(source: Source, row: Row) -> Example:
    """A letter in brackets is a choice; a number a number; anything else must be word for word."""
    result = row["target"].strip()
    letter = re.fullmatch(r"\(([A-Z])\)", result)
    verifier = choice(letter[1]) if letter else number(result) if is_plain_number(result) else final(result)
    question = f"{row['input']}\n{END_WITH}"
    return example(source, row, question, f"Answer: {result}", skill=row["_part"], verifier=verifier)


@each("convfinqa_dev")
def convfinqa(source: Source, row: Row) -> Example:
    """The whole report, the questions that led there, and the last one, whose answer the set gives."""
    *earlier, last = row["questions"]
    led = "\n".join(f"- {question}" for question in earlier)
    before = f"Questions that were answered before:\n{led}\n\n" if led else ""
    question = f"{row['text']}\n\n{row['table']}\n{before}Question: {last}\n{ROUNDED}{END_WITH}"
    result = str(row["answer"])
    verifier = number(result) if is_plain_number(result) else final(result)
    return example(source, row, question, f"Answer: {result}", skill="convfinqa", difficulty=3, verifier=verifier)


@each("flan_cot")
def flan_cot(source: Source, row: Row) -> Example:
    """Columns: question, answer, rationale, with newlines written as two characters."""
    question, result, chain = (row[f"col{i}"].replace("\\n", "\n").strip() for i in range(3))
    task = row["_file"].rpartition("/")[2].split("_")[0]
    letter = re.fullmatch(r"\(([A-H])\)", result)
    verifier = choice(letter[1]) if letter else final(result) if result else NONE
    answer = worked(chain, letter[1] if letter else result)
    domain = COT_DOMAINS.get(task, "")
    return example(source, row, question, answer, skill=f"cot_{task}", domain=domain, verifier=verifier)
