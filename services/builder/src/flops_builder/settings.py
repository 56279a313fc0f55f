"""What a builder is started with, and the limits it keeps."""

from __future__ import annotations

import os
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Literal

from flops_protocol.identifiers import InstanceName, ProjectId
from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

MEBIBYTE = 1024 * 1024


class BuilderSettings(BaseSettings):
    """Read from the environment, prefix `FLOPS_`. The first block is the launch contract of every actor."""

    model_config = SettingsConfigDict(env_prefix="FLOPS_", frozen=True, extra="ignore")

    broker: str = "mqtt://127.0.0.1:1883"
    project: ProjectId = "project"
    instance: InstanceName = "builder"
    credential_file: Path | None = None
    cache_dir: Path = Path("/var/lib/flops/cache")

    builder_version: str = Field(default_factory=lambda: version("flops-builder"))
    """Part of the image key, as the manager computes it."""
    base_image: Literal["scratch"] = "scratch"
    """What the layers stand on. Only `scratch` is built in: the node brings Python."""
    glibc: str = Field(default="2.28", pattern=r"^2\.[0-9]+$")
    """The oldest C library that the wheels must run on (PEP 600)."""
    runtime_wheels: Path | None = None
    """A folder with the wheels of our own packages; without it, the packages that are installed beside the builder."""

    local_repositories: Annotated[list[Path], NoDecode] = [Path("/")]
    """Folders below which a repository may be a local path, separated by colons; empty: none."""
    allow_http: bool = False
    """Whether a repository may come over http://, which anybody on the way can change."""
    git_ssh_key: Path | None = None
    """A deploy key for ssh:// repositories."""
    git_ssh_command: str | None = None
    """What Git runs for ssh:// instead of `ssh`; for jump hosts and the like."""
    git_known_hosts: Path | None = None
    git_credentials: Path | None = None
    """A file as `git credential-store` has it, for https:// repositories."""
    clone_seconds: float = Field(default=300, gt=0)
    max_repository_bytes: int = Field(default=200 * MEBIBYTE, gt=0)
    max_file_bytes: int = Field(default=100 * MEBIBYTE, gt=0)
    max_files: int = Field(default=20_000, gt=0)

    index_seconds: float = Field(default=300, gt=0)
    """How long one question to the package index, or one installation, may take."""
    lock_hours: float = Field(default=24, ge=0)
    """How long a resolved lock counts for the same requirements."""

    build_wheels: bool = True
    """Whether a package that has no wheel may be built from its source."""
    wheel_seconds: float = Field(default=900, gt=0)
    """How long building one wheel may take."""
    wheel_memory_bytes: int = Field(default=4096 * MEBIBYTE, gt=0)
    wheel_processes: int = Field(default=256, gt=0)
    wheel_file_bytes: int = Field(default=2048 * MEBIBYTE, gt=0)
    """How big a file that a build writes may become."""
    max_source_bytes: int = Field(default=512 * MEBIBYTE, gt=0)
    """How big a source archive may be."""
    max_source_files: int = Field(default=50_000, gt=0)

    engine: str = ""
    """The container engine for what cannot be assembled: `unix:///…`, `tcp://…`, `ssh://…`; empty: the local one."""
    engine_builds: bool = True
    """Whether a repository's Dockerfile and apt.txt count; what they need an engine for is left out else."""
    engine_base_image: str = "python:{python}-slim"
    """What an apt.txt starts from where `base_image` is `scratch`. `{python}` and `{arch}` are filled in."""
    engine_wheel_image: str = "python:{python}"
    """In which wheels for other platforms are built: it needs that Python, and a compiler."""

    smoke_seconds: float = Field(default=60, gt=0)
    smoke_memory_bytes: int = Field(default=4096 * MEBIBYTE, gt=0)
    """Address space of the smoke round, where the SLA does not say more."""

    @field_validator("local_repositories", mode="before")
    @classmethod
    def _folders(cls, value: object) -> object:
        return [Path(part) for part in value.split(os.pathsep) if part] if isinstance(value, str) else value
