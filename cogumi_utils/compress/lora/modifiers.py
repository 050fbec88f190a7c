"""Tables about the domain adapters: who is asked what, how right they are, and what each may weigh at least."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from cogumi_utils import params
from cogumi_utils.data.cleaning import digest
from cogumi_utils.data.skills.specialist import specialist_skills
from cogumi_utils.judge import grade
from cogumi_utils.judge.costs import load_plan
from cogumi_utils.judge.sizes import LINEAR, LLAMA_3_1_8B, bound_bytes, lora_parameters
from cogumi_utils.judge.summary import share
from cogumi_utils.model import generate, sft
from cogumi_utils.schema import Example

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["digest", "grouped", "judged", "judged_off", "ladder", "size_table"]

NOTEBOOK = "10_modifiers"
SPECIALIST, KNOWN, ELSEWHERE = "the domain's new skills", "its known skills", "other domains"
CODE_BITS = 4
MATRICES = dict(zip(sft.MODULES, LINEAR, strict=True))


def grouped(frame: pd.DataFrame, domain: str) -> pd.DataFrame:
    """Graded answers with their `group`: the adapter's own skills, those of its domain that the base knows, others."""
    own = {skill.name for skill in specialist_skills(domain)}
    here, found = frame["domain"] == domain, frame.copy()
    found["group"] = here.map({True: KNOWN, False: ELSEWHERE})
    found.loc[here & frame["skill"].isin(own), "group"] = SPECIALIST
    return found


def judged(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    tests: Sequence[Example],
    domain: str,
    max_new_tokens: int,
) -> pd.DataFrame:
    """The frame of `judge.grade` over `tests`, with the column `group`."""
    answer = generate.answerer(model, tokenizer, max_new_tokens=max_new_tokens)
    return grouped(grade.evaluate(tests, answer), domain)


def judged_off(adapted: PeftModel, *args, **options) -> pd.DataFrame:
    """As `judged`, with the adapter off."""
    with adapted.disable_adapter():
        return judged(adapted, *args, **options)


def ladder(states: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """A row a state ({name: frame of `grouped`}), a column a group: share right with its interval and n."""
    import pandas as pd

    rows = []
    for name, frame in states.items():
        rows.append({"state": name, **{str(group): str(share(part)) for group, part in frame.groupby("group")}})
    return pd.DataFrame(rows)


def size_table(profile: str, config: Mapping[str, Any]) -> pd.DataFrame:
    """A row a domain of the profile: rank, sparsity, parameters and entropy bound on this student; and for the 8B at
    the brief's rank, beside the brief's size. Codes are counted as evenly used, scales left out: no file is smaller.
    """
    import pandas as pd

    rows, brief = [], load_plan()["modifiers"]
    for stage, values in params.load_profile(profile).items():
        if stage.partition("/")[0] != NOTEBOOK:
            continue
        domain, sparsity = values["domain"], values["sparsities"][-1]
        planned = brief[domain]
        here = _count(config, values["rank"], values["modules"])
        full = _count(LLAMA_3_1_8B, planned["rank"], values["modules"])
        rows.append({
            "domain": domain, "rank": values["rank"], "sparsity": sparsity, "parameters": here,
            "bound, kB": bound_bytes(here, sparsity, CODE_BITS) / 1e3, "8B: rank": planned["rank"],
            "8B: parameters": full, "8B: bound, MB": bound_bytes(full, sparsity, CODE_BITS) / 1e6,
            "8B: brief, MB": planned["mb"],
        })  # fmt: skip
    table = pd.DataFrame(rows)
    table["possible"] = table["8B: brief, MB"] >= table["8B: bound, MB"]
    return table


def _count(config: Mapping[str, Any], rank: int, modules: list[str]) -> int:
    return lora_parameters(config, rank, tuple(MATRICES[name] for name in modules) or LINEAR)
