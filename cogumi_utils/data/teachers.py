"""Who answers training questions: one Protocol for every teacher, and the check that each answer passes before use."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from cogumi_utils.errors import CogumiError
from cogumi_utils.schema import Example

if TYPE_CHECKING:
    import pandas as pd

Grade = Callable[[list[Example], list[str]], list[bool]]  # for each Example: is the text with it a right answer?


@dataclass(frozen=True, slots=True)
class TeacherRequest:
    """One question to a teacher.

    messages: the chat up to the user's last turn. max_tokens: of the answer, at most. temperature: None leaves it to
    the endpoint. sample: tells apart several answers to one question. example: the question as an Example, for the
    check and for the oracle; it is never sent anywhere.
    """

    messages: list[dict[str, str]]
    max_tokens: int = 512
    temperature: float | None = 0.0
    sample: int = 0
    example: Example | None = None

    @classmethod
    def of(cls, example: Example, **options: Any) -> TeacherRequest:
        """The question of `example`, without its answer."""
        return cls(messages=list(example.prompt), example=example, **options)


@dataclass(frozen=True, slots=True)
class TeacherAnswer:
    """What came back. error: empty if there is a text to use. cost_usd: 0 when it was read from the cache."""

    request: TeacherRequest
    teacher: str
    text: str = ""
    tokens_in: int = 0
    tokens_out: int = 0
    cost_usd: float = 0.0
    cached: bool = False
    error: str = ""
    finish_reason: str = ""


class Teacher(Protocol):
    """Anything that answers requests, in their order, one answer a request."""

    name: str

    def answer(self, requests: Sequence[TeacherRequest]) -> list[TeacherAnswer]: ...


@dataclass
class Verified:
    """The answers that passed, as Examples, and what became of all others, counted for each teacher."""

    examples: list[Example]
    outcomes: dict[str, Counter] = field(default_factory=dict)
    costs_usd: dict[str, float] = field(default_factory=dict)
    tokens: dict[str, int] = field(default_factory=dict)

    def table(self) -> pd.DataFrame:
        """A row a teacher: asked, kept, wrong, error, unverifiable (counts), tokens, cost_usd, cost_usd_per_kept."""
        import pandas as pd

        columns = ("kept", "wrong", "error", "unverifiable")
        rows = [
            {"teacher": teacher, "asked": sum(counts.values()), **{column: counts[column] for column in columns},
             "tokens": self.tokens[teacher], "cost_usd": self.costs_usd[teacher]}
            for teacher, counts in sorted(self.outcomes.items())
        ]  # fmt: skip
        table = pd.DataFrame(rows, columns=["teacher", "asked", *columns, "tokens", "cost_usd"])
        return table.assign(cost_usd_per_kept=(table.cost_usd / table.kept).where(table.kept > 0))


def graded(examples: list[Example], texts: list[str]) -> list[bool]:
    """Whether each Example's own verifier finds the text with it right; code runs in the sandbox, as one batch."""
    from cogumi_utils.judge.grade import verdicts

    return [verdict.passed for verdict in verdicts(examples, texts)]


def verified(answers: Sequence[TeacherAnswer], grade: Grade = graded) -> Verified:
    """Keep only the answers that `grade` finds right.

    Kept rows are the Example with the teacher's answer, the teacher's name, and the Example's parents (its own id where
    it has none). Questions that cannot be verified are not kept. Raises CogumiError for an answer whose request names
    no Example.
    """
    outcomes = [_before_grading(answer) for answer in answers]
    gradable = [i for i, outcome in enumerate(outcomes) if not outcome]
    right = grade([answers[i].request.example for i in gradable], [answers[i].text for i in gradable])
    for i, passed in zip(gradable, right, strict=True):
        outcomes[i] = "kept" if passed else "wrong"
    result = Verified([])
    for answer, outcome in zip(answers, outcomes, strict=True):
        result.outcomes.setdefault(answer.teacher, Counter())[outcome] += 1
        result.costs_usd[answer.teacher] = result.costs_usd.get(answer.teacher, 0.0) + answer.cost_usd
        spoken = answer.tokens_in + answer.tokens_out
        result.tokens[answer.teacher] = result.tokens.get(answer.teacher, 0) + spoken
        if outcome == "kept":
            asked = answer.request.example
            parents = asked.parents or (asked.id,)
            result.examples.append(asked.with_answer(answer.text, teacher=answer.teacher, parents=parents))
    return result


def _before_grading(answer: TeacherAnswer) -> str:
    """`error` or `unverifiable` where there is nothing to grade, else empty."""
    if answer.request.example is None:
        raise CogumiError(
            expected="requests made with TeacherRequest.of(example)",
            found="a request without its Example",
            why="an answer is checked by the Example's verifier",
            fix="make the request with TeacherRequest.of(example)",
        )
    if answer.error:
        return "error"
    return "unverifiable" if answer.request.example.verifier["kind"] == "none" else ""
