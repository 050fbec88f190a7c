"""Tool calls, judged by comparing the call's tree with the expected one."""

from __future__ import annotations

from random import Random
from typing import Any

from cogumi_utils.data.skills import words
from cogumi_utils.data.skills.base import Registry, Task

REGISTRY = Registry("automation")
skill = REGISTRY.skill
Call = tuple[str, dict[str, Any]]


def _text(value: Any) -> str:
    """A call is kept as (name, arguments); a nested call is such a pair as an argument."""
    if isinstance(value, tuple):
        return f"{value[0]}({', '.join(f'{k}={_text(v)}' for k, v in value[1].items())})"
    return f'"{value}"' if isinstance(value, str) else str(value)


def _tree(value: Any) -> Any:
    return (
        {"name": value[0], "arguments": {k: _tree(v) for k, v in value[1].items()}}
        if isinstance(value, tuple)
        else value
    )


def _calls(question: str, *calls: Call) -> Task:
    payload = {"calls": [_tree(call) for call in calls], "ordered": True}
    return Task(question, "\n".join(map(_text, calls)), {"kind": "tool_calls", "payload": payload})


def _light(rng: Random, level: int) -> tuple[str, Call]:
    room, n = rng.choice(words.ROOMS), rng.randint(1, (9, 99, 99)[level - 1])
    wish = rng.choice((f"set the {room} light to {n} percent", f"dim the light in the {room} to {n} percent"))
    return wish, ("set_light", {"room": room, "level": n})


def _music(rng: Random, level: int) -> tuple[str, Call]:
    room, genre, n = rng.choice(words.ROOMS), rng.choice(words.GENRES), rng.randint(1, 9)
    wish = rng.choice((f"play {genre} in the {room} at volume {n}", f"put on {genre} in the {room}, volume {n}"))
    return wish, ("play", {"music": genre, "room": room, "volume": n})


def _timer(rng: Random, level: int) -> tuple[str, Call]:
    n, what = rng.randint(2, 99), rng.choice(words.THINGS)
    wish = rng.choice((f"start a timer of {n} minutes for the {what}", f"time the {what} for {n} minutes"))
    return wish, ("timer", {"minutes": n, "name": what})


def _door(rng: Random, level: int) -> tuple[str, Call]:
    room, state, who = rng.choice(words.ROOMS), rng.choice(("open", "close", "lock")), rng.choice(words.PEOPLE)
    return f"{state} the {room} door for {who}", ("door", {"room": room, "do": state, "who": who})


def _one(question: str, call: Call) -> Task:
    return _calls(question[0].upper() + question[1:] + ".", call)


@skill()
def light(rng: Random, level: int) -> Task:
    return _one(*_light(rng, level))


@skill()
def music(rng: Random, level: int) -> Task:
    return _one(*_music(rng, level))


@skill()
def timer(rng: Random, level: int) -> Task:
    return _one(*_timer(rng, level))


@skill()
def door(rng: Random, level: int) -> Task:
    return _one(*_door(rng, level))


@skill()
def mail(rng: Random, level: int) -> Task:
    who, note = rng.choice(words.PEOPLE), rng.choice(words.NOTES)
    wish = rng.choice((f"mail {who} that says {note}", f"write {who} a mail: {note}"))
    return _one(wish, ("mail", {"to": who, "text": note}))


@skill()
def meeting(rng: Random, level: int) -> Task:
    who, day, hour = rng.choice(words.PEOPLE), rng.choice(words.DAYS), rng.randint(8, 18)
    wish = rng.choice((f"plan a meeting with {who} on {day} at {hour}", f"I want to meet {who} on {day} at {hour}"))
    return _one(wish, ("meet", {"who": who, "day": day, "hour": hour}))


@skill()
def forecast(rng: Random, level: int) -> Task:
    city, day, hour = rng.choice(words.CITIES), rng.choice(words.DAYS), rng.randint(6, 20)
    wish = rng.choice(
        (f"what is the weather in {city} on {day} at {hour}", f"will it rain in {city} on {day} at {hour}")
    )
    return _one(wish, ("weather", {"city": city, "day": day, "hour": hour}))


@skill()
def files(rng: Random, level: int) -> Task:
    kind, folder, day = rng.choice(words.FILETYPES), rng.choice(words.FOLDERS), rng.choice(words.DAYS)
    wish = rng.choice((f"find all {kind} files in {folder} since {day}", f"list the {kind} files of {day} in {folder}"))
    return _one(wish, ("find", {"type": kind, "folder": folder, "day": day}))


@skill()
def order(rng: Random, level: int) -> Task:
    n, what = rng.randint(2, 99), rng.choice(words.THINGS)
    wish = rng.choice((f"order {n} {what}", f"buy {n} {what} for me"))
    return _one(wish, ("order", {"item": what, "count": n}))


@skill()
def no_tool(rng: Random, level: int) -> Task:
    """The right call is none: a wish that no tool can grant."""
    who, item, city = rng.choice(words.PEOPLE), rng.choice(words.ITEMS), rng.choice(words.CITIES)
    wish = rng.choice((f"make {who} happy with a {item} from {city}", f"tell me what {who} thinks of {city}"))
    return _one(wish, ("none", {}))


@skill(held_back=True)
def two_calls(rng: Random, level: int) -> Task:
    (first, a), (second, b) = (make(rng, level) for make in rng.sample((_light, _music, _timer, _door), 2))
    return _calls(f"{first[0].upper()}{first[1:]} and {second}.", a, b)


@skill(held_back=True)
def at_time(rng: Random, level: int) -> Task:
    """A call inside a call."""
    wish, call = rng.choice((_light, _music, _door))(rng, level)
    hour = rng.randint(1, 23)
    return _one(f"at {hour} o'clock {wish}", ("at", {"hour": hour, "do": call}))


@skill(held_back=True)
def everywhere(rng: Random, level: int) -> Task:
    """One wish, two rooms, two calls."""
    a, b = rng.sample(words.ROOMS, 2)
    n = rng.randint(1, 99)
    wish = f"Set the light in both the {a} and the {b} to {n} percent."
    return _calls(wish, ("set_light", {"room": a, "level": n}), ("set_light", {"room": b, "level": n}))
