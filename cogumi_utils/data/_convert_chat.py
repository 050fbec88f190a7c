"""Instructions with an answer in free text, and writing prompts: nothing here can be verified by program."""

from __future__ import annotations

from collections.abc import Iterable

from cogumi_utils.data._readers import Row
from cogumi_utils.data.convert import each, example, joined, rule
from cogumi_utils.data.sources import Source
from cogumi_utils.schema import Example

MT_BENCH_DOMAINS = {
    "writing": "creative", "roleplay": "creative", "reasoning": "reasoning", "math": "math", "coding": "code",
    "stem": "science", "fermi": "reasoning", "counterfactual": "reasoning", "common-sense": "reasoning",
}  # fmt: skip


@each("dolly_3k")
def dolly(source: Source, row: Row) -> Example:
    domain = "creative" if row["category"] == "creative_writing" else ""
    question = joined(row["instruction"], row["input"])
    return example(source, row, question, row["output"], skill=row["category"], domain=domain)


@each("gpteacher")
def gpteacher(source: Source, row: Row) -> Example:
    return example(source, row, joined(row["instruction"], row["input"]), row["response"], skill="roleplay")


@each("llms_from_scratch_instruct")
def llms_from_scratch(source: Source, row: Row) -> Example | None:
    """The second file holds the same instructions with preferences; its rows would be the first's duplicates."""
    if "chosen" in row:
        return None
    return example(source, row, joined(row["instruction"], row["input"]), row["output"], skill="short_instruction")


@rule("self_instruct")
def self_instruct(source: Source, rows: list[Row]) -> Iterable[Example]:
    """Seed tasks and user-oriented tasks, one Example an instance."""
    for row in rows:
        kind = "user_oriented" if "motivation_app" in row else "seed_task"
        for instance in row["instances"]:
            yield example(source, row, joined(row["instruction"], instance["input"]), instance["output"], skill=kind)


@each("mt_bench")
def mt_bench(source: Source, row: Row) -> Example:
    """The first turn; the second asks about the answer to it. Reference: GPT-4's answer, where one is given."""
    answer = row["reference_answer"][0] if row.get("reference_answer") else None
    domain = MT_BENCH_DOMAINS.get(row["category"], "")
    return example(source, row, row["turns"][0], answer, skill=row["category"], domain=domain)


@each("llmbar")
def llmbar(source: Source, row: Row) -> Example:
    """The instruction with the answer that follows it; the other answer stays in the raw row."""
    return example(source, row, row["input"], row[f"output_{row['label']}"], skill=row["_part"].lower())


@each("ifeval")
def ifeval(source: Source, row: Row) -> Example:
    """Its checkers are code that is not part of the set, so nothing is verified."""
    return example(source, row, row["prompt"], None, skill="ifeval", difficulty=len(row["instruction_id_list"]))


@each("longbench_write")
def longbench_write(source: Source, row: Row) -> Example:
    return example(source, row, row["prompt"], None, skill=row["type"].lower().replace(" ", "_"))


@each("eqbench_creative_writing")
def eqbench(source: Source, row: Row) -> Example:
    """`<SEED>` stands for one of the modifiers, of which the first is taken; the set's reference is the answer."""
    item = row["value"]
    question = item["writing_prompt"].replace("<SEED>", item["seed_modifiers"][0])
    return example(source, row, question, item.get("reference_output"), skill="creative_writing")
