"""How many devices and machines a run uses, and which process this is, as told or as its launcher has it."""

from __future__ import annotations

import os


def cluster_size(devices: int | None, nodes: int | None) -> tuple[int, int]:
    """Devices on each machine, and machines: as given, else torchrun's numbers of processes, else one."""
    local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # torchrun's
    world = int(os.environ.get("WORLD_SIZE", "1")) if "LOCAL_WORLD_SIZE" in os.environ else 1
    return devices or local, nodes or world // local


def is_first_process() -> bool:
    """Whether this process is the first of its run, which prints for all, before they are connected."""
    ranks = (
        "RANK",
        "SLURM_PROCID",
        "LOCAL_RANK",
    )  # of torchrun, of srun, of Lightning Fabric's children
    return next((os.environ[name] for name in ranks if name in os.environ), "0") == "0"
