"""What a teacher is asked to write: new tasks like those that a student got wrong, with or without telling it so."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from cogumi_utils.errors import CogumiError
from cogumi_utils.judge.grade import prompt_text
from cogumi_utils.schema import Example

MOST_CHARACTERS = 600  # of a student's wrong answer or its reason: a student that babbles must not fill the prompt
MOST_PARENTS = 3  # ids of failed tasks that a new one names as those it was written after
_SYSTEM = (
    "You write training tasks for a small language model. Reply with nothing but a JSON list of objects, "
    '[{"question": "...", "answer": "..."}, ...].'
)
_WISH = (
    "Write {n} new tasks {like}, different from one another and from those above. Each question must hold all that is "
    "needed to answer it. Each answer must be right and have exactly the form of the {answers} above. "
    'Reply with a JSON list of {n} objects {{"question": ..., "answer": ...}}.'
)


@dataclass(frozen=True, slots=True)
class Mistake:
    """A task that a student failed. answer: the student's. reason: what is wrong with it, as the verifier says."""

    example: Example
    answer: str
    reason: str


@dataclass(frozen=True, slots=True)
class Commission:
    """An order for `n` new tasks of one failure pattern.

    pattern: its name. terms: words that mark it. aware: tell the teacher of the failure; if not, it sees the same tasks
    as plain samples, so that two commissions differ in nothing but the awareness. Raises CogumiError for n < 1 and
    where there is no mistake to show.
    """

    pattern: str
    terms: tuple[str, ...]
    mistakes: tuple[Mistake, ...]
    n: int
    aware: bool = True

    def __post_init__(self):
        _at_least_one(self.n, "n")
        if not self.mistakes:
            raise CogumiError(
                expected=f"at least one mistake of the pattern {self.pattern!r}",
                found="none",
                why="a teacher writes tasks like those that it is shown",
                fix="leave out patterns without failed tasks",
            )

    def messages(self, n: int, shown: int = 6, *, start: int = 0) -> list[dict[str, str]]:
        """The prompt for `n` of the tasks as chat messages (system, user): equal calls give equal text.

        shown: mistakes in the prompt, at most. start: the first of them, counted round, so that a second call over the
        same commission shows others.
        """
        _at_least_one(n, "n")
        tasks = [self._task(i, mistake) for i, mistake in enumerate(self.showing(shown, start), 1)]
        lead = self._lead() if self.aware else "Here are tasks with their answers."
        like = "of this kind, from which it would learn what it gets wrong" if self.aware else "like these"
        wish = _WISH.format(n=n, like=like, answers="right answers" if self.aware else "answers")
        user = "\n\n".join([lead, *tasks, wish])
        return [{"role": "system", "content": _SYSTEM}, {"role": "user", "content": user}]

    def showing(self, shown: int = 6, start: int = 0) -> list[Mistake]:
        """The mistakes that `messages` shows for the same arguments."""
        _at_least_one(shown, "shown")
        count = len(self.mistakes)
        return [self.mistakes[(start + i) % count] for i in range(min(shown, count))]

    def by_kind(self) -> list[Commission]:
        """One commission for each kind of task among the mistakes, in the order of their first appearance.

        A kind is domain, skill, verifier and system message: tasks that are asked and checked in one way. Each gets its
        share of `n` (largest remainders first); kinds whose share is 0 are left out.
        """
        kinds: defaultdict[tuple, list[Mistake]] = defaultdict(list)
        for mistake in self.mistakes:
            kinds[kind_of(mistake.example)].append(mistake)
        shares = apportioned(self.n, [len(mistakes) for mistakes in kinds.values()])
        pairs = zip(kinds.values(), shares, strict=True)
        return [replace(self, mistakes=tuple(mistakes), n=share) for mistakes, share in pairs if share]

    def _lead(self) -> str:
        words = f" (typical words: {', '.join(self.terms)})" if self.terms else ""
        return f'A small model fails at tasks of the kind "{self.pattern}"{words}. These are some that it got wrong.'

    def _task(self, number: int, mistake: Mistake) -> str:
        lines = [f"Task {number}: {prompt_text(mistake.example)}"]
        if mistake.example.answer:
            lines.append(f"{'Right answer' if self.aware else 'Answer'}: {mistake.example.answer}")
        if self.aware:
            lines.append(f"The model's wrong answer: {_clipped(mistake.answer)}")
            lines.append(f"What went wrong: {_clipped(mistake.reason)}")
        return "\n".join(lines)


def kind_of(example: Example) -> tuple[str, str, str, str]:
    """(domain, skill, kind of verifier, system message)."""
    system = "\n".join(message["content"] for message in example.prompt if message["role"] == "system")
    return example.domain, example.skill, example.verifier["kind"], system


def apportioned(n: int, weights: Sequence[int]) -> list[int]:
    """Whole numbers in the proportion of `weights` that add up to `n`: largest remainders, the earlier one at a tie."""
    total = sum(weights)
    whole = [n * weight // total for weight in weights]
    order = sorted(range(len(weights)), key=lambda i: (-(n * weights[i] % total), i))
    for i in order[: n - sum(whole)]:
        whole[i] += 1
    return whole


def evenly(total: int, parts: int) -> list[int]:
    """`total` as `parts` whole numbers that differ by one at most."""
    return [(i + 1) * total // parts - i * total // parts for i in range(parts)]


def plain(question: str) -> str:
    """A question as it is compared: without case and the amount of white space."""
    return " ".join(question.split()).casefold()


def not_again(commissions: Sequence[Commission], taken: Collection[str]) -> set[str]:
    """All questions, `plain`, that no author may write: those taken, and the failed tasks themselves."""
    failed = (mistake.example.prompt[-1]["content"] for order in commissions for mistake in order.mistakes)
    return {plain(question) for question in (*taken, *failed)}


def check_per_call(per_call: int) -> None:
    if not isinstance(per_call, int) or per_call < 1:
        raise CogumiError(
            expected="per_call, a whole number of 1 or more",
            found=f"per_call = {per_call!r}",
            why="it is the number of tasks that one prompt asks for",
            fix="set per_call to 10 or 20",
        )


def _clipped(text: str) -> str:
    text = text.strip() or "(empty)"
    return text if len(text) <= MOST_CHARACTERS else f"{text[: MOST_CHARACTERS - 1]}…"


def _at_least_one(value: int, name: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise CogumiError(
            expected=f"{name}, a whole number of 1 or more",
            found=f"{name} = {value!r}",
            why="a commission asks for tasks and shows some",
            fix=f"set {name} to 1 or more, or leave the commission out",
        )
