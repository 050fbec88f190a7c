# One rule per stage, made from the graph of stages (cogumi_utils/stages.py). `./run_all.sh` is the face of this file;
# by hand: snakemake --directory outputs/tiny --config profile=tiny --cores 2
import os
import sys

sys.path.insert(0, workflow.basedir)  # this checkout's package, whatever else is installed
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (workflow.basedir, os.environ.get("PYTHONPATH"))))
from cogumi_utils import execution, hardware, kernel, stages

if os.environ.get(kernel.TIE_ENV):
    kernel.die_with_parent()

PYTHON = sys.executable
PROFILE = config.get("profile", "tiny")
THREADS = int(config.get("threads", hardware.cpu_cores()))
GPU = int(config.get("gpu", 0))  # 1: a stage takes a whole GPU
DOMAINS = config.get("domains")  # such as math,science, or all; none given: the profile's own
GRAPH = stages.graph(PROFILE, None if DOMAINS is None else str(DOMAINS).split(","))


rule all:
    input:
        [f"{name}/manifest.json" for name in GRAPH],


for number, stage in enumerate(GRAPH.values()):

    rule:
        name:
            execution.rule_name(stage.name)
        input:
            [f"{upstream}/manifest.json" for upstream in stage.upstreams],
        output:
            f"{stage.name}/manifest.json",
        params:
            stage=stage.name,
            key=stages.stage_key(stage.name, PROFILE),
        priority: len(GRAPH) - number  # in their order, where the graph leaves a choice
        threads: THREADS
        resources:
            gpu=GPU,
        shell:
            "exec {PYTHON:q} -m cogumi_utils.runner {params.stage:q} --profile {PROFILE:q} --threads {threads}"
