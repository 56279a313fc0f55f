"""The aggregator's settings, from FLOPS_* environment variables."""

from __future__ import annotations

import ipaddress
import sys
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Who this process is, where its image and its own folder are, and where learners reach it."""

    model_config = SettingsConfigDict(env_prefix="FLOPS_", frozen=True)

    broker: str = "mqtt://127.0.0.1:1883"
    project: str
    instance: str = "aggregator"
    node: str = "local"
    credential_file: Path | None = None
    image_root: Path = Path("/opt/flops")
    state_dir: Path = Path("/var/lib/flops/state")
    python: str = sys.executable
    """The interpreter of the ML worker and of the tracker: this one, unless the image brings its own."""
    packages: Path | None = None
    """Where the packages of an interpreter that the image brings are (conda's site-packages); None: in `mlenv`."""
    host: str = "127.0.0.1"
    """The name or address that learners are told."""
    bind: str | None = None
    """The address to listen on; None: every one, unless `host` is this machine alone."""
    port: int = Field(default=0, ge=0, le=65535)
    """0 takes a free one."""
    tls: bool | None = None
    """None: encrypted, unless `host` is this machine alone."""
    join_grace_seconds: float = Field(default=5.0, ge=0)
    """How long learners that are on their way are waited for, once there are enough to begin."""
    rejoin_seconds: float = Field(default=60.0, gt=0)
    """How long lost learners are waited for when too few are left for a round."""
    keepalive_timeout_seconds: float = Field(default=3.0, gt=0)
    """How long the other side of the stream may be silent when it is asked whether it is there; more on slow links."""

    @property
    def on_this_machine_alone(self) -> bool:
        """Whether learners can only be on this machine."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def encrypted(self) -> bool:
        """Whether the stream is encrypted."""
        return not self.on_this_machine_alone if self.tls is None else self.tls

    @property
    def bind_address(self) -> str:
        """The address to listen on."""
        return self.bind or (self.host if self.on_this_machine_alone else "0.0.0.0")  # noqa: S104 - nodes are elsewhere
