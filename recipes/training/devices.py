"""Numbers of devices and machines, and this process's rank, from options or the launcher's environment."""

from __future__ import annotations

import os


def number_in(name: str, minimum: int) -> int:
    """The whole number in an environment variable, 1 if there is none; ValueError for anything else."""
    text = os.environ.get(name, "1")
    if not (text.strip().isdecimal() and int(text) >= minimum):
        raise ValueError(f"{name}={text} in the environment: expected a number from {minimum} on")
    return int(text)


def cluster_size(devices: int | None, nodes: int | None) -> tuple[int, int]:
    """Devices on each machine, and machines: as given, else torchrun's numbers of processes, else one."""
    local = number_in("LOCAL_WORLD_SIZE", 1)  # torchrun's
    world = number_in("WORLD_SIZE", 1) if "LOCAL_WORLD_SIZE" in os.environ else 1
    for rank in ("RANK", "LOCAL_RANK"):  # which Lightning Fabric reads
        number_in(rank, 0)
    return devices or local, nodes or world // local


def is_first_process() -> bool:
    """Whether this process is the first of its run, which prints for all, before they are connected."""
    # Set by torchrun, by srun, and by Lightning Fabric for its child processes.
    ranks = ("RANK", "SLURM_PROCID", "LOCAL_RANK")
    return next((os.environ[name] for name in ranks if name in os.environ), "0") == "0"
