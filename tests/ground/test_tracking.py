"""W&B: when it is on, what it is sent, and that it never ends a run."""

import inspect
import socket
import sys

import pandas as pd
import psutil
import pytest

from cogumi_utils import tracking
from cogumi_utils.tracking import NullTracker, WandbTracker, choose_mode, open_tracker


@pytest.fixture(autouse=True)
def _no_account(monkeypatch, tmp_path):
    """No key, no netrc file, nothing from the caller's own W&B settings."""
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


@pytest.mark.parametrize(
    "profile, env, mode, why",
    [
        ("smoke", {}, "disabled", "the profile smoke logs nothing"),
        ("tiny", {}, "offline", "not logged in"),
        ("tiny", {"WANDB_API_KEY": "k"}, "online", "logged in"),
        ("smoke", {"WANDB_API_KEY": "k"}, "disabled", "the profile smoke logs nothing"),
        ("smoke", {"WANDB_MODE": "offline"}, "offline", "WANDB_MODE=offline"),
        ("tiny", {"WANDB_MODE": "disabled", "WANDB_API_KEY": "k"}, "disabled", "WANDB_MODE=disabled"),
        ("tiny", {"WANDB_MODE": "online"}, "online", "WANDB_MODE=online"),
    ],
)
def test_who_decides(monkeypatch, profile, env, mode, why):
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    assert choose_mode(profile) == (mode, why)


def test_a_login_kept_in_the_netrc_file_counts_for_its_host_only(tmp_path, monkeypatch):
    (tmp_path / "netrc").write_text("machine api.wandb.ai login user password key\n")
    assert tracking.logged_in()
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org")
    assert not tracking.logged_in()
    (tmp_path / "netrc").write_text("not a netrc file at all {")
    assert not tracking.logged_in()


def test_both_trackers_have_one_face():
    for name, function in inspect.getmembers(NullTracker, inspect.isfunction):
        assert inspect.signature(getattr(WandbTracker, name)) == inspect.signature(function)
    assert {"log", "image", "table", "summary", "finish"} <= set(dir(NullTracker))


def use(tracker: NullTracker, folder) -> None:
    from matplotlib.figure import Figure

    Figure(figsize=(1, 1)).savefig(folder / "f.png")
    tracker.log({"loss": 1.0}, step=1)
    tracker.image("figure", folder / "f.png", "A figure")
    tracker.table("mixed", pd.DataFrame({"name": ["a", 3], "share": [0.5, float("nan")]}))
    tracker.summary({"accuracy": 0.5})
    tracker.finish()


def test_the_null_tracker_loads_nothing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)  # an import would raise
    tracker = open_tracker("02_a", "smoke", {}, tmp_path / "wandb")
    use(tracker, tmp_path)
    assert tracker.why == "off: the profile smoke logs nothing" and not (tmp_path / "wandb").exists()


def test_an_offline_run_writes_its_files_and_prints_nothing(tmp_path, capfd):
    tracker = open_tracker("02_a", "tiny", {"steps": 3}, tmp_path / "wandb")
    assert (type(tracker), tracker.why) == (WandbTracker, "offline: not logged in")
    assert any("wandb" in child.name() for child in psutil.Process().children(recursive=True))
    use(tracker, tmp_path)
    # its server has ended, so the files are whole
    assert not any("wandb" in child.name() for child in psutil.Process().children(recursive=True))
    (log,) = (tmp_path / "wandb").glob("wandb/offline-run-*/*.wandb")
    sent = log.read_bytes()
    for word in (b"loss", b"accuracy", b"figure", b"mixed", b"tiny/02_a", b"steps"):
        assert word in sent, word
    shown = capfd.readouterr()
    assert (shown.out, shown.err) == ("", "")


def test_a_server_that_refuses_costs_seconds_and_not_the_run(tmp_path, monkeypatch, capfd):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: every connection is refused
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{taken.getsockname()[1]}")
        monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
        monkeypatch.setattr(tracking, "ONLINE_SECONDS", 3)
        tracker = open_tracker("02_a", "tiny", {}, tmp_path / "wandb")
        use(tracker, tmp_path)
    assert tracker.why.startswith("offline: ") and tracker.why.endswith(" while connecting")


def test_a_broken_wandb_is_switched_off(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    tracker = open_tracker("02_a", "tiny", {}, tmp_path / "wandb")
    use(tracker, tmp_path)
    assert tracker.why == "off: ModuleNotFoundError"
