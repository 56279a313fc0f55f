"""This machine as a node of the mesh."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Sequence
from pathlib import Path

from flops_protocol.errors import FlopsError
from flops_protocol.messages.mesh import Capability, DataTag, NodeStatus
from flops_protocol.sla import Platform

_ARCHITECTURES: dict[str, Platform] = {
    "x86_64": "linux/amd64",
    "amd64": "linux/amd64",
    "aarch64": "linux/arm64",
    "arm64": "linux/arm64",
}


def this_platform() -> Platform:
    """The platform whose images run here.

    :raises FlopsError: FLOPS-D005 when there is none
    """
    system, machine = platform.system(), platform.machine().lower()
    if system != "Linux" or machine not in _ARCHITECTURES:
        raise FlopsError(
            "FLOPS-D005",
            f"the process engine runs Linux images on amd64 and arm64; this machine is {system} on {machine}",
            hint="Run the mesh in a Linux machine, virtual or not.",
        )
    return _ARCHITECTURES[machine]


def describe(name: str, pythons: Sequence[str], tags: Sequence[DataTag], folder: Path, actors: int) -> NodeStatus:
    """The node as it is now. `folder` says which disk counts."""
    return NodeStatus(
        node=name,
        engine="process",
        state="up",
        platform=this_platform(),
        pythons=list(pythons),
        capabilities=[Capability.IMAGE_BUILDER, Capability.AGGREGATOR, Capability.LEARNER],
        data_tags=list(tags),
        cpus=len(os.sched_getaffinity(0)),
        memory_bytes=_memory(),
        disk_free_bytes=shutil.disk_usage(folder).free,
        gpus=len(list(Path("/dev").glob("nvidia[0-9]*"))),
        actors=actors,
    )


def _memory() -> int:
    """What the machine has, or what the control group that we are in leaves of it."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            limit = Path(path).read_text().strip()
        except OSError:
            continue
        if limit.isdecimal():
            total = min(total, int(limit))
    return total
