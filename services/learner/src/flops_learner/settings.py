"""The learner's settings, from FLOPS_* environment variables."""

from __future__ import annotations

import sys
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Who this process is, and where its image, its data and its own folder are."""

    model_config = SettingsConfigDict(env_prefix="FLOPS_", frozen=True)

    broker: str = "mqtt://127.0.0.1:1883"
    project: str
    instance: str
    node: str = "local"
    credential_file: Path | None = None
    image_root: Path = Path("/opt/flops")
    state_dir: Path = Path("/var/lib/flops/state")
    data_dir: Path = Path("/var/lib/flops/data")
    python: str = sys.executable
    """The interpreter of the ML worker: this one, unless the image brings its own."""
    packages: Path | None = None
    """Where the packages of an interpreter that the image brings are (conda's site-packages); None: in `mlenv`."""
    worker_lives: int = Field(default=2, ge=1)
    """How many times the ML worker is started: when it dies or hangs in training, the data are loaded once more."""
    keepalive_timeout_seconds: float = Field(default=3.0, gt=0)
    """How long the other side of the stream may be silent when it is asked whether it is there; more on slow links."""
