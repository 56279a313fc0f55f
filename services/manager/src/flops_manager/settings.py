"""The manager's settings, from FLOPS_* environment variables."""

from __future__ import annotations

import os
import shlex
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Literal

from flops_protocol.identifiers import InstanceName, NodeName
from flops_registry.address import check
from flops_registry.opening import Access
from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


class Settings(BaseSettings):
    """Where things are, and how patient the manager is. Seconds, unless the name says otherwise."""

    model_config = SettingsConfigDict(env_prefix="FLOPS_", frozen=True, extra="ignore")

    broker: str = "mqtt://127.0.0.1:1883"
    credential_file: Path | None = None
    """`user:password` for the broker; absent where the broker is open."""
    connect_timeout: float = Field(default=10, gt=0)
    """How long the manager waits for the broker at its start."""
    session_seconds: int = Field(default=24 * 3600, ge=0)
    """How long the broker keeps for us what we miss while we are away."""
    instance: InstanceName = "manager-1"
    state_dir: Path = Path(".flops/manager")
    tracking_uri: str | None = None
    """MLflow's server, for the aggregators."""

    registry: str = Field(default=f"oci:{Path('.flops/registry').absolute()}")
    """An OCI layout folder, `oci:/absolute/path`, or a registry, `http(s)://host[:port][/namespace]`."""
    registry_credentials: Path | None = None
    """A file as Docker's `config.json`; without it, Docker's own of this user."""
    registry_ca: Path | None = None
    """Certificates of a private authority that the registry's may be signed by."""
    runtime_version: str = Field(default_factory=lambda: version("flops-protocol"))
    builder_version: str = Field(default_factory=lambda: version("flops-protocol"))
    base_image: str = "scratch"
    """What the layers stand on: `scratch`, an image in a registry by tag or digest, or `oci:/folder[:name]`."""

    engine: Literal["process"] = "process"
    engine_dir: Path = Path(".flops/engine")
    data_dir: Path = Path(".flops/data")
    cache_dir: Path = Path(".flops/cache")
    node: NodeName = "node-1"
    builder_command: Annotated[list[str], NoDecode] = [sys.executable, "-m", "flops_builder"]
    """How the process engine starts a builder; one string, split as a shell does."""
    actor_broker: str | None = None
    """Where actors find the broker, when that is another address than ours."""
    actor_credential_file: Path | None = None
    stop_actors_on_exit: bool = False
    """On SIGTERM, take actors down with the manager. Their projects go on at the next start."""
    scan_seconds: float = Field(default=10, gt=0)
    """How often nodes and their data are looked at."""

    local_repositories: Annotated[list[Path], NoDecode] = [Path("/")]
    """Folders below which a repository may be a local path, separated by colons; empty: none."""
    allow_http: bool = False
    """Whether a repository may come over http://, which anybody on the way can change."""
    git_ssh_key: Path | None = None
    git_ssh_command: str | None = None
    """What Git runs for ssh:// instead of `ssh`; for jump hosts and the like."""
    git_known_hosts: Path | None = None
    git_credentials: Path | None = None
    """A file as `git credential-store` has it, for https:// repositories."""
    git_seconds: float = Field(default=30, gt=0)

    plan_seconds: float = Field(default=90, gt=0)
    """How long a builder may think a build through for a plan, once it has started."""
    reconcile_seconds: float = Field(default=30, gt=0)
    actor_restarts: int = Field(default=3, ge=0)
    builder_restarts: int = Field(default=1, ge=0)
    start_seconds: float = Field(default=60, gt=0)
    lost_seconds: float = Field(default=30, gt=0)
    grace_seconds: float = Field(default=5, ge=0)
    """How long an actor may take to stop before it is killed."""

    @property
    def contact(self) -> dict[str, str]:
        """What every actor is told about the broker, as its environment."""
        told = {"FLOPS_BROKER": self.actor_broker or self.broker}
        if self.actor_credential_file is not None:
            told["FLOPS_CREDENTIAL_FILE"] = str(self.actor_credential_file.absolute())
        return told

    @property
    def access(self) -> Access:
        """How the registry is reached."""
        return Access(self.registry_credentials, self.registry_ca)

    @field_validator("registry")
    @classmethod
    def _registry(cls, value: str) -> str:
        return check(value)

    @field_validator("local_repositories", mode="before")
    @classmethod
    def _folders(cls, value: object) -> object:
        return [Path(part) for part in value.split(os.pathsep) if part] if isinstance(value, str) else value

    @field_validator("builder_command", mode="before")
    @classmethod
    def _words(cls, value: object) -> object:
        return shlex.split(value) if isinstance(value, str) else value
