"""The oracle: a teacher of set skill, which knows the reference answer and errs as often as its tier says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

from cogumi_utils.data._mistakes import wrong_answers
from cogumi_utils.data.spending import PICO, Price
from cogumi_utils.data.teachers import Grade, TeacherAnswer, TeacherRequest, graded
from cogumi_utils.errors import CogumiError
from cogumi_utils.schema import Example

CHARACTERS_PER_TOKEN = 4  # to give oracle answers a size, so that tiers have a cost to compare


@dataclass(frozen=True)
class OracleTier:
    """A teacher's level.

    error_rate: share of wrong answers, one number or {difficulty: share}, where a difficulty that is not listed takes
    the next lower one's. skills: rates of single skills or whole domains, which come first. price: to compare tiers by.
    """

    name: str
    error_rate: float | Mapping[int, float] = 0.0
    skills: Mapping[str, float] = field(default_factory=dict)
    price: Price = field(default_factory=lambda: Price(0.0, 0.0))

    def __post_init__(self):
        rates = list(self.error_rate.values()) if isinstance(self.error_rate, Mapping) else [self.error_rate]
        if not rates or any(not 0 <= rate <= 1 for rate in [*rates, *self.skills.values()]):
            raise CogumiError(
                expected=f"error rates of tier {self.name} from 0 to 1",
                found=f"{self.error_rate!r}, {dict(self.skills)!r}",
                why="they are shares of wrong answers",
                fix="write for example error_rate={1: 0.05, 2: 0.15, 3: 0.4}",
            )

    def rate(self, example: Example) -> float:
        """The share of wrong answers to questions such as this one."""
        for name in (example.skill, example.domain):
            if name in self.skills:
                return self.skills[name]
        if not isinstance(self.error_rate, Mapping):
            return self.error_rate
        reached = [level for level in self.error_rate if level <= example.difficulty]
        return self.error_rate[max(reached, default=min(self.error_rate))]


class OracleTeacher:
    """Answers with the Example's reference answer or, at the tier's error rate, with one that the verifier finds wrong.

    The same request always gets the same answer, whatever is asked beside it: chance is drawn from seed, tier, the
    Example's id and the request's sample number. Questions without a verifier are always answered with the reference.
    """

    def __init__(self, tier: OracleTier, *, seed: int, grade: Grade = graded):
        self.tier, self.seed, self._grade = tier, seed, grade
        self.name = tier.name

    def __repr__(self) -> str:
        return f"OracleTeacher({self.tier.name!r}, seed={self.seed})"

    def answer(self, requests: Sequence[TeacherRequest]) -> list[TeacherAnswer]:
        chances = [self._chance(request) for request in requests]
        erring = [i for i, request in enumerate(requests) if self._errs(request, chances[i])]
        wrong = dict(zip(erring, self._wrong([(requests[i].example, chances[i]) for i in erring]), strict=True))
        return [self._answer(request, wrong.get(i)) for i, request in enumerate(requests)]

    def _chance(self, request: TeacherRequest) -> Random:
        example_id = request.example.id if request.example else ""
        return Random(f"{self.seed}/{self.tier.name}/{example_id}/{request.sample}")

    def _errs(self, request: TeacherRequest, chance: Random) -> bool:
        example = request.example
        if example is None or not example.answer or example.verifier["kind"] == "none":
            return False
        return chance.random() < self.tier.rate(example)

    def _wrong(self, questions: list[tuple[Example, Random]]) -> list[str]:
        """For each question the first slip that is really wrong: `x + x` for `2 * x` would be no mistake."""
        slips = [wrong_answers(example, chance) for example, chance in questions]
        texts = [next(slip) for slip in slips]
        doubtful = list(range(len(questions)))
        while doubtful:
            right = self._grade([questions[i][0] for i in doubtful], [texts[i] for i in doubtful])
            doubtful = [i for i, passed in zip(doubtful, right, strict=True) if passed]
            for i in doubtful:
                texts[i] = next(slips[i], "")
            doubtful = [i for i in doubtful if texts[i]]
        return texts

    def _answer(self, request: TeacherRequest, wrong: str | None) -> TeacherAnswer:
        if request.example is None or not request.example.answer:
            return TeacherAnswer(request, self.name, error="the oracle knows no answer to this question")
        if wrong == "":
            return TeacherAnswer(request, self.name, error="no wrong answer to this question was found")
        text = request.example.answer if wrong is None else wrong
        tokens_in = _tokens("\n".join(message["content"] for message in request.messages))
        tokens_out = _tokens(text)
        cost_usd = self.tier.price.cost_pico(tokens_in, tokens_out) / PICO
        return TeacherAnswer(request, self.name, text, tokens_in, tokens_out, cost_usd, finish_reason="stop")


def _tokens(text: str) -> int:
    return -(-len(text) // CHARACTERS_PER_TOKEN)
