"""Specialist skills: right by their verifiers and by other means, apart from the base's, fixed by their seeds."""

from __future__ import annotations

import math
import re
from collections import Counter
from fractions import Fraction
from itertools import product
from random import Random

import pytest

from cogumi_utils.data import skills
from cogumi_utils.data._mistakes import BREAKERS, wrong_answers
from cogumi_utils.data.oracle import OracleTeacher, OracleTier
from cogumi_utils.data.skills import specialist
from cogumi_utils.data.skills.base import LEVELS, Skill
from cogumi_utils.data.skills.specialist.science import CHAINS, ELEMENTS
from cogumi_utils.data.teachers import TeacherRequest
from cogumi_utils.errors import CogumiError
from cogumi_utils.judge.grade import verdicts
from cogumi_utils.judge.tool_calls import read_calls
from cogumi_utils.judge.verifiers import RULES, verify
from cogumi_utils.schema import SPLITS, Example

SKILLS = [skill for domain in specialist.DOMAINS for skill in specialist.specialist_skills(domain)]
BY_NAME = {skill.name: skill for skill in SKILLS}
EVERY_SKILL = pytest.mark.parametrize("skill", SKILLS, ids=lambda skill: skill.name)
WANTED = {"train": 300, "validation": 30, "test": 60}


def drawn(skill: Skill, n: int, split: str = "train", seed: int = 3) -> list[Example]:
    return skills.at_most(skill, n, split=split, seed=seed)


def question(row: Example) -> str:
    return row.prompt[-1]["content"]


@pytest.fixture(scope="module")
def samples() -> list[Example]:
    """Two tasks of each skill and level."""
    rows = [row for skill in SKILLS for row in drawn(skill, 60)]
    groups: dict[tuple[str, int], list[Example]] = {}
    for row in rows:
        groups.setdefault((row.skill, row.difficulty), []).append(row)
    assert len(groups) == len(SKILLS) * len(LEVELS)
    return [row for group in groups.values() for row in group[:2]]


def test_there_are_eight_domains_with_six_skills_or_more_of_new_names():
    assert specialist.DOMAINS == (
        "code", "reasoning", "automation", "math", "hard_math", "science", "finance", "creative",
    )  # fmt: skip
    assert all(len(specialist.specialist_skills(domain)) >= 6 for domain in specialist.DOMAINS)
    assert {(skill.domain, skill.held_back, skill.lasting) for skill in SKILLS} == {
        (domain, False, False) for domain in specialist.DOMAINS
    }
    names = skills.names([*SKILLS, *skills.all_skills()])
    assert [name for name, times in Counter(names).items() if times > 1] == [], "tables group by the name alone"


def test_the_base_knows_none_of_them():
    assert not {id(skill) for skill in skills.all_skills()} & {id(skill) for skill in SKILLS}
    assert skills.DOMAINS == ("code", "reasoning", "automation", "chat") and len(skills.all_skills()) == 49
    assert not [name for name in skills.REGISTRIES if skills.REGISTRIES[name] in specialist.SPECIALISTS.values()]


def test_an_unknown_domain_is_refused():
    with pytest.raises(CogumiError, match="domain 'law'"):
        specialist.specialist_skills("law")


def test_every_reference_passes_its_own_verifier(samples):
    found = verdicts(samples, [row.answer for row in samples])
    assert [(row.answer, one.reason) for row, one in zip(samples, found, strict=True) if not one.passed] == []


def test_the_oracle_can_err_on_every_skill(samples):
    """Each of its wrong answers is really wrong, and one was found for every task."""
    rows = samples[::2]
    teacher = OracleTeacher(OracleTier("always", error_rate=1.0), seed=0)
    given = teacher.answer([TeacherRequest.of(row) for row in rows])
    assert [answer.error for answer in given if answer.error] == []
    found = verdicts(rows, [answer.text for answer in given])
    assert [answer.text for answer, one in zip(given, found, strict=True) if one.passed] == []
    assert {row.skill for row in rows} == set(BY_NAME)


@EVERY_SKILL
def test_questions_are_many_short_and_in_one_split_only(skill):
    asked = {split: {question(row): row for row in drawn(skill, n, split)} for split, n in WANTED.items()}
    assert {split: len(rows) for split, rows in asked.items()} == WANTED
    for split, rows in asked.items():
        for text, row in rows.items():
            assert skills.split_of(text) == split == row.split
            assert len(text) <= 160 and len(row.answer) <= 120 and (text + row.answer).isascii()
            assert "\n" not in text and row.answer == row.answer.strip() and text == text.strip()
    assert not asked["train"].keys() & asked["test"].keys()
    assert not (asked["train"].keys() | asked["test"].keys()) & asked["validation"].keys()


@pytest.fixture(scope="module")
def base_forms() -> set[str]:
    return {form(row) for skill in skills.all_skills() for row in drawn(skill, 500)}


def form(row: Example) -> str:
    """A question without its numbers, so that other numbers make no other question."""
    return re.sub(r"\d+", "0", question(row))


@EVERY_SKILL
def test_no_question_is_one_of_the_base(skill, base_forms):
    assert not {form(row) for row in drawn(skill, 500)} & base_forms


def test_no_question_is_asked_by_two_skills():
    asked = Counter(text for skill in SKILLS for text in {question(row) for row in drawn(skill, 300)})
    assert [text for text, times in asked.items() if times > 1] == []


def test_rows_carry_what_the_lineage_needs(samples):
    for row in samples:
        assert (row.source, row.licence, row.teacher, row.language) == (skills.SOURCE, skills.LICENCE, "program", "en")
        assert row.split in SPLITS and row.domain == BY_NAME[row.skill].domain


def test_levels_are_drawn_evenly():
    levels = Counter(row.difficulty for skill in SKILLS for row in drawn(skill, 60))
    assert set(levels) == set(LEVELS) and min(levels.values()) > 0.25 * sum(levels.values())


# --- levels: the largest number that a question of levels 1, 2, 3 can hold, or the length of its answer
LARGEST = {
    "default_value": (9, 50, 99), "three_way": (18, 59, 108), "fraction_of": (36, 81, 45), "percent_of": (990, 50, 90),
    "remainder": (35, 62, 89), "mean_of_three": (3, 6, 9), "perimeter": (3, 6, 9), "determinant": (3, 4, 5),
    "units": (9, 99, 99000), "density": (9, 36, 81), "exchange": (3, 9, 81), "break_even": (9, 81, 25),
    "invoice": (9, 3, 4), "ohm": (9, 81, 81),
}  # fmt: skip
LENGTHS = {
    "turn": (">", (1, 2, 3)), "food_chain": (">", (2, 2, 3)), "budget": ("-", (1, 2, 3)), "invoice": ("*", (1, 2, 2)),
    "gift_list": ("\n", (1, 2, 3)), "song": ("\n", (2, 3, 4)), "letter": ("\n", (2, 3, 4)),
    "acrostic": ("\n", (1, 2, 3)), "slogan": (" ", (3, 4, 5)), "shout": ("!", (1, 2, 3)), "bitwise": (" ", (4, 5, 6)),
    "odd_one_out": (",", (1, 2, 3)),
}  # fmt: skip
LISTED = {"tally": (3, 4, 5), "odd_one_out": (2, 3, 4), "neighbour": (2, 3, 4)}  # commas of the question
NO_HARDER = {  # the level changes what is asked or nothing at all
    "two_steps", "make_dict", "sort_by", "template", "days_on", "truth", "three_calls", "on_condition", "weekly",
    "cancel", "with_defaults", "two_rooms_later", "precedence", "equation", "modular", "next_term", "power_rule",
    "choices", "vectors", "symbol", "state", "speed", "interest", "profit", "tax", "riddle",
}  # fmt: skip


def of_level(name: str, level: int) -> list:
    return [BY_NAME[name].make(Random(seed), level) for seed in range(400)]


def test_every_skill_says_what_its_levels_change():
    assert set(BY_NAME) == {*LARGEST, *LENGTHS, *LISTED, *NO_HARDER}
    assert not NO_HARDER & {*LARGEST, *LENGTHS, *LISTED}


@pytest.mark.parametrize(("name", "limits"), LARGEST.items(), ids=LARGEST)
def test_levels_bound_the_numbers(name, limits):
    for level, limit in zip(LEVELS, limits, strict=True):
        numbers = [int(text) for task in of_level(name, level) for text in re.findall(r"\d+", task.question)]
        assert 0.8 * limit < max(numbers) <= limit


@pytest.mark.parametrize(("name", "counts"), [*LENGTHS.items(), *((k, (",", v)) for k, v in LISTED.items())])
def test_levels_set_the_length(name, counts):
    mark, expected = counts
    for level, count in zip(LEVELS, expected, strict=True):
        texts = [task.question if name in LISTED and expected == LISTED[name] else task.answer
                 for task in of_level(name, level)]  # fmt: skip
        assert {text.count(mark) for text in texts} == {count}


# --- answers are right by other means than the rule that made them
def numbers(text: str) -> list[int]:
    return [int(found) for found in re.findall(r"\d+", text)]


def arithmetic(text: str) -> str:
    """What a question asks to work out, as an expression."""
    return re.search(r"\(?\d[\d+*() mod]*", text.rstrip(".?"))[0].replace("mod", "%")


def matrix(text: str) -> int:
    a, b, c, d = numbers(text)
    return a * d - b * c


def solution(text: str) -> int:
    left, right = text.rstrip(".").split(" in ")[1].split("=")
    return next(n for n in range(100) if eval(re.sub("[a-z]", str(n), left)) == int(right))


def bits(text: str) -> str:
    left, name, right = re.search(r"([01]+) (and|or|xor) ([01]+)", text).groups()
    value = eval(f"0b{left} {'&' if name == 'and' else '|' if name == 'or' else '^'} 0b{right}")
    return f"{value:0{len(left)}b}"


def price(text: str) -> Fraction:
    whole, share = numbers(text)
    return Fraction(whole) * (100 - share if "less" in text else 100 + share) / 100


def yields(text: str) -> Fraction:
    coins, rate, *years = numbers(text)
    return Fraction(coins * rate * (years or [1])[0], 100)


def gained(text: str) -> str:
    paid, *fee, got = numbers(text)
    won = got - paid - sum(fee)
    return f"{'profit' if won > 0 else 'loss'} {abs(won)}"


def slope(text: str) -> str:
    """By the difference quotient, exactly: the coefficient is the only one that fits at 2."""
    a, x, n = re.search(r"(\d+)([a-z])\^(\d)", text).groups()
    h = Fraction(1, 10**9)
    at_two = (int(a) * (2 + h) ** int(n) - int(a) * 2 ** int(n)) / h
    coefficient = round(at_two / 2 ** (int(n) - 1))
    return f"{coefficient}{x}" + (f"^{int(n) - 1}" if n != "2" else "")


def sum_of_lines(text: str) -> int:
    return sum(a * b for a, b in zip(numbers(text)[::2], numbers(text)[1::2], strict=True))


def temperature(text: str) -> str:
    degrees = int(re.search(r"at (-?\d+) degrees", text)[1])
    return "ice" if degrees < 0 else "water" if degrees < 100 else "steam"


def next_number(text: str) -> int:
    terms = numbers(text)
    return 2 * terms[-1] if terms[1] == 2 * terms[0] and terms[2] == 2 * terms[1] else 2 * terms[-1] - terms[-2]


OTHERWISE = {
    "fraction_of": lambda text: Fraction(*numbers(text)[:2]) * numbers(text)[2],
    "percent_of": lambda text: Fraction(numbers(text)[0], 100) * numbers(text)[1],
    "remainder": lambda text: numbers(text)[0] % numbers(text)[1],
    "precedence": lambda text: eval(arithmetic(text)),
    "equation": solution,
    "mean_of_three": lambda text: Fraction(sum(numbers(text)), 3),
    "perimeter": lambda text: 2 * sum(numbers(text)),
    "modular": lambda text: eval(arithmetic(text)),
    "determinant": matrix,
    "next_term": next_number,
    "power_rule": slope,
    "bitwise": bits,
    "choices": lambda text: math.comb(*numbers(text)[::-1]),
    "interest": yields,
    "profit": gained,
    "budget": lambda text: numbers(text)[0] - sum(numbers(text)[1:]),
    "tax": price,
    "invoice": sum_of_lines,
    "state": temperature,
    "tally": lambda text: Counter(re.findall(r"[a-z]+", text.partition(".")[0]))[re.search(r"(\w+)\?", text)[1]],
}


@pytest.mark.parametrize(("name", "work_out"), OTHERWISE.items(), ids=OTHERWISE)
def test_answers_are_right_when_worked_out_otherwise(name, work_out):
    rows = drawn(BY_NAME[name], 300)
    wrong = [row for row in rows if not verify(f"Answer: {work_out(question(row))}", row.verifier).passed]
    assert [(question(row), row.answer) for row in wrong] == []


def test_every_step_of_a_chain_is_true():
    steps = 0
    for row in (row for skill in SKILLS if skill.domain not in ("code", "creative") for row in drawn(skill, 100)):
        for left, right in re.findall(r"(?<![\w=+*/-])([\d+*/-]+)=(\d+)\b", re.sub(r"\b[a-z]=", "", row.answer)):
            assert Fraction(eval(re.sub(r"(\d+)", r"Fraction(\1)", left))) == int(right), row.answer
            steps += 1
    assert steps > 3000


def test_a_chain_ends_in_its_answer():
    ended = 0
    for row in (row for skill in SKILLS if skill.name != "modular" for row in drawn(skill, 100)):
        results = re.findall(r"=(-?\d+)\.", row.answer)
        if row.verifier["kind"] == "number" and results:
            assert results[-1] == row.verifier["payload"]["answer"], row.answer
            ended += 1
    assert ended == 1971


def test_determinants_are_never_negative():
    assert min(matrix(question(row)) for row in drawn(BY_NAME["determinant"], 300)) == 0


def test_science_is_told_as_it_is():
    assert len(dict(ELEMENTS)) == len({sign for _, sign in ELEMENTS}) == 16
    assert all(len(set(chain)) == len(chain) == length for length, chains in CHAINS.items() for chain in chains)
    assert {length: len(chains) for length, chains in CHAINS.items()} == {3: 35, 4: 18}


def test_a_claim_is_true_if_the_told_fact_says_so():
    for row in drawn(BY_NAME["truth"], 300):
        told, claim = question(row).split(" True or false: ")
        word = re.search(r"(\w+)\?", claim)[1]
        assert row.verifier["payload"]["answer"] == ("true" if (word in told.rstrip(".").split()) != (" not " in claim)
                                                     else "false")  # fmt: skip


# --- code
def same_work(task: Example, other: Example) -> bool:
    """Two references that are one function: their results agree where a task's tests do not look, too."""
    if task.skill not in ("two_steps", "make_dict"):
        return task.answer == other.answer
    entry, probes = task.verifier["payload"]["entry_point"], [(n,) for n in range(-60, 160)]
    results = []
    for row in (task, other):
        scope: dict = {}
        exec(row.answer, scope)
        results.append([scope[entry](*((1, 2) if row.skill == "make_dict" else args)) for args in probes])
    return results[0] == results[1]


@pytest.mark.parametrize("skill", specialist.specialist_skills("code"), ids=lambda skill: skill.name)
def test_the_tests_of_a_function_tell_it_from_every_other_of_its_skill(skill):
    """Tasks of one skill that ask for the same name and another body; our own code, run as it is."""
    groups: dict[str, list[Example]] = {}
    for row in drawn(skill, 300):
        groups.setdefault(re.sub(r"\d+", "", row.answer.partition(":")[0]), []).append(row)
    compared = 0
    for task, other in (pair for group in groups.values() for pair in product(group, group)):
        scope: dict = {}
        exec(other.answer, scope)
        right = same_work(task, other)
        compared += not right
        try:
            exec(task.verifier["payload"]["tests"], scope)
        except Exception:
            assert not right
        else:
            assert right, f"{question(task)} is answered by {other.answer!r}"
    assert compared > 60


# --- automation
def test_tool_calls_read_back_as_the_tree_that_the_verifier_holds():
    rows = [row for skill in specialist.specialist_skills("automation") for row in drawn(skill, 60)]
    for row in rows:
        assert read_calls(row.answer) == row.verifier["payload"]["calls"]
    lengths = {
        skill: {len(row.verifier["payload"]["calls"]) for row in rows if row.skill == skill} for skill in BY_NAME
    }
    assert lengths["three_calls"] == {3} and lengths["two_rooms_later"] == {2} and lengths["cancel"] == {1}


def test_what_a_wish_leaves_out_has_one_value():
    seen = Counter()
    for row in drawn(BY_NAME["with_defaults"], 200):
        ((name, arguments),) = [(call["name"], call["arguments"]) for call in row.verifier["payload"]["calls"]]
        said = question(row).lower()
        seen.update((name, key, value) for key, value in arguments.items() if not re.search(rf"\b{value}\b", said))
    assert set(seen) == {("play", "volume", 5), ("play", "room", "all"), ("set_light", "room", "all"),
                         ("timer", "name", "none")}  # fmt: skip


# --- creative: many answers are right
OTHER_RIGHT_ANSWERS = {
    "acrostic": lambda row: re.sub(r"(?m)^(\w)\w*", r"\1...", row.answer),
    "gift_list": lambda row: re.sub(r"- \w+$", "- elephant", row.answer),
    "song": lambda row: row.answer.replace("My", "I sing of a"),
    "shout": lambda row: f"LOOK, {row.answer}",
    "slogan": lambda row: re.sub(" the ", " that ", row.answer),
    "letter": lambda row: row.answer.replace("I have a", "Keep my"),
    "riddle": lambda row: f"{row.answer[:-1]}, my friend!",
}


ALONE = {  # rules that can be broken with all others kept
    "acrostic": {"acrostic"},
    "gift_list": {"distinct_lines"},
    "song": {"same_ends", "contains"},
    "shout": {"uppercase", "ends_with", "has_word"},
    "slogan": {"n_words", "starts_with", "has_word"},
    "letter": {"starts_with", "ends_with", "has_word"},
    "riddle": {"no_word", "has_word", "starts_with"},
}


@pytest.mark.parametrize("skill", specialist.specialist_skills("creative"), ids=lambda skill: skill.name)
def test_another_right_text_passes_and_each_broken_rule_fails(skill):
    broken: Counter[str] = Counter()
    for row in drawn(skill, 60):
        other = OTHER_RIGHT_ANSWERS[skill.name](row)
        assert other != row.answer and verify(other, row.verifier).passed, other
        rules = row.verifier["payload"]["rules"]
        for text in wrong_answers(row, Random(row.id)):
            failed = [rule["rule"] for rule in rules if not RULES[rule["rule"]](text, rule)]
            assert failed, text
            broken.update(failed if len(failed) == 1 else [])
    assert broken.keys() >= ALONE[skill.name]


KEPT = {  # a text that keeps the rule
    "contains": ("Hat", {"text": "hat"}), "has_word": ("A HAT!", {"text": "hat"}), "forbids": ("cup", {"text": "hat"}),
    "no_word": ("that", {"text": "hat"}), "repeats": ("ho ho", {"text": "ho", "n": 2}), "min_words": ("a b", {"n": 2}),
    "max_words": ("a", {"n": 2}), "max_chars": ("a", {"n": 2}), "n_words": ("a b", {"n": 2}),
    "n_lines": ("a", {"n": 1}), "n_bullets": ("- a\n- b", {"n": 2}), "starts_with": ("- a", {"text": "- "}),
    "ends_with": ("all.", {"text": "."}), "lowercase": ("a hat", {}), "uppercase": ("- A HAT", {}),
    "acrostic": ("Big\nOld", {"text": "bo"}), "same_ends": ("a\nb\na", {}), "distinct_lines": ("a\nb", {}),
}  # fmt: skip


@pytest.mark.parametrize("name", RULES)
def test_the_slip_for_a_rule_breaks_it(name):
    text, payload = KEPT[name]
    verifier = {"kind": "constraints", "payload": {"rules": [{"rule": name, **payload}]}}
    assert verify(text, verifier).passed
    assert not verify(BREAKERS[name](text, {"rule": name, **payload}, "moon"), verifier).passed


def test_every_rule_has_its_slip():
    assert set(BREAKERS) == set(KEPT) == set(RULES)


# --- fixed by their seeds: a change of any task changes what was measured with it
PINNED: dict[str, tuple[str, str]] = {
    # code
    "default_value": (
        "Write a function test(x, n) that returns x plus n, where n is 22 if not given.",
        "def test(x, n=22):\n    return x + n",
    ),
    "two_steps": (
        "Write a function h(x) that returns x plus 3, then all of it minus 8.",
        "def h(x):\n    y = x + 3\n    return y - 8",
    ),
    "three_way": (
        "Define func(x) to return hot if x is below 8, cold if x is above 11, else old.",
        "def func(x):\n    return 'hot' if x < 8 else 'cold' if x > 11 else 'old'",
    ),
    "make_dict": (
        "Write a function task(a, b) that returns a dict with a under go and b under my.",
        "def task(a, b):\n    return {'go': a, 'my': b}",
    ),
    "sort_by": (
        "Define do(w) to return the dicts of w in the order of to.",
        "def do(w):\n    return sorted(w, key=lambda e: e['to'])",
    ),
    "template": (
        "Write a function h(x) that returns x, hi and to in one line of text.",
        "def h(x):\n    return f'{x} hi to'",
    ),
    # reasoning
    "days_on": ("Max comes 1 day after Wednesday. Which day is that?", "Thursday. Answer: Thursday"),
    "turn": ("Tom looks north and turns right. Where does Tom look?", "north>east. Answer: east"),
    "truth": ("A brown cup is in the garage. True or false: the cup is brown?", "brown is brown. Answer: true"),
    "tally": ("Leo says brown, grey, grey, grey. How many times does Leo say brown?", "brown. Answer: 1"),
    "odd_one_out": (
        "Which one is not like the others: disco, hall, folk, jazz, soul?",
        "disco, folk, jazz, soul. Answer: hall",
    ),
    "neighbour": ("Ann, Ada, Leo, Lea stand in a line. Who is right before Lea?", "Leo, Lea. Answer: Leo"),
    # automation
    "three_calls": (
        "Set the garage light to 1 percent, time the eggs for 15 minutes and order 96 stamps.",
        'set_light(room="garage", level=1)\ntimer(minutes=15, name="eggs")\norder(item="stamps", count=96)',
    ),
    "on_condition": (
        "If there is sun in Doha on Friday, dim the light in the cellar to 9 percent.",
        'when(weather="sun", city="Doha", day="Friday", do=set_light(room="cellar", level=9))',
    ),
    "weekly": (
        "Each Saturday set the attic light to 98 percent.",
        'every(day="Saturday", do=set_light(room="attic", level=98))',
    ),
    "cancel": ("Call off the order of 10 cups.", 'cancel(what="order", item="cups", count=10)'),
    "with_defaults": ("Please set the light to 39 percent for me.", 'set_light(room="all", level=39)'),
    "two_rooms_later": (
        "Set the garage light and the attic light to 13 percent at 3.",
        'at(hour=3, do=set_light(room="garage", level=13))\nat(hour=3, do=set_light(room="attic", level=13))',
    ),
    # math
    "fraction_of": ("Give me 1/4 of 8 cards.", "8/4=2. Answer: 2"),
    "percent_of": ("Find 10 percent of 460 balls.", "460/10=46. Answer: 46"),
    "remainder": ("6 cups, 5 in each case. How many cups are left over?", "5*1=5. 6-5=1. Answer: 1"),
    "precedence": ("What is 2+3*2?", "3*2=6. 6+2=8. Answer: 8"),
    "equation": ("Find x in 5*x=40.", "x=40/5=8. Answer: 8"),
    "mean_of_three": ("Sam has 2 stamps, Lea has 7, Pam has 9. What is the mean?", "2+7=9. 9+9=18. 18/3=6. Answer: 6"),
    "perimeter": ("The blue garden is 6 by 6 steps. How many steps is it all around?", "6+6=12. 12*2=24. Answer: 24"),
    # hard_math
    "modular": ("What is (2*3) mod 10?", "2*3=6. The last digit is 6. Answer: 6"),
    "determinant": ("What is det [[4, 4], [1, 3]]?", "4*3=12. 4*1=4. 12-4=8. Answer: 8"),
    "next_term": ("Leo counts 4, 8, 16, 32. What is the next number?", "4*2=8. 32*2=64. Answer: 64"),
    "power_rule": ("Give me the slope of 7u^6 by u.", "7*6=42. 6-1=5. Answer: 42u^5"),
    "bitwise": ("Find 0111 xor 1111.", "01 11 11 11. Answer: 1000"),
    "choices": ("How many ways are there for Kim to pick 7 of 9 boxes?", "9-7=2. 9*8=72. 72/2=36. Answer: 36"),
    "vectors": ("Find 9 times (5, 1).", "9*5=45. 9*1=9. Answer: (45, 9)"),
    # science
    "symbol": ("Sam asks for the symbol of neon.", "Sam, the symbol of neon is Ne."),
    "units": ("Tell me how many m are 3100 cm.", "3100/100=31. Answer: 31"),
    "state": ("The case in the office holds H2O at 176 degrees. Is it ice, water or steam?", "100<176. Answer: steam"),
    "ohm": ("The ring has 36 volt and 6 amp. How many ohm is that?", "36/6=6. Answer: 6"),
    "density": ("A grey hat of 3 ml has a mass of 6 g. How many g is 1 ml?", "6/3=2. Answer: 2"),
    "speed": ("Ann walks 27 km at 3 km an hour. How many hours is that?", "27/3=9. Answer: 9"),
    "food_chain": (
        "Jim says: the hare eats the grass, the fox eats the hare. Who is first?",
        "fox>hare>grass. Answer: fox",
    ),
    # finance
    "interest": ("Leo saves 400 coins at 9 percent. What does a year bring?", "400/100=4. 4*9=36. Answer: 36"),
    "profit": ("Jim buys a bell for 16 and sells it for 11. Profit or loss?", "16-11=5. Answer: loss 5"),
    "exchange": ("1 coin from Tokyo is 3 from Accra. How many from Accra are 3 from Tokyo?", "3*3=9. Answer: 9"),
    "budget": ("Zoe may spend 12 coins: 7 for a bell. What is left?", "12-7=5. Answer: 5"),
    "tax": ("Eva buys a bell for 60 coins plus 10 percent. What does Eva pay?", "60/10=6. 60+6=66. Answer: 66"),
    "break_even": ("Max pays 3 coins to sell boxes at 1 each. How many boxes pay for that?", "3/1=3. Answer: 3"),
    "invoice": ("Bill for Eva: 3 boxes at 2 and 3 keys at 3. What is it in all?", "3*2=6. 3*3=9. 6+9=15. Answer: 15"),
    # creative
    "acrostic": ("Write lines about a cup with the first letters J, I, M.", "Just a cup\nIt is a cup\nMy cup"),
    "gift_list": ("List 2 different gifts for Tom as bullets, the first a pen.", "- pen\n- ball"),
    "song": (
        "Write 5 lines with blue ball, black map, red hat. Begin and end with the line Oh Hanoi.",
        "Oh Hanoi\nMy blue ball\nMy black map\nMy red hat\nOh Hanoi",
    ),
    "shout": ("Say in capitals which colour a black book in the hall has. End with !!", "IT IS BLACK!!"),
    "slogan": ("Write exactly 4 words for a black hat, the first is Order.", "Order the black hat"),
    "letter": (
        "Write to Leo about cup. Start with Dear Leo, end with Love, Mia.",
        "Dear Leo,\nI have a cup.\nLove, Mia",
    ),
    "riddle": (
        "Tom has a brown ring in a drawer in the garden. Tell name, colour, drawer and room, say It first, never ring.",
        "It is brown, Tom has it in the drawer in the garden.",
    ),
}


def test_every_skill_is_pinned():
    assert set(PINNED) == set(BY_NAME)


@EVERY_SKILL
def test_a_seed_decides_everything(skill):
    (first,) = drawn(skill, 1, seed=0)
    assert (question(first), first.answer) == PINNED[skill.name]
    assert [row.id for row in drawn(skill, 20, seed=0)] == [row.id for row in drawn(skill, 20, seed=0)]
    assert [row.id for row in drawn(skill, 20, seed=1)] != [row.id for row in drawn(skill, 20, seed=0)]
