"""Who writes new tasks to commission: one Protocol, the oracle that makes them by program, and any other teacher.

Whatever an author writes goes through `teachers.verified`, which keeps the tasks whose answer their verifier finds
right and counts the rest.
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
from cogumi_utils.data._drafts import Written, read, second_request, with_second
from cogumi_utils.data.commission import MOST_PARENTS, Commission, check_per_call, evenly, not_again, plain
from cogumi_utils.data.oracle import CHARACTERS_PER_TOKEN, OracleTeacher, OracleTier
from cogumi_utils.data.skills.base import Skill
from cogumi_utils.data.spending import PICO
from cogumi_utils.data.teachers import Grade, Teacher, TeacherAnswer, TeacherRequest, graded
from cogumi_utils.errors import CogumiError
from cogumi_utils.schema import Example

SHOWN = 6  # failed tasks in one prompt
CALLS = 1_000_000  # more than one commission takes: seeds never share a draw
ROUNDS = 2  # of prompts: in the second, only what the first did not bring is asked for


class Author(Protocol):
    """Anything that writes tasks to commission.

    `write` gives one TeacherAnswer a new task: `request.example` is the question with its verifier, `text` the author's
    answer. taken: questions that may not come again; nor does any that the same call wrote before. An author that runs
    out of new questions gives fewer.
    """

    name: str

    def write(self, commissions: Sequence[Commission], *, taken: Collection[str] = ()) -> list[TeacherAnswer]: ...


def reasons(answers: Sequence[TeacherAnswer]) -> dict[str, int]:
    """Why tasks could not be used, by number: the errors of `answers`."""
    return dict(Counter(answer.error for answer in answers if answer.error).most_common())


@cache
def generators() -> dict[tuple[str, str], Skill]:
    """(domain, skill) → the program that makes such tasks, of the base's skills and of the specialists'."""
    from cogumi_utils.data.skills.specialist import SPECIALISTS

    special = [skill for registry in SPECIALISTS.values() for skill in registry.skills.values()]
    return {(skill.domain, skill.name): skill for skill in (*skills.all_skills(), *special)}


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


class EndpointAuthor:
    """Writes tasks through any teacher, and has it answer each of them a second time, alone.

    The second answer makes the verifier, of the shown tasks' kind, so that `verified` keeps a task only if the two
    agree; where no verifier of that kind can be made so (constraints, an answer without a number), it is `none`. A task
    that is empty, repeated, taken, beyond the number asked for, or of a held-out split comes back with that as `error`.
    Every answer bears its share of the call that it was written in, and the price of its second answer: the sum is what
    was paid. per_call: tasks asked for in one prompt. max_tokens: of its reply. answer_tokens: of a second answer.
    temperature: None leaves it to the endpoint. seed: another one makes other draws of the same prompts.
    """

    def __init__(
        self, teacher: Teacher, *, per_call: int = 10, max_tokens: int = 2000, answer_tokens: int = 800,
        temperature: float | None = None, seed: int = 0,
    ):  # fmt: skip
        check_per_call(per_call)
        self.teacher, self.per_call, self.name, self._seed = teacher, per_call, teacher.name, seed
        self._first = {"max_tokens": max_tokens, "temperature": temperature}
        self._second = {"max_tokens": answer_tokens, "temperature": temperature}

    def __repr__(self) -> str:
        return f"EndpointAuthor({self.teacher!r}, per_call={self.per_call})"

    def write(self, commissions: Sequence[Commission], *, taken: Collection[str] = ()) -> list[TeacherAnswer]:
        """Raises what the teacher raises (SpendingLimitReached, EndpointRefused), its `answers` holding the tasks whose
        second answer is there. The same call again, for example under a higher limit, goes on where it ended: a teacher
        with a cache pays for no answer twice.
        """
        orders = [order for commission in commissions for order in commission.by_kind()]
        try:
            written = self._written(orders, not_again(commissions, taken))
        except CogumiError as ended:
            ended.answers = []
            raise
        return self._checked(written)

    def _written(self, orders: list[Commission], used: set[str]) -> list[Written]:
        """All that was written, usable or with an error; a second round makes up for what was not usable."""
        written: list[list[Written]] = [[] for _ in orders]
        calls, new = [0] * len(orders), set()
        for _ in range(ROUNDS):
            asked: list[tuple[int, Commission, int]] = []
            for i, order in enumerate(orders):
                missing = order.n - sum(not task.answer.error for task in written[i])
                sizes = evenly(missing, -(-missing // self.per_call))
                asked += [(i, replace(order, n=n), calls[i] + call) for call, n in enumerate(sizes)]
                calls[i] += len(sizes)
            replies = self.teacher.answer([self._request(order, call) for _, order, call in asked])
            for (i, order, call), reply in zip(asked, replies, strict=True):
                written[i] += read(reply, order, order.showing(SHOWN, call * SHOWN), used, new)
        return [task for tasks in written for task in tasks]

    def _request(self, order: Commission, call: int) -> TeacherRequest:
        """Each call shows other mistakes and is a draw of its own, also where there are few to show."""
        return TeacherRequest(
            order.messages(order.n, SHOWN, start=call * SHOWN), sample=self._seed * CALLS + call, **self._first
        )

    def _checked(self, written: list[Written]) -> list[TeacherAnswer]:
        """The answers in their order, each with its verifier; the second answers are asked for in one batch."""
        asked = [i for i, task in enumerate(written) if task.can_be_checked]
        seconds, ended = self._seconds([second_request(written[i], **self._second) for i in asked])
        answers = {i: task.answer for i, task in enumerate(written)}
        for i, second in zip(asked, seconds, strict=False):
            answers[i] = with_second(written[i], second)
        if ended is not None:
            there = {i for i, second in zip(asked, seconds, strict=False) if not second.error}
            ended.answers = [answer for i, answer in answers.items() if i in there or i not in asked]
            raise ended
        return list(answers.values())

    def _seconds(self, requests: list[TeacherRequest]) -> tuple[list[TeacherAnswer], CogumiError | None]:
        """What was answered, and the error that ended the batch, if one did."""
        try:
            return self.teacher.answer(requests), None
        except CogumiError as ended:
            return getattr(ended, "answers", []), ended


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


def _tokens(text: str) -> int:
    return -(-len(text) // CHARACTERS_PER_TOKEN)
