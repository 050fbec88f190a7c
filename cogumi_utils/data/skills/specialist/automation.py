"""Tool calls that are combined: three in a row, on a condition, every week, called off, with defaults, in two rooms."""

from __future__ import annotations

from random import Random

from cogumi_utils.data.skills import words
from cogumi_utils.data.skills.automation import Call, _calls, _door, _light, _music, _one, _timer
from cogumi_utils.data.skills.base import Registry, Task

REGISTRY = Registry("automation")
skill = REGISTRY.skill
WEATHER = ("rain", "snow", "wind", "sun")
ALL_ROOMS, USUAL_VOLUME, NO_NAME = "all", 5, "none"  # what a wish that leaves them out stands for


def _order(rng: Random, level: int) -> tuple[str, Call]:
    n, what = rng.randint(2, 99), rng.choice(words.THINGS)
    return f"order {n} {what}", ("order", {"item": what, "count": n})


@skill()
def three_calls(rng: Random, level: int) -> Task:
    wishes = [make(rng, level) for make in rng.sample((_light, _timer, _order), 3)]
    (first, a), (second, b), (third, c) = wishes
    return _calls(f"{first[0].upper()}{first[1:]}, {second} and {third}.", a, b, c)


@skill()
def on_condition(rng: Random, level: int) -> Task:
    weather, city, day = rng.choice(WEATHER), rng.choice(words.CITIES), rng.choice(words.DAYS)
    wish, call = rng.choice((_light, _door))(rng, level)
    question = f"if there is {weather} in {city} on {day}, {wish}"
    return _one(question, ("when", {"weather": weather, "city": city, "day": day, "do": call}))


@skill()
def weekly(rng: Random, level: int) -> Task:
    """Again on a day of each week; at level 3 at an hour of it."""
    day, hour = rng.choice(words.DAYS), rng.randint(1, 23)
    wish, call = rng.choice((_light, _music, _door))(rng, level)
    time = {"day": day, "hour": hour} if level == 3 else {"day": day}
    return _one(f"each {day}{f' at {hour}' if level == 3 else ''} {wish}", ("every", {**time, "do": call}))


@skill()
def cancel(rng: Random, level: int) -> Task:
    who, day, what = rng.choice(words.PEOPLE), rng.choice(words.DAYS), rng.choice(words.THINGS)
    hour, n = rng.randint(8, 18), rng.randint(2, 99)
    wish, call = rng.choice((
        (f"the meeting with {who} on {day} at {hour}", {"what": "meet", "who": who, "day": day, "hour": hour}),
        (f"the timer of {n} minutes for the {what}", {"what": "timer", "minutes": n, "name": what}),
        (f"the order of {n} {what}", {"what": "order", "item": what, "count": n}),
    ))  # fmt: skip
    return _one(f"{rng.choice(('call off', 'I do not want'))} {wish}", ("cancel", call))


@skill()
def with_defaults(rng: Random, level: int) -> Task:
    """What the wish leaves out has a fixed value: every room, volume 5, a timer without a name."""
    room, genre, n = rng.choice(words.ROOMS), rng.choice(words.GENRES), rng.randint(1, 9)
    percent, minutes = rng.randint(1, 99), rng.randint(2, 99)
    wish, call = rng.choice((
        (f"play {genre} in the {room}", ("play", {"music": genre, "room": room, "volume": USUAL_VOLUME})),
        (f"play {genre} at volume {n}", ("play", {"music": genre, "room": ALL_ROOMS, "volume": n})),
        (f"set the light to {percent} percent", ("set_light", {"room": ALL_ROOMS, "level": percent})),
        (f"start a timer of {minutes} minutes", ("timer", {"minutes": minutes, "name": NO_NAME})),
    ))  # fmt: skip
    return _one(f"{rng.choice(('', 'please '))}{wish}{rng.choice(('', ' for me'))}", call)


@skill()
def two_rooms_later(rng: Random, level: int) -> Task:
    """One wish, one hour, two rooms: two calls, each inside a call."""
    (a, b), hour, n = rng.sample(words.ROOMS, 2), rng.randint(1, 23), rng.randint(1, (9, 99, 99)[level - 1])
    lights = [("set_light", {"room": room, "level": n}) for room in (a, b)]
    question = f"Set the {a} light and the {b} light to {n} percent at {hour}."
    return _calls(question, *(("at", {"hour": hour, "do": call}) for call in lights))
