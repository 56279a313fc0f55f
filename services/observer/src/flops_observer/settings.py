"""The observer's settings, from FLOPS_* environment variables."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Where the broker is, and where the observer keeps its own history."""

    model_config = SettingsConfigDict(env_prefix="FLOPS_", frozen=True)

    broker: str = "mqtt://127.0.0.1:1883"
    credential_file: Path | None = None
    instance: str = "observer-1"
    state_dir: Path = Path(".flops/observer")
    log_lines: int = Field(default=100_000, ge=1000)
    """How many log lines are kept of one project; the oldest go first."""
