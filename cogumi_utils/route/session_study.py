"""Does a session's past help to route its next query? On sessions made by program, whose truth is known.

A session stays with its topic with a stated probability and else draws one anew, so that 0 is independent queries:
there the past cannot help, and a measurement that says so is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from cogumi_utils.errors import CogumiError
from cogumi_utils.route.evaluate import checked
from cogumi_utils.route.session import KEPT, SessionMemory, Turn, features
from cogumi_utils.route.study import Battery
from cogumi_utils.stats import Interval, Paired, bootstrap_mean_ci, paired_difference

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

Pools = Mapping[str, Sequence[str]]  # {route of a domain: its queries}
PERSISTENCE = (0.0, 0.5, 0.8, 0.95)
TOLD = 0.5  # share of turns after which it is known whether the answer served


def sessions(pools: Pools, n: int, turns: int, persistence: float, seed: int) -> list[list[tuple[str, str]]]:
    """`n` sessions of `turns` (query, topic): with probability `persistence` the topic stays, else it is drawn anew."""
    random, topics, found = Random(f"{seed}/{persistence}"), list(pools), []
    for _ in range(n):
        topic, session = random.choice(topics), []
        for _ in range(turns):
            topic = topic if session and random.random() < persistence else random.choice(topics)
            session.append((random.choice(pools[topic]), topic))
        found.append(session)
    return found


def follow_ups(fit: Battery, judge: Battery, words: int) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Pools of the batteries' queries cut to their last `words` words, as people go on in a session: little of the
    topic is left in them. Each once, and those of `judge` that `fit` has too are left out.
    """

    def pools(battery: Battery, without: set[str]) -> dict[str, list[str]]:
        found: dict[str, dict[str, None]] = {}
        for text, own in zip(battery.texts, battery.own, strict=True):
            end = " ".join(text.split()[-words:])
            if end not in without:
                found.setdefault(battery.names[own], {})[end] = None
        return {name: list(ends) for name, ends in found.items()}

    first = pools(fit, set())
    return first, pools(judge, {end for ends in first.values() for end in ends})


def left_behind(folder: Path, texts: Sequence[str]) -> list[str]:
    """Names of the database's files that still hold one of `texts` after their session was forgotten; another session
    stays.
    """
    memory = SessionMemory(folder / "sessions.db")
    for text in texts:
        memory.remember("forgotten", text, "base", 0.5)
    memory.remember("kept", "still here", "base", 0.5)
    memory.forget("forgotten")
    written = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
    memory.close()
    if not any(b"still here" in content for content in written.values()):
        raise CogumiError(
            expected="the session that was not forgotten, in one of the files",
            found=", ".join(written),
            why="files that hold nothing at all would prove nothing",
            fix="close other processes that use this folder, and start again",
        )
    return [name for name, content in written.items() if any(text.encode() in content for text in texts)]


@dataclass(frozen=True, slots=True)
class Worth:
    """Turns sent to their topic's route, mean over sessions: with another session's past beside the query, and with its
    own."""

    persistence: float
    with_others: Interval
    with_past: Interval
    difference: Paired


def worth(
    router: Callable[[list[str]], np.ndarray], routes: Sequence[str], fit: Pools, judge: Pools, *,
    persistence: Sequence[float] = PERSISTENCE, n: int = 300, turns: int = 8, told: float = TOLD, seed: int = 0,
) -> list[Worth]:  # fmt: skip
    """One Worth a persistence. Both arms are logistic regressions on the router's log-probabilities, fitted on `n`
    sessions and judged on `n` others. One sees `session.features` of the turns before, as the router took them, the
    other those of another session: both fit as many numbers, and only the past differs.

    fit, judge: queries of either part, which must differ. The intervals take a session as one draw.
    """
    _check(fit, judge, routes)
    return [_worth(router, list(routes), fit, judge, share, n, turns, told, seed) for share in persistence]


def worth_of_follow_ups(
    ask: Callable[[list[str]], np.ndarray], routes: Sequence[str], fit: Battery, judge: Battery, words: int, seed: int
) -> list[Worth]:
    """`worth` on the batteries' queries cut to their last `words` words (see `follow_ups`)."""
    return worth(ask, routes, *follow_ups(fit, judge, words), seed=seed)


def table(found: Sequence[Worth]) -> pd.DataFrame:
    """topic stays, with another session's past, with its own, difference."""
    import pandas as pd

    rows = [(f"{one.persistence:.0%}", str(one.with_others), str(one.with_past), str(one.difference)) for one in found]
    return pd.DataFrame(rows, columns=["topic stays", "with another session's past", "with its own", "difference"])


def _check(fit: Pools, judge: Pools, routes: Sequence[str]) -> None:
    shared = {text for pool in fit.values() for text in pool} & {text for pool in judge.values() for text in pool}
    strange = (set(fit) ^ set(judge)) | (set(fit) - set(routes))
    empty = {name for pools in (fit, judge) for name, pool in pools.items() if not pool}
    if shared or strange or empty:
        raise CogumiError(
            expected="queries of the same routes in both parts, none in both",
            found=f"{len(shared)} shared queries; routes unknown, in one part or without queries: "
            f"{', '.join(sorted(strange | empty)) or 'none'}",
            why="what the past is worth is measured on queries that nothing was fitted on",
            fix="take the two parts from different splits of the skills",
        )


def _worth(router, routes, fit, judge, persistence, n, turns, told, seed) -> Worth:
    from sklearn.linear_model import LogisticRegression

    parts = [
        _rows(router, routes, sessions(pool, n, turns, persistence, seed + part), told, seed)
        for part, pool in enumerate((fit, judge))
    ]
    hits = []
    for own in (False, True):
        (x, y), (fresh, truth) = (
            (rows if own else of_others(rows, len(routes), n, turns), topics) for rows, topics in parts
        )
        fitted = LogisticRegression(max_iter=2000).fit(x, y)
        hits.append((fitted.predict(fresh) == truth).reshape(n, turns).mean(axis=1))
    with_others, with_past = (bootstrap_mean_ci(each, seed, resamples=2000, unit="%") for each in hits)
    return Worth(persistence, with_others, with_past, paired_difference(*hits, seed))


def of_others(rows: np.ndarray, routes: int, n: int, turns: int) -> np.ndarray:
    """The same rows [n * turns, routes and then features of the past], each session with the past of the one before it.

    So that both arms fit as many numbers of the same spread: a past that only steadies the fit is worth nothing.
    """
    import numpy as np

    past = rows[:, routes:].reshape(n, turns, -1)
    return np.hstack([rows[:, :routes], np.roll(past, 1, axis=0).reshape(n * turns, -1)])


def _rows(router, routes: list[str], made: list, told: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(log-probabilities beside the features of the past, [turns, ...]; number of the topic's route [turns])."""
    import numpy as np

    texts = [text for session in made for text, _ in session]
    given, random, rows = checked(router(texts), len(routes)), Random(seed), []
    place = iter(given)
    for session in made:
        past: list[Turn] = []
        for number, (query, topic) in enumerate(session):
            probabilities = next(place)
            rows.append([*np.log(probabilities.clip(1e-6)), *features(past[-KEPT:], routes)])
            chosen = routes[int(probabilities.argmax())]
            success = chosen == topic if random.random() < told else None
            past.append(Turn(number, query, chosen, float(probabilities.max()), success))
    return np.array(rows), np.array([routes.index(topic) for session in made for _, topic in session])
