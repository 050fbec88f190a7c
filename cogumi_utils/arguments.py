"""The words of `./run_all.sh`, read with the standard library alone: a typo is refused before anything is installed."""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Iterable, Sequence
from typing import NoReturn

from cogumi_utils.errors import CogumiError
from cogumi_utils.paths import params_dir

USAGE = "./run_all.sh [profile] [options]   or   ./run_all.sh test [pytest options]"


class UsageError(CogumiError):
    """A word that run_all.sh does not know."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(
            expected=USAGE, found=message, why="the rest of the line can't be understood", fix="./run_all.sh --help"
        )


def parser() -> argparse.ArgumentParser:
    made = _Parser(prog="run_all.sh", usage=USAGE, allow_abbrev=False, description="Run the notebooks of a profile.")
    made.add_argument("profile", nargs="?", default="tiny", help="folder of params/ (default: tiny)")
    made.add_argument("--only", action="append", metavar="S", help="this stage alone (may be repeated)")
    made.add_argument("--from", dest="from_", metavar="S", help="this stage and all after it")
    made.add_argument("--to", metavar="S", help="all stages up to this one")
    made.add_argument(
        "--domains", type=_names, action="extend", metavar="LIST", help="all, or such as math,science, of 10_modifiers"
    )
    made.add_argument("--jobs", type=int, default=1, metavar="N", help="stages at a time (default: 1)")
    made.add_argument("--dry-run", action="store_true", help="print the plan, with minutes and dollars, and stop")
    made.add_argument("--fresh", action="store_true", help="run the chosen stages even where nothing changed")
    return made


def parse(words: Sequence[str]) -> argparse.Namespace:
    """The options; what follows `--` is kept for Snakemake (`.snakemake`). Unknown words raise UsageError."""
    words, _, extra = _split(list(words))
    options, unknown = parser().parse_known_args(words)
    if unknown:
        raise _unknown("option", unknown[0], [*parser()._option_string_actions, "test"])
    known = profile_names()
    if options.profile not in known:
        raise _unknown("profile", options.profile, [*known, "test"])
    if options.jobs < 1:
        parser().error(f"--jobs {options.jobs}: at least 1")
    if options.only and (options.from_ or options.to):
        parser().error("--only together with --from or --to")
    options.snakemake = extra
    return options


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]


def _split(words: list[str]) -> tuple[list[str], str, list[str]]:
    at = words.index("--") if "--" in words else len(words)
    return words[:at], "--", words[at + 1 :]


def profile_names() -> list[str]:
    """`smoke` (the notebooks' own values) and the folders of params/."""
    folders = (path.name for path in params_dir().iterdir() if path.is_dir() and not path.name.startswith("."))
    return sorted({"smoke", *folders})


def _unknown(what: str, word: str, known: Iterable[str]) -> UsageError:
    known = [name for name in known if name != "-h"]
    near = difflib.get_close_matches(word, known, 1, 0.4)
    return UsageError(
        expected=f"a {what}: {', '.join(sorted(known))}",
        found=repr(word),
        why=f"there is no such {what}",
        fix=f"did you mean {near[0]}?" if near else "./run_all.sh --help",
    )


def main() -> int:
    try:
        parse(sys.argv[1:])
    except CogumiError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
