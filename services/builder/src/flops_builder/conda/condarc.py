"""conda's own settings of this machine (`condarc`, `mambarc`, `CONDA_*`) about where packages come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

LIST_KEYS = ("channels", "default_channels")
MAP_KEYS = ("custom_channels", "custom_multichannels")


@dataclass
class Condarc:
    """The settings, joined from all files (conda's ".condarc" documentation); the environment counts last."""

    channels: list[str] = field(default_factory=list)
    channel_alias: str | None = None
    default_channels: list[str] = field(default_factory=list)
    custom_channels: dict[str, str] = field(default_factory=dict)
    """A channel's name: the address that its name is appended to."""
    custom_multichannels: dict[str, list[str]] = field(default_factory=dict)


def read_condarc(environment: Mapping[str, str]) -> Condarc:
    """What is configured on this machine. What cannot be read is conda's to complain about, not ours."""
    found = Condarc()
    for file in _files(environment):
        try:
            document = yaml.safe_load(file.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError):
            continue
        if isinstance(document, dict):
            _take(found, document)
    for key in LIST_KEYS:
        if value := environment.get(f"CONDA_{key.upper()}"):
            _take(found, {key: value.replace(",", " ").split()})
    _take(found, {"channel_alias": environment.get("CONDA_CHANNEL_ALIAS")})
    return found


def _take(found: Condarc, document: Mapping[str, Any]) -> None:
    for key in LIST_KEYS:
        value = document.get(key)
        if isinstance(value, list):
            setattr(found, key, [str(each) for each in value])
    if isinstance(alias := document.get("channel_alias"), str):
        found.channel_alias = alias
    for key in MAP_KEYS:
        value = document.get(key)
        if isinstance(value, dict):
            getattr(found, key).update(value)


def _files(environment: Mapping[str, str]) -> list[Path]:
    """conda's search path, then mamba's; the later counts more."""
    home = Path(environment.get("HOME", "/nonexistent"))
    configuration = Path(environment.get("XDG_CONFIG_HOME") or home / ".config")
    places = ["/etc/conda/.condarc", "/etc/conda/condarc", "/var/lib/conda/.condarc", "/var/lib/conda/condarc"]
    files = [*map(Path, places), *sorted(Path("/etc/conda/condarc.d").glob("*.y*ml"))]
    files += [configuration / "conda" / name for name in (".condarc", "condarc")]
    files += [home / ".conda" / name for name in (".condarc", "condarc")]
    files += [home / ".condarc", home / ".mambarc"]
    files += [Path(environment[name]) for name in ("CONDARC", "MAMBARC") if environment.get(name)]
    return files
