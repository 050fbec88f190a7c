"""Weights & Biases behind one small face, and a null logger with the same face where it is off.

Only this module imports wandb, and only when a run wants it. It is online when the user is logged in, offline otherwise
(`wandb sync` sends the files later), and off for the profile `smoke` unless WANDB_MODE says so.
"""

from __future__ import annotations

import netrc
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    import pandas as pd

PROJECT = "cogumi"
ONLINE_SECONDS = 20  # then the run goes on offline


class NullTracker:
    """Takes everything and keeps nothing."""

    why = "off"

    def log(self, values: dict[str, Any], step: int | None = None) -> None: ...

    def image(self, name: str, path: Path, caption: str) -> None: ...

    def table(self, name: str, frame: pd.DataFrame) -> None: ...

    def summary(self, values: dict[str, Any]) -> None: ...

    def finish(self) -> None: ...


class WandbTracker(NullTracker):
    """The same calls, sent to one W&B run."""

    def __init__(self, run: Any, why: str):
        self._run, self.why = run, why

    def log(self, values: dict[str, Any], step: int | None = None) -> None:
        self._run.log(values, step=step)

    def image(self, name: str, path: Path, caption: str) -> None:
        import wandb

        self._run.log({name: wandb.Image(str(path), caption=caption)})

    def table(self, name: str, frame: pd.DataFrame) -> None:
        import wandb

        # mixed columns are common in tables for people, and wandb refuses them: numbers stay, the rest becomes text
        columns = {
            column: values if values.dtype.kind in "iuf" else values.astype(str) for column, values in frame.items()
        }
        self._run.log({name: wandb.Table(dataframe=type(frame)(columns), allow_mixed_types=True)})

    def summary(self, values: dict[str, Any]) -> None:
        self._run.summary.update(values)

    def finish(self) -> None:
        import wandb

        self._run.finish()
        wandb.teardown()  # finish returns before the files are whole; this waits for them


def choose_mode(profile: str) -> tuple[str, str]:
    """(mode, why) with mode "disabled", "offline" or "online"; WANDB_MODE wins over everything."""
    asked = os.environ.get("WANDB_MODE", "").lower()
    if asked in ("disabled", "offline", "online"):
        return asked, f"WANDB_MODE={asked}"
    if profile == "smoke":
        return "disabled", "the profile smoke logs nothing"
    return ("online", "logged in") if logged_in() else ("offline", "not logged in")


def logged_in() -> bool:
    """Whether an API key is at hand for W&B's host: in WANDB_API_KEY or in the netrc file."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    path = Path(os.environ.get("NETRC") or Path.home() / ".netrc")
    try:
        return netrc.netrc(path).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False


def open_tracker(stage: str, profile: str, config: dict[str, Any], folder: Path) -> NullTracker:
    """A tracker for one run; files go to `folder`. A server that can't be reached costs seconds, never the run."""
    mode, why = choose_mode(profile)
    if mode == "disabled":
        tracker = NullTracker()
        tracker.why = f"off: {why}"
        return tracker
    try:
        return WandbTracker(_init(stage, profile, config, folder, mode), f"{mode}: {why}")
    except Exception as error:  # noqa: BLE001 - wandb raises many kinds, and none of them may end a paid run
        if mode == "offline":
            tracker = NullTracker()
            tracker.why = f"off: {type(error).__name__}"
            return tracker
        run = _init(stage, profile, config, folder, "offline")
        return WandbTracker(run, f"offline: {type(error).__name__} while connecting")


def _init(stage: str, profile: str, config: dict[str, Any], folder: Path, mode: str) -> Any:
    import wandb

    folder.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("WANDB_DISABLE_WEAVE", "true")  # else it advertises Weave wherever openai is loaded
    settings = wandb.Settings(
        silent=True, console="off", disable_git=True, disable_job_creation=True, save_code=False,
        init_timeout=ONLINE_SECONDS, x_disable_meta=True,
    )  # fmt: skip
    return wandb.init(
        project=PROJECT, name=f"{profile}/{stage}", group=profile, job_type=stage, config=config,
        dir=folder, mode=mode, reinit="finish_previous", settings=settings,
    )  # fmt: skip
