"""Crash-safe checkpoints: a checkpoint exists only once its manifest, written last, verifies.

`transformers.Trainer` writes into the folder that resume later trusts by its number alone, so a run killed in the
middle of a save resumes from half a checkpoint. Here each save is flushed and then named by a manifest with the
digest of every file; whatever does not verify is removed before training starts. Optimiser state is torch's own
format, made and read by this run alone, and loaded with `weights_only` after its digest was checked.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from cogumi_utils.artifacts import describe, files_below, fsync_path, verify, write_manifest
from cogumi_utils.errors import CogumiError


class CertifyCheckpoints(TrainerCallback):
    """Write the manifest of each checkpoint after the Trainer has written everything else."""

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs) -> None:
        certify(Path(args.output_dir) / f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}")


def certify(folder: Path) -> None:
    """Flush every file of `folder`, then write the manifest that names them."""
    files = files_below(folder)
    for file in files:
        fsync_path(folder / file)
    write_manifest(folder, {"stage": folder.name, "outputs": describe(folder, files)})


def newest_verified(folder: Path) -> Path | None:
    """The checkpoint with the most steps that verifies; those that do not are removed on the way."""
    for checkpoint in sorted(folder.glob(f"{PREFIX_CHECKPOINT_DIR}-*"), key=_steps, reverse=True):
        try:
            verify(checkpoint)
        except CogumiError:
            shutil.rmtree(checkpoint)
            continue
        return checkpoint
    return None


def _steps(checkpoint: Path) -> int:
    return int(checkpoint.name.rsplit("-", 1)[1])
