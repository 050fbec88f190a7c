"""Errors that tell a user what to do next."""

from __future__ import annotations


class CogumiError(Exception):
    """An error in four parts: what was expected, what was found, why it matters, what to type next.

    Every failure that a user can cause or mend is raised as this class (or a subclass), so that the
    command line prints four readable lines instead of a traceback.
    """

    def __init__(self, *, expected: str, found: str, why: str, fix: str):
        self.expected, self.found, self.why, self.fix = expected, found, why, fix
        super().__init__(f"expected: {expected}\n   found: {found}\n     why: {why}\n     fix: {fix}")

    def __reduce__(self):
        parts = {"expected": self.expected, "found": self.found, "why": self.why, "fix": self.fix}
        return (_rebuild, (type(self), parts))


def _rebuild(cls: type[CogumiError], parts: dict[str, str]) -> CogumiError:
    """Let the error cross process boundaries (keyword-only arguments do not pickle by themselves)."""
    return cls(**parts)
