"""Plain text for pretraining: the facts and forms of the trained skills, as a book would print them.

No chat template occurs here, no held-back skill and no question of the validation or test split: what is read is
what a base model would have read, and answering is left for QLoRA to teach.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from random import Random

from cogumi_utils.data import skills
from cogumi_utils.data.skills.base import Skill, Task
from cogumi_utils.schema import Example

LAYOUTS = {
    "code": ("# {question}\n{answer}\n", '"""{question}"""\n{answer}\n'),
    "reasoning": ("Problem: {question}\nSolution: {answer}\n", "{question} {answer}\n"),
    "automation": ("Wish: {question}\nCall: {answer}\n", "{question}\n=> {answer}\n"),
    "chat": ("{question}\n- {answer}\n", "One says: {question}\nOne replies: {answer}\n"),
}


def sample(seed: int, n: int) -> list[str]:
    """`n` documents without repeats: what a tokenizer is trained on."""
    return list(islice(documents(seed, repeat_share=0.0, fact_share=0.02, alphabet=[]), n))


def documents(seed: int, *, repeat_share: float, fact_share: float, alphabet: list[str]) -> Iterator[str]:
    """Endless short documents: tasks printed as text, bare facts, and repeated random sequences.

    repeat_share: share of documents that repeat a random sequence of `alphabet` entries. Copying from the context
    waits for induction heads to form; repeats bring them about much sooner (Olsson et al. 2022,
    "In-context Learning and Induction Heads"). fact_share: share of lines such as `3+4=7`.
    """
    rng = Random(f"corpus/{seed}")
    streams = [(skill, skills.tasks(skill, rng, "train")) for skill in skills.trained_skills()]
    while True:
        kind = rng.random()
        if kind < repeat_share:
            yield repeat(rng, alphabet)
        elif kind < repeat_share + fact_share:
            yield fact(rng)
        else:
            skill, stream = rng.choice(streams)
            yield printed(rng, skill, next(stream)[1])


def opening(example: Example) -> str:
    """The first layout of the domain up to where the answer begins: what a base model is asked to go on from."""
    before, _, _ = LAYOUTS[example.domain][0].partition("{answer}")
    return before.format(question=example.prompt[-1]["content"]).rstrip(" ")


def printed(rng: Random, skill: Skill, task: Task) -> str:
    return rng.choice(LAYOUTS[skill.domain]).format(question=task.question, answer=task.answer)


def repeat(rng: Random, alphabet: list[str]) -> str:
    """A random sequence printed twice or more: only copying can predict its second half."""
    part = "".join(rng.choices(alphabet, k=rng.randint(4, 24)))
    return "\n".join([part] * rng.randint(2, 3)) + "\n"


def fact(rng: Random) -> str:
    """One line of the sums and differences that the trained skills need: a to 12, b to 9."""
    a, b = rng.randint(0, 12), rng.randint(1, 9)
    return rng.choice((f"{a}+{b}={a + b}.\n", f"{a + b}-{b}={a}.\n"))
