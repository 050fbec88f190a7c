"""For all tests: the same numbers on every machine, nothing sent anywhere."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # sums in one order whatever the cores; set before torch is loaded
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("WANDB_MODE", "disabled")
os.environ.pop("COGUMI_OUTPUTS", None)
