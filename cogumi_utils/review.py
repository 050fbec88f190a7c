"""What the finished stages of a profile recorded: gates, costs, and whether each gate reaches raw rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cogumi_utils.gates import Gate
from cogumi_utils.lineage import finished_stages, open_ref, trace
from cogumi_utils.publish import partial_dir
from cogumi_utils.stats import Interval

if TYPE_CHECKING:
    import pandas as pd


def reviewed_stages(profile: str) -> dict[str, dict[str, Any]]:
    """{stage: manifest} of the finished stages, in their order, without those that are being made again.

    A review that runs again would otherwise find its own last run, and judge what that one had read.
    """
    stages = finished_stages(profile)
    return {stage: made for stage, made in stages.items() if not partial_dir(profile, stage).exists()}


def recorded_gates(profile: str) -> list[Gate]:
    """Every gate of the reviewed stages, in their order."""
    manifests = reviewed_stages(profile).values()
    return [Gate.from_dict(entry) for manifest in manifests for entry in manifest["gates"].values()]


def stage_table(profile: str) -> pd.DataFrame:
    """stage, minutes, peak memory, dollars and headline, as each manifest has them."""
    import pandas as pd

    rows = [
        (stage, made["seconds"] / 60, made["peak_memory_bytes"] / 1e6, made["cost_usd"], made["headline"])
        for stage, made in reviewed_stages(profile).items()
    ]
    return pd.DataFrame(rows, columns=["stage", "minutes", "peak MB", "USD", "headline"])


def tables(profile: str, name: str) -> pd.DataFrame:
    """The rows of every reviewed stage's table of that name (see `Run.table`), with their `stage` in front."""
    import pandas as pd

    entry = f"tables/{name}.csv"
    stages = [stage for stage, made in reviewed_stages(profile).items() if entry in made["outputs"]]
    found = [pd.read_csv(open_ref(f"{stage}/{entry}", profile)[0]).assign(stage=stage) for stage in stages]
    if not found:
        return pd.DataFrame(columns=["stage"])
    table = pd.concat(found, ignore_index=True)
    return table[["stage", *(column for column in table if column != "stage")]]


def metric(profile: str, name: str) -> dict[str, Interval]:
    """{stage: value with its interval} of every reviewed stage that recorded a metric of that name."""
    found = {
        stage: made["metrics"][name] for stage, made in reviewed_stages(profile).items() if name in made["metrics"]
    }
    return {
        stage: Interval(one["value"], one["low"], one["high"], one["n"], one["unit"]) for stage, one in found.items()
    }


def lineages(profile: str) -> pd.DataFrame:
    """gate, verdict, the raw sources behind it, and whether every manifest on the way is unchanged."""
    import pandas as pd

    rows = []
    for gate in recorded_gates(profile):
        tree = trace(gate.name, profile)
        rows.append((gate.name, gate.verdict, ", ".join(sorted(tree.raw())), tree.intact()))
    return pd.DataFrame(rows, columns=["gate", "verdict", "raw sources", "intact"])
