"""Numbers of devices and machines, and this process's rank, from options or the launcher's environment."""

from __future__ import annotations

import os


def cluster_size(devices: int | None, nodes: int | None) -> tuple[int, int]:
    """Devices on each machine, and machines: as given, else torchrun's numbers of processes, else one."""
    local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # torchrun's
    world = int(os.environ.get("WORLD_SIZE", "1")) if "LOCAL_WORLD_SIZE" in os.environ else 1
    return devices or local, nodes or world // local


def is_first_process() -> bool:
    """Whether this process is the first of its run, which prints for all, before they are connected."""
    # Set by torchrun, by srun, and by Lightning Fabric for its child processes.
    ranks = ("RANK", "SLURM_PROCID", "LOCAL_RANK")
    return next((os.environ[name] for name in ranks if name in os.environ), "0") == "0"
