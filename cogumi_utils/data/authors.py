"""Teachers that write new tasks to commission: one Protocol, and the oracle that makes them by program.

Whatever an author writes goes through `teachers.verified`, which keeps the tasks whose answer their verifier finds
right and counts the rest. `endpoint_author` writes through any other teacher.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from functools import cache
from random import Random
from typing import Protocol

from cogumi_utils.data import skills
from cogumi_utils.data.commission import Commission
from cogumi_utils.data.oracle import CHARACTERS_PER_TOKEN, OracleTeacher, OracleTier
from cogumi_utils.data.skills.base import Skill
from cogumi_utils.data.spending import PICO
from cogumi_utils.data.teachers import Grade, TeacherAnswer, TeacherRequest, graded
from cogumi_utils.errors import CogumiError
from cogumi_utils.schema import Example

MOST_PARENTS = 3  # ids of failed tasks that a new one names as those it was written after


class Author(Protocol):
    """Anything that writes tasks to commission.

    `write` gives one TeacherAnswer a new task: `request.example` is the question with its verifier, `text` the author's
    answer. taken: questions that may not come again; nor does any that the same call wrote before. An author that runs
    out of new questions gives fewer.
    """

    name: str

    def write(self, commissions: Sequence[Commission], *, taken: Collection[str] = ()) -> list[TeacherAnswer]: ...


def plain(question: str) -> str:
    """A question as it is compared: without case and the amount of white space."""
    return " ".join(question.split()).casefold()


def not_again(commissions: Sequence[Commission], taken: Collection[str]) -> set[str]:
    """All questions, `plain`, that no author may write: those taken, and the failed tasks themselves."""
    failed = (mistake.example.prompt[-1]["content"] for order in commissions for mistake in order.mistakes)
    return {plain(question) for question in (*taken, *failed)}


def reasons(answers: Sequence[TeacherAnswer]) -> dict[str, int]:
    """Why tasks could not be used, by number: the errors of `answers`."""
    return dict(Counter(answer.error for answer in answers if answer.error).most_common())


@cache
def generators() -> dict[tuple[str, str], Skill]:
    """(domain, skill) → the program that makes such tasks, of the base's skills and of the specialists'."""
    found = {(skill.domain, skill.name): skill for skill in skills.all_skills()}
    try:
        from cogumi_utils.data.skills.specialist import SPECIALISTS
    except ModuleNotFoundError as error:
        if error.name != "cogumi_utils.data.skills.specialist":
            raise
        return found
    return found | {(s.domain, s.name): s for registry in SPECIALISTS.values() for s in registry.skills.values()}


class OracleAuthor:
    """Makes tasks of the failed ones' kinds by program, and answers them as well as its tier does.

    per_call: tasks written in answer to one prompt; each bears its share of the prompt's cost and that of its own JSON
    text. New questions come from the split `train` alone. Chance is drawn from the seed and the commission's mistakes,
    so that the same commission brings the same tasks, whatever is written beside it (but for questions that are taken),
    and tiers of one seed answer the same questions. It does not read its prompt: awareness changes only what it costs.
    """

    def __init__(self, tier: OracleTier, *, seed: int, per_call: int = 20, grade: Grade = graded):
        self.tier, self.seed, self.per_call, self.name = tier, seed, per_call, tier.name
        self._teacher = OracleTeacher(tier, seed=seed, grade=grade)
        check_per_call(per_call)

    def __repr__(self) -> str:
        return f"OracleAuthor({self.tier.name!r}, seed={self.seed}, per_call={self.per_call})"

    def write(self, commissions: Sequence[Commission], *, taken: Collection[str] = ()) -> list[TeacherAnswer]:
        """Raises CogumiError for a commission none of whose kinds is made by program; other kinds are left out."""
        used = not_again(commissions, taken)
        calls = [call for commission in commissions for call in self._calls(commission, used)]
        answers = iter(self._teacher.answer([TeacherRequest.of(e) for _, drafts in calls for e in drafts]))
        priced = (self._priced(order, [next(answers) for _ in drafts]) for order, drafts in calls)
        return [answer for call in priced for answer in call]

    def _calls(self, commission: Commission, used: set[str]) -> Iterator[tuple[Commission, list[Example]]]:
        """(commission of one kind for as many tasks as the call brings, those tasks)."""
        for order in _made_by_program(commission).by_kind():
            drafts = self._drafts(order, used)
            for start in range(0, len(drafts), self.per_call):
                batch = drafts[start : start + self.per_call]
                yield replace(order, n=len(batch)), batch

    def _drafts(self, order: Commission, used: set[str]) -> list[Example]:
        """Up to `order.n` new tasks, their questions added to `used`; fewer where the kind has no more."""
        example = order.mistakes[0].example
        skill = generators()[example.domain, example.skill]
        parents = tuple(dict.fromkeys(mistake.example.id for mistake in order.mistakes))
        stream, idle = skills.tasks(skill, Random(f"{self.seed}/{order.pattern}/{'/'.join(parents)}"), "train"), 0
        drafts: list[Example] = []
        while len(drafts) < order.n and idle < skills.PATIENCE:
            level, task = next(stream)
            idle += 1
            if plain(task.question) not in used:
                used.add(plain(task.question))
                made = skills.to_example(skill, level, task, "train")
                drafts.append(replace(made, teacher=self.name, parents=parents[:MOST_PARENTS]))
                idle = 0
        return drafts

    def _priced(self, order: Commission, answers: list[TeacherAnswer]) -> list[TeacherAnswer]:
        """The answers with the tokens and the cost of having been written in one call."""
        prompt = "\n".join(message["content"] for message in order.messages(order.n))
        shares = evenly(_tokens(prompt), len(answers))
        return [self._with_cost(answer, share) for answer, share in zip(answers, shares, strict=True)]

    def _with_cost(self, answer: TeacherAnswer, tokens_in: int) -> TeacherAnswer:
        written = {"question": answer.request.messages[-1]["content"], "answer": answer.text}
        tokens_out = _tokens(json.dumps(written, ensure_ascii=False))
        cost_usd = self.tier.price.cost_pico(tokens_in, tokens_out) / PICO
        return replace(answer, tokens_in=tokens_in, tokens_out=tokens_out, cost_usd=cost_usd)


def _made_by_program(commission: Commission) -> Commission:
    """The commission with the mistakes alone whose kind the oracle can make."""
    known = generators()
    mistakes = tuple(m for m in commission.mistakes if (m.example.domain, m.example.skill) in known)
    if mistakes:
        return replace(commission, mistakes=mistakes)
    kinds = sorted({f"{m.example.domain}/{m.example.skill}" for m in commission.mistakes})
    raise CogumiError(
        expected=f"tasks of the embedded skills in the pattern {commission.pattern!r}",
        found=f"only {', '.join(kinds[:5])}",
        why="the oracle makes its tasks by program and can imitate no others",
        fix="have an EndpointAuthor write tasks of such patterns",
    )


def evenly(total: int, parts: int) -> list[int]:
    """`total` as `parts` whole numbers that differ by one at most."""
    return [(i + 1) * total // parts - i * total // parts for i in range(parts)]


def check_per_call(per_call: int) -> None:
    if not isinstance(per_call, int) or per_call < 1:
        raise CogumiError(
            expected="per_call, a whole number of 1 or more",
            found=f"per_call = {per_call!r}",
            why="it is the number of tasks that one prompt asks for",
            fix="set per_call to 10 or 20",
        )


def _tokens(text: str) -> int:
    return -(-len(text) // CHARACTERS_PER_TOKEN)
