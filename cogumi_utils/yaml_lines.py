"""YAML files read safely, with the line of every top-level key; a key given twice is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from cogumi_utils.errors import CogumiError


class YamlError(CogumiError):
    """A YAML file that can't be read as a mapping."""


class _UniqueKeys(yaml.SafeLoader):
    """The safe loader, which takes the last of two equal keys in silence, made to refuse the second."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                problem = f"the key {key!r} is given twice"
                raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> tuple[dict[str, Any], dict[str, int]]:
    """(values, line number of each top-level key) of a YAML mapping; an empty file gives two empty dicts."""
    try:
        loader = _UniqueKeys(path.read_text(encoding="utf-8"))
        node = loader.get_single_node()
        values = loader.construct_document(node) if node else {}
    except (yaml.YAMLError, UnicodeDecodeError, TypeError) as error:  # TypeError: a list as a key
        raise _unreadable(path, error) from None
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
        names = [name for name in values if not isinstance(name, str)] if isinstance(values, dict) else []
        raise YamlError(
            expected=f"{path} to hold lines of `name: value`",
            found=f"{path}: {f'the name {names[0]!r}, which is no text' if names else f'a {type(values).__name__}'}",
            why="a parameter file maps names to values",
            fix=f"write `name: value` lines in {path}",
        )
    lines = {key.value: key.start_mark.line + 1 for key, _ in node.value} if node else {}
    return values, lines


def _unreadable(path: Path, error: Exception) -> YamlError:
    mark = getattr(error, "problem_mark", None)
    line = f":{mark.line + 1}" if mark else ""
    return YamlError(
        expected="YAML that can be read, each key once",
        found=f"{path}{line}: {getattr(error, 'problem', None) or error}",
        why="a file that is read in part would run with values nobody chose",
        fix=f"mend {path}{line}",
    )
