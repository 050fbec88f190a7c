"""Skills that the base student never sees: what each domain's adapter ("modifier") is trained on and judged by.

They are built like the skills of the embedded data set, and `skills.examples`, `skills.at_most` and `skills.mixed` work
on them. They are no part of `skills.all_skills()`: the base is pretrained and trained without them, so that what an
adapter gains on them is its own.
"""

from __future__ import annotations

from cogumi_utils.data.skills.base import Registry, Skill
from cogumi_utils.data.skills.specialist import (
    automation,
    code,
    creative,
    finance,
    hard_math,
    math,
    reasoning,
    science,
)
from cogumi_utils.errors import CogumiError

_MODULES = (code, reasoning, automation, math, hard_math, science, finance, creative)
SPECIALISTS: dict[str, Registry] = {module.REGISTRY.domain: module.REGISTRY for module in _MODULES}
DOMAINS = tuple(SPECIALISTS)


def specialist_skills(domain: str) -> list[Skill]:
    """The skills of one domain, in the order in which they were declared. Raises CogumiError for an unknown domain."""
    if domain not in SPECIALISTS:
        raise CogumiError(
            expected=f"one of the domains {', '.join(DOMAINS)}",
            found=f"domain {domain!r}",
            why="an adapter is trained on the specialist skills of one domain",
            fix="correct the name, or add a module to cogumi_utils/data/skills/specialist",
        )
    return list(SPECIALISTS[domain].skills.values())
