"""Sets whose rows are spread over several files, or whose split is told row by row, put together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import PurePosixPath

from cogumi_utils.data._readers import Row

Parts = dict[str, list[Row]]  # {file: its rows}, in the manifest's order
RULES: dict[str, Callable[[list[Row], Parts], list[Row]]] = {}
MBPP_SPLITS = ((10, "validation"), (510, "test"), (600, "validation"), (974, "train"))  # last task_id of each part


def assemble(name: str, parts: Parts, counted: list[str]) -> list[Row]:
    """The rows of the `counted` files, completed by the set's rule from all of its files."""
    rows = [row for file in counted for row in parts[file]]
    return RULES[name](rows, parts) if name in RULES else rows


def rule(name: str) -> Callable:
    def declare(function: Callable[[list[Row], Parts], list[Row]]) -> Callable:
        RULES[name] = function
        return function

    return declare


def mbpp_split(task_id: int) -> str:
    """The authors' parts by task_id: 1-10 few-shot prompts, 11-510 test, 511-600 validation, 601-974 train."""
    return next(split for last, split in MBPP_SPLITS if task_id <= last)


@rule("mbpp")
def _mbpp(rows: list[Row], parts: Parts) -> list[Row]:
    return [{**row, "_split": mbpp_split(int(row["task_id"]))} for row in rows]


@rule("clinc150")
def _clinc150(rows: list[Row], parts: Parts) -> list[Row]:
    """Six lists under train, val, test, oos_train, oos_val, oos_test → a row an utterance, with its `part`."""
    splits = {"train": "train", "val": "validation", "test": "test"}
    flat = [
        {**group, "text": text, "intent": intent, "part": group["key"], "_split": splits[group["key"].split("_")[-1]]}
        for group in rows
        for text, intent in group["value"]
    ]
    return [{key: row[key] for key in row if key not in ("key", "value")} | {"_row": i} for i, row in enumerate(flat)]


@rule("mmlu")
def _mmlu(rows: list[Row], parts: Parts) -> list[Row]:
    """The subject stands in the file's name alone."""
    return [{**row, "subject": PurePosixPath(row["_file"]).stem.rpartition("_")[0]} for row in rows]


@rule("nl2bash")
def _nl2bash(rows: list[Row], parts: Parts) -> list[Row]:
    """Parallel lines: the n-th command belongs to the n-th description."""
    commands = next(lines for file, lines in parts.items() if file.endswith(".cm"))
    return [{**row, "command": command["text"]} for row, command in zip(rows, commands, strict=True)]


@rule("bfcl_v4")
def _bfcl(rows: list[Row], parts: Parts) -> list[Row]:
    """Each question with its `ground_truth`, where there is one."""
    answers = {row["id"]: row["ground_truth"] for file in parts if "/possible_answer/" in file for row in parts[file]}
    return [{**row, "ground_truth": answers.get(row["id"])} for row in rows]


@rule("mt_bench")
def _mt_bench(rows: list[Row], parts: Parts) -> list[Row]:
    """Each question with GPT-4's `reference_answer` to its turns, where there is one."""
    answers = {
        (_folder(file, 2), row["question_id"]): row["choices"][0]["turns"]
        for file in parts
        if "/reference_answer/" in file
        for row in parts[file]
    }
    return [{**row, "reference_answer": answers.get((_folder(row["_file"], 1), row["question_id"]))} for row in rows]


@rule("nestful")
def _nestful(rows: list[Row], parts: Parts) -> list[Row]:
    """Each request with the `functions` of its part."""
    specs = {file.replace("-spec.", "-data."): _bare(parts[file]) for file in parts if file.endswith("-spec.json")}
    return [{**row, "functions": specs[row["_file"]]} for row in rows]


@rule("api_bank")
def _api_bank(rows: list[Row], parts: Parts) -> list[Row]:
    """Each turn with the `functions` of its dialogue: the descriptions of the APIs that it names or calls."""
    described = {row["类名"]: row["api_info"] for file in parts if file.endswith("all_apis.csv") for row in parts[file]}
    called = {file: {row["api_name"] for row in turns if "api_name" in row} for file, turns in parts.items()}
    functions = {file: _described(called[file] | _named_in(file), described) for file in called}
    return [{**row, "functions": functions[row["_file"]]} for row in rows]


def _named_in(file: str) -> set[str]:
    return set(PurePosixPath(file).stem.split("-level-")[0].split("-"))


def _described(names: set[str], described: dict[str, str]) -> dict[str, str]:
    return {name: described[name] for name in sorted(names) if name in described}


def _folder(file: str, above: int) -> str:
    return PurePosixPath(file).parts[-1 - above]


def _bare(rows: list[Row]) -> list[Row]:
    return [{key: value for key, value in row.items() if not key.startswith("_")} for row in rows]
