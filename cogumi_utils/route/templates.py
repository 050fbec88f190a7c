"""Few-shot prompts of one domain: a fixed opening, retrieved examples as earlier turns, then the query."""

from __future__ import annotations

from dataclasses import dataclass

from cogumi_utils.route.examples import ExampleStore, Found, question

Messages = list[dict[str, str]]


@dataclass(frozen=True, slots=True)
class Template:
    """domain: whose examples are retrieved, "" for all. opening: a system turn, "" for none.

    shots: examples at most. least: cosine below which an example is not shown. longest: characters of all examples.
    """

    domain: str = ""
    opening: str = ""
    shots: int = 5
    least: float = 0.0
    longest: int = 8000

    def prompt(self, store: ExampleStore, query: str) -> Messages:
        """The chat up to the query; the most similar example stands last, next to it.

        An example with the query's own words is left out, or the answer would be copied. A query that nothing
        resembles (empty, binary, another script) comes back with the opening alone.
        """
        found = store.nearest(query, self.shots + 1, domain=self.domain)
        shown = self._chosen([one for one in found if question(one.example).strip() != query.strip()])
        turns = [dict(message) for one in reversed(shown) for message in one.example.messages]
        opening = [{"role": "system", "content": self.opening}] if self.opening else []
        return [*opening, *turns, {"role": "user", "content": query}]

    def _chosen(self, found: list[Found]) -> list[Found]:
        chosen, room = [], self.longest
        for one in found[: self.shots]:
            size = sum(len(message["content"]) for message in one.example.messages)
            if one.similarity < self.least or size > room:
                break
            chosen.append(one)
            room -= size
        return chosen
