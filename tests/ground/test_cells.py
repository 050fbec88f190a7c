"""The parameters cell as a schema: what it accepts, what it refuses, and how it says so."""

from pathlib import Path

import pytest

from cogumi_utils.cells import ParameterError, assigned_names, cell_parameters

CELL = """
profile = "smoke"    # profile, not empty
steps = 10           # optimiser steps, 1..100_000
rate = 5e-5          # learning rate, 1e-6..1.0
shift = -3           # offset, tokens, -10..10
student = "scratch"  # where it comes from, one of: scratch, hub
bits = 4             # bits a weight, one of: 4, 8
hub_id = ""          # hub id or local folder, may be empty
packed = True        # pack short examples into rows, true or false
levels = [0.1, 0.5]  # share pruned, each 0.0..1.0
kinds = ["a", "b"]   # kinds kept, each one of: a, b, c
"""


@pytest.fixture
def cell(tmp_path: Path, write_notebook):
    def make(text: str, **options) -> Path:
        return write_notebook(tmp_path / "07_test.ipynb", text, **options)

    return make


def test_every_form_is_read(cell):
    found = cell_parameters(cell(CELL))
    assert {name: param.value for name, param in found.items()} == {
        "profile": "smoke", "steps": 10, "rate": 5e-5, "shift": -3, "student": "scratch", "bits": 4, "hub_id": "",
        "packed": True, "levels": [0.1, 0.5], "kinds": ["a", "b"],
    }  # fmt: skip
    assert [param.type for param in found.values()] == [str, int, float, int, str, int, str, bool, float, str]
    assert {name: param.legal for name, param in found.items()} == {
        "profile": "not empty text", "steps": "int, 1..100000", "rate": "float, 1e-06..1.0", "shift": "int, -10..10",
        "student": "one of: scratch, hub", "bits": "one of: 4, 8", "hub_id": "text", "packed": "true or false",
        "levels": "each float, 0.0..1.0", "kinds": "each one of: a, b, c",
    }  # fmt: skip
    assert found["steps"].comment == "optimiser steps" and found["steps"].line == 2
    assert found["shift"].comment == "offset, tokens"


@pytest.mark.parametrize(
    "name, value, kept",
    [
        ("steps", 100_000, 100_000), ("rate", 1, 1.0), ("rate", 1e-6, 1e-6), ("student", "hub", "hub"), ("bits", 8, 8),
        ("hub_id", "a/b", "a/b"), ("packed", False, False), ("levels", [0, 1.0], [0.0, 1.0]), ("levels", [], []),
        ("kinds", ["c"], ["c"]),
    ],
)  # fmt: skip
def test_legal_values(cell, name, value, kept):
    checked = cell_parameters(cell(CELL))[name].checked(value)
    assert checked == kept and type(checked) is type(kept)


@pytest.mark.parametrize(
    "name, value, words",
    [
        ("steps", 0, "0 is out of range"),
        ("steps", 100_001, "out of range"),
        ("steps", 3.0, "is of type float (write 3)"),
        ("steps", 3.5, "is of type float"),
        ("steps", True, "is of type bool"),
        ("steps", "3", "is of type str (leave the quotes out)"),
        ("rate", "5e-5", "YAML reads 5e-5 as text: write 5.0e-05"),
        ("rate", "1E6", "YAML reads 1E6 as text: write 1.0e+06"),
        ("rate", float("nan"), "not a finite number"),
        ("rate", float("inf"), "not a finite number"),
        ("rate", None, "is of type NoneType"),
        ("student", "Hub", "'Hub' is not allowed"),
        ("bits", 5, "5 is not allowed"),
        ("hub_id", True, "YAML reads yes, no, on and off as booleans"),
        ("packed", 1, "is of type int"),
        ("packed", "true", "is of type str (leave the quotes out)"),
        ("steps", "1e3", "YAML reads 1e3 as text: write 1000"),
        ("steps", "three", "'three' is of type str"),
        ("levels", 0.5, "0.5 is no list"),
        ("levels", [0.5, 2.0], "2.0 is out of range"),
        ("kinds", ["a", "d"], "'d' is not allowed"),
        ("profile", "", "'' is not allowed"),
    ],
)
def test_illegal_values(cell, name, value, words):
    with pytest.raises(ValueError, match=".*") as caught:
        cell_parameters(cell(CELL))[name].checked(value)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "line, words",
    [
        ("steps = 10", "steps has no comment that ends with its legal range"),
        ("steps = 10  # optimiser steps", "steps has no comment that ends with its legal range"),
        ("steps: int = 10  # steps, 1..20", "not of the form `name = literal`"),
        ("a = b = 3  # two, 1..20", "not of the form `name = literal`"),
        ("import os  # x, may be empty", "not of the form `name = literal`"),
        ("steps = 5 * 2  # steps, 1..20", "steps is no literal"),
        ("steps = 30  # steps, 1..20", "30 is out of range"),
        ("steps = 30  # steps, 40..20", "30 is out of range"),
        ("name = 'x'  # name, 1..20", "does not fit `1..20`"),
        ("flag = 1  # flag, true or false", "does not fit `true or false`"),
        ("steps = 3  # steps, may be empty", "does not fit `may be empty`"),
        ("steps = None  # steps, 1..20", "of type NoneType"),
        ("levels = {'a': 1}  # levels, may be empty", "of type dict"),
        ("levels = 0.5  # levels, each 0.0..1.0", "said to be a list"),
        ("levels = [0.5]  # levels, 0.0..1.0", "of type list"),
        ("levels = []  # levels, each 0..1", "levels is empty: `each 0..1` does not say whether it holds int or float"),
        ("levels = [0.5, 'a']  # levels, each 0.0..1.0", "is of type str"),
        ("kind = 'd'  # kind, one of: a, b", "'d' is not allowed"),
        ("profile = 'x'  # again, not empty", "profile is assigned twice"),
    ],
)
def test_bad_lines_are_named_with_their_number(cell, line, words):
    with pytest.raises(ParameterError) as caught:
        cell_parameters(cell(f'profile = "smoke"  # profile, not empty\n{line}'))
    assert caught.value.found.startswith("07_test.ipynb: line 2: ")
    assert words in caught.value.found
    assert "mend the parameters cell of" in caught.value.fix


def test_an_empty_list_takes_its_type_from_what_is_legal(cell):
    found = cell_parameters(cell("names = []  # names, each may be empty\nkinds = []  # kinds, each one of: a, b"))
    assert [(param.value, param.type) for param in found.values()] == [([], str), ([], str)]
    assert found["kinds"].checked(["b"]) == ["b"] and found["names"].checked(["x", ""]) == ["x", ""]
    with pytest.raises(ValueError, match="'c' is not allowed"):
        found["kinds"].checked(["c"])


def test_all_bad_lines_are_listed_at_once(cell):
    with pytest.raises(ParameterError) as caught:
        cell_parameters(cell("a = 1\nb = 2  # fine, 1..3\nc = 9  # too large, 1..3"))
    assert [line.split(":")[1] for line in caught.value.found.splitlines()] == [" line 1", " line 3"]


def test_the_cell_must_be_there_once_and_parse(cell, tmp_path):
    for text, options, words in [
        ("", {}, "the cell is empty"),
        ("a = 1  # one, 1..2", {"tags": ()}, "0 cells are tagged"),
        ("a = (", {}, "can't be parsed"),
    ]:
        with pytest.raises(ParameterError, match=".*") as caught:
            cell_parameters(cell(text, **options))
        assert words in caught.value.found
    (tmp_path / "07_test.ipynb").write_text("{not json")
    with pytest.raises(ParameterError) as caught:
        cell_parameters(tmp_path / "07_test.ipynb")
    assert "the file is no notebook" in caught.value.found


def test_a_cell_that_is_saved_again_is_read_again(cell):
    """Two saves within one tick of the file system's clock must not be confused."""
    for value in range(1, 50):
        assert cell_parameters(cell(f"steps = {value:02}  # steps, 0..99".replace("= 0", "= ")))["steps"].value == value


def test_names_of_an_injected_cell():
    assert assigned_names('# Parameters\nsteps = 3\nlevels = [1]\nprint("x")\n') == ["steps", "levels"]
