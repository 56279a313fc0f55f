"""What a builder is started with, and the limits it keeps."""

from __future__ import annotations

import os
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

from flops_protocol.identifiers import InstanceName, PlanId, ProjectId
from flops_registry.compression import Compression
from flops_registry.distribution.book import BlobBook
from flops_registry.opening import Access
from flops_registry.uses import UseBook
from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from flops_builder.image.packing import Packer

MEBIBYTE = 1024 * 1024


class BuilderSettings(BaseSettings):
    """Read from the environment, prefix `FLOPS_`. The first block is the launch contract of every actor."""

    model_config = SettingsConfigDict(env_prefix="FLOPS_", frozen=True, extra="ignore")

    broker: str = "mqtt://127.0.0.1:1883"
    project: ProjectId = "project"
    plan: PlanId | None = None
    """Set: the builder belongs to a plan, not to a project; it thinks a build through, and makes nothing."""
    instance: InstanceName = "builder"
    credential_file: Path | None = None
    cache_dir: Path = Path("/var/lib/flops/cache")

    builder_version: str = Field(default_factory=lambda: version("flops-builder"))
    """Part of the image key, as the manager computes it."""
    base_image: str = "scratch"
    """What the layers stand on, where the command does not say: `scratch` (the node brings Python), an image in a
    registry by tag or digest, or `oci:/folder[:name]`."""
    registry_credentials: Path | None = None
    """A file as Docker's `config.json`; without it, Docker's own of the user who builds."""
    registry_ca: Path | None = None
    """Certificates of a private authority that the registry's may be signed by."""
    registry_compression: Compression = "gzip"
    """How layers are compressed for a registry over HTTP. `zstd` where registry and engines take it."""
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
    torch_cpu_index: str | None = None
    """An index (its URL), or a folder of wheels, with PyTorch's builds for the CPU; None: PyTorch's own index."""
    lock_hours: float = Field(default=24, ge=0)
    """How long a resolved lock counts for the same requirements."""

    conda_channels: Annotated[list[str], NoDecode] = []
    """Channels for what PyPI cannot serve, the most important first, separated by commas: names, addresses, folders.
    Empty: those of conda's own settings on this machine."""
    conda_channel_names: Annotated[dict[str, list[str]], NoDecode] = {}
    """Addresses of channels that files name: `name=address`, separated by commas; a name may have several."""
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

    @property
    def access(self) -> Access:
        """How a registry is reached."""
        return Access(self.registry_credentials, self.registry_ca)

    @property
    def blob_book(self) -> BlobBook:
        """What is known of the blobs of registries."""
        return BlobBook(self.cache_dir / "registries")

    @property
    def uses(self) -> UseBook:
        """When images of a server were used last: what `flops images` reads."""
        return UseBook(self.cache_dir / "images")

    @property
    def packer(self) -> Packer:
        """Compresses layers."""
        return Packer(self.cache_dir / "packed", self.registry_compression)

    @field_validator("conda_channels", mode="before")
    @classmethod
    def _channels(cls, value: object) -> object:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @field_validator("conda_channel_names", mode="before")
    @classmethod
    def _channel_names(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        names: dict[str, list[str]] = {}
        for part in value.split(","):
            name, equals, address = part.strip().partition("=")
            if part.strip() and not (name and equals and address):
                raise ValueError(f"{part.strip()!r} is no name=address")
            if address:
                names.setdefault(name, []).append(address)
        return names

    @field_validator("local_repositories", mode="before")
    @classmethod
    def _folders(cls, value: object) -> object:
        return [Path(part) for part in value.split(os.pathsep) if part] if isinstance(value, str) else value
