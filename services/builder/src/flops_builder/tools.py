"""What a build works with: uv with the site's indexes, the caches, and a Python of the minor."""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import anyio
import uv
from flops_protocol.sla import Platform

from flops_builder.conda.channels import Channels, site_channels
from flops_builder.conda.resolver import CondaResolver
from flops_builder.conda.solver import open_gateway
from flops_builder.conda.workshop import CondaWorkshop
from flops_builder.engine.interface import Engine
from flops_builder.image.bytecode import PROCESSES, Compiler, find_python
from flops_builder.image.environment import Workshop
from flops_builder.image.layer import LayerCache
from flops_builder.plan import Plan
from flops_builder.resolve.index import site_index
from flops_builder.resolve.lock import LockStore
from flops_builder.resolve.resolver import Resolver
from flops_builder.resolve.uv import Uv
from flops_builder.settings import BuilderSettings

MACHINES: dict[str, Platform] = {"x86_64": "linux/amd64", "aarch64": "linux/arm64", "arm64": "linux/arm64"}


@dataclass(frozen=True)
class Tools:
    """For one repository. Those of the ML environment know the indexes that the repository names; ours do not."""

    workshop: Workshop
    resolver: Resolver
    ml_workshop: Workshop
    ml_resolver: Resolver
    conda: CondaResolver
    """For ML environments that PyPI cannot serve."""
    python: Path | None
    """An interpreter of the plan's minor; None: this machine has none."""
    engine: Engine | None = None
    """A container engine; None: there is none, or none is to be used."""


def channels_of(settings: BuilderSettings) -> Channels:
    """The conda channels of this machine."""
    return site_channels(settings.conda_channels, settings.conda_channel_names, os.environ)


def host_platform() -> Platform:
    """The platform of this machine."""
    return MACHINES.get(platform.machine(), "linux/amd64")


async def tools_for(plan: Plan, settings: BuilderSettings, work: Path, engine: Engine | None = None) -> Tools:
    """The tools for a plan; `work` is for scratch."""
    cache = settings.cache_dir
    index = site_index(os.environ, cache).for_cpu(settings.torch_cpu_index)
    tool = Uv(index, settings.index_seconds, uv.find_uv_bin())
    if plan.python == f"{sys.version_info.major}.{sys.version_info.minor}":
        python: Path | None = Path(sys.executable)
    else:
        python = await find_python(plan.python, tool.binary, index.environment, work)
    compilers, scratch = anyio.CapacityLimiter(PROCESSES), work / "resolve"
    compiler = Compiler(python, plan.python, cache / "bytecode", compilers) if python else None
    layers, locks = LayerCache(cache / "layers"), LockStore(cache / "locks", settings.lock_hours)
    ml_tool = replace(tool, index=index.with_options(plan.declaration.options))
    ml_workshop, ml_resolver = Workshop(ml_tool, layers, cache, compiler), Resolver(ml_tool, locks, scratch)
    conda = CondaWorkshop(ml_workshop, channels_of(settings), compilers, host_platform())
    return Tools(
        workshop=Workshop(tool, layers, cache, compiler),
        resolver=Resolver(tool, locks, scratch),
        ml_workshop=ml_workshop,
        ml_resolver=ml_resolver,
        conda=CondaResolver(conda, ml_resolver, open_gateway(cache), settings.index_seconds),
        python=python,
        engine=engine,
    )
