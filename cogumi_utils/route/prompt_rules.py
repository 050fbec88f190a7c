"""From a row of a public set to the prompts that a user would send, each with the route it belongs to.

The user's bare words: without the tests after MBPP's text, `Question:` and the labels of options (`Options:`, `(A)`,
`A)`, `- `), whose texts stay as plain lines because the question is not one without them. A dialogue gives its first
turn. Only prompts are read, and the answer where a made form of a prompt needs it (see `forms`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

Row = dict[str, Any]
BASE, CODE, REASONING, AUTOMATION = ROUTES = ("base", "code", "reasoning", "automation")


@dataclass(frozen=True, slots=True)
class Prompt:
    """detail: task, subject or category in its set. answer: code or a command, where a made form can use it."""

    text: str
    route: str
    detail: str
    answer: str = ""


MT_BENCH = {"coding": CODE, "math": REASONING, "reasoning": REASONING, "fermi": REASONING}
CODE_APPS = {"Leetcode", "StackOverflow", "GeeksforGeeks", "Github", "w3schools"}
REASONING_APPS = {"Wolfram alpha", "(Wolfram alpha)?", "Sudoku"}
# CLINC150's intents that an assistant answers in words; the rest act on an account, a device or a calendar.
WORDS_ALONE = {
    "are_you_a_bot", "calories", "carry_on", "cook_time", "definition", "do_you_have_pets", "food_last", "fun_fact",
    "gas_type", "goodbye", "greeting", "how_old_are_you", "improve_credit_score", "ingredient_substitution",
    "ingredients_list", "insurance", "international_visa", "jump_start", "maybe", "meal_suggestion", "meaning_of_life",
    "no", "nutrition_info", "oil_change_how", "plug_type", "recipe", "rollover_401k", "spelling", "taxes", "tell_joke",
    "thank_you", "tire_change", "translate", "travel_suggestion", "vaccines", "what_are_your_hobbies",
    "what_can_i_ask_you", "what_is_your_name", "where_are_you_from", "who_do_you_work_for", "who_made_you", "yes",
}  # fmt: skip
UNCLEAR = {"calculator", "distance", "income", "measurement_conversion", "oos", "repeat", "user_name"}

_LABEL = re.compile(r"^\s*(?:[-*]\s+)?(?:\(?[A-Z][).]\s*)?")
_LEAD = re.compile(r"^\s*(?:Question|Q|Input|Problem)\s*:\s*", re.IGNORECASE)
_OPTIONS = re.compile(r"^\s*(?:Options|Choices)\s*:?\s*$", re.IGNORECASE)
RULES: dict[str, Callable[[list[Row]], Iterable[Prompt]]] = {}


def _each(*names: str) -> Callable:
    """Declare how one row of the sets `names` becomes prompts."""

    def declare(rule: Callable[[Row], Iterable[Prompt]]) -> Callable:
        RULES.update(dict.fromkeys(names, lambda rows: (prompt for row in rows for prompt in rule(row))))
        return rule

    return declare


def bare(question: str, options: Iterable[str] = ()) -> str:
    """A question and its options, one a line, without what a set writes around them."""
    parts = [_LEAD.sub("", question.strip()), *options]
    lines = [line for part in parts for line in part.split("\n") if not _OPTIONS.match(line)]
    first, rest = lines[:1], lines[1:]
    return "\n".join([*first, *(_LABEL.sub("", line) for line in rest)]).strip()


@_each("humaneval")
def _humaneval(row: Row) -> Iterator[Prompt]:
    yield Prompt(row["prompt"], CODE, "stub", row["prompt"] + row["canonical_solution"])


@_each("mbpp")
def _mbpp(row: Row) -> Iterator[Prompt]:
    yield Prompt(row.get("text") or row["prompt"], CODE, row["_part"], row["code"].replace("\r\n", "\n"))


@_each("gsm8k")
def _gsm8k(row: Row) -> Iterator[Prompt]:
    yield Prompt(row["question"], REASONING, "word problem")


@_each("bbh")
def _bbh(row: Row) -> Iterator[Prompt]:
    yield Prompt(bare(row["input"]), REASONING, row["_part"])


@_each("mmlu")
def _mmlu(row: Row) -> Iterator[Prompt]:
    yield Prompt(bare(row["question"], (row[f"choice{number}"] for number in range(4))), REASONING, row["subject"])


@_each("aqua_rat")
def _aqua(row: Row) -> Iterator[Prompt]:
    yield Prompt(bare(row["question"], row["options"]), REASONING, "algebra")


@_each("arc", "qasc_dev")
def _stem(row: Row) -> Iterator[Prompt]:
    question = row["question"]
    yield Prompt(bare(question["stem"], (option["text"] for option in question["choices"])), REASONING, "science")


@_each("math500")
def _math(row: Row) -> Iterator[Prompt]:
    yield Prompt(row["problem"], REASONING, row["subject"])


@_each("theoremqa")
def _theorem(row: Row) -> Iterator[Prompt]:
    yield Prompt(row["Question"], REASONING, row["subfield"])


@_each("convfinqa_dev")
def _finance(row: Row) -> Iterator[Prompt]:
    """The report comes with the question; its first line stands for it, as the question alone names no numbers."""
    yield Prompt(f"{row['table']}\n{row['questions'][-1]}", REASONING, "report")


@_each("flan_cot")
def _flan(row: Row) -> Iterator[Prompt]:
    task = row["_file"].rpartition("/")[2].split("_")[0]
    yield Prompt(bare(row["col0"].replace("\\n", "\n")), REASONING, task)


@_each("bfcl_v4")
def _bfcl(row: Row) -> Iterator[Prompt]:
    """What a function answers: `irrelevance` asks for what no function does, `memory` about an earlier talk."""
    if "irrelevance" in row["_part"] or row["_part"].startswith(("memory", "web_search")):
        return
    turns = [message["content"] for message in row["question"][0] if message["role"] == "user"]
    if turns:
        yield Prompt(turns[0], AUTOMATION, row["_part"])


def _api_bank(rows: list[Row]) -> Iterator[Prompt]:
    """What each dialogue opens with; later turns ("Yes, please.") are no query without those before them."""
    opened = set()
    for row in rows:
        if row.get("role") == "User" and row["_file"] not in opened:
            opened.add(row["_file"])
            yield Prompt(row["text"], AUTOMATION, row["_part"])


RULES["api_bank"] = _api_bank


@_each("toolalpaca")
def _toolalpaca(row: Row) -> Iterator[Prompt]:
    for instruction in row["Instructions"]:
        yield Prompt(instruction, AUTOMATION, row["Name"])


@_each("nestful")
def _nestful(row: Row) -> Iterator[Prompt]:
    yield Prompt(row["input"], AUTOMATION, row["_part"])


@_each("nl2bash")
def _bash(row: Row) -> Iterator[Prompt]:
    yield Prompt(row["text"], AUTOMATION, "shell")


@_each("clinc150")
def _clinc(row: Row) -> Iterator[Prompt]:
    if row["intent"] not in UNCLEAR:
        yield Prompt(row["text"], BASE if row["intent"] in WORDS_ALONE else AUTOMATION, row["intent"])


@_each("dolly_3k", "gpteacher", "llms_from_scratch_instruct")
def _instruction(row: Row) -> Iterator[Prompt]:
    text = "\n".join(filter(None, (row["instruction"].strip(), row["input"].strip())))
    yield Prompt(text, BASE, row.get("category", "instruction"))


@_each("self_instruct")
def _self_instruct(row: Row) -> Iterator[Prompt]:
    app = row.get("motivation_app") or ""
    route = CODE if app in CODE_APPS else REASONING if app in REASONING_APPS else BASE
    text = "\n".join(filter(None, (row["instruction"].strip(), row["instances"][0]["input"].strip())))
    yield Prompt(text, route, app or "seed")


@_each("mt_bench")
def _mt_bench(row: Row) -> Iterator[Prompt]:
    yield Prompt(row["turns"][0], MT_BENCH.get(row["category"], BASE), row["category"])


@_each("ifeval", "longbench_write")
def _writing(row: Row) -> Iterator[Prompt]:
    yield Prompt(row["prompt"], BASE, row.get("type", "instruction"))


@_each("eqbench_creative_writing")
def _eqbench(row: Row) -> Iterator[Prompt]:
    item = row["value"]
    yield Prompt(item["writing_prompt"].replace("<SEED>", item["seed_modifiers"][0]), BASE, "creative_writing")
