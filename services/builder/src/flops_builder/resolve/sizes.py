"""How many bytes the wheels of a lock have, as far as the index tells (PEP 691, "Project Detail": `size`)."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import anyio

from flops_builder.resolve.lock import Lock
from flops_builder.resolve.uv import Target, Uv


@dataclass(frozen=True)
class Sizes:
    """Bytes by package; None where nobody tells."""

    of: dict[str, int | None]

    @property
    def known(self) -> int | None:
        """All that is known together; None where nothing is."""
        told = [size for size in self.of.values() if size is not None]
        return sum(told) if told or not self.of else None

    @property
    def unknown(self) -> int:
        """How many packages there are whose size is not known."""
        return sum(size is None for size in self.of.values())


async def wheel_sizes(uv: Uv, lock: Lock, target: Target, cache: Path, scratch: Path) -> Sizes:
    """The sizes, from what lies in uv's cache: the index is not asked. Nothing is known where that does not do.

    :param cache: a folder in which the answers stay, by the lock's digest
    :param scratch: an empty folder
    """
    known = cache / lock.digest.removeprefix("sha256:")
    text = await anyio.to_thread.run_sync(_kept, known)
    if text is None and lock.versions:
        text = await uv.describe(lock.text, target, scratch)
        if text is not None:
            await anyio.Path(cache).mkdir(parents=True, exist_ok=True)
            await anyio.Path(known).write_text(text)
    return Sizes(dict.fromkeys(lock.versions) | read_sizes(text or ""))


def _kept(file: Path) -> str | None:
    try:
        return file.read_text()
    except FileNotFoundError:
        return None


def read_sizes(text: str) -> dict[str, int | None]:
    """The sizes in a pylock.toml, which has one wheel for each package where it is for one platform."""
    try:
        packages = tomllib.loads(text).get("packages", [])
        return {each["name"]: max(map(_size, each.get("wheels", [])), default=0) or None for each in packages}
    except (tomllib.TOMLDecodeError, KeyError, TypeError, AttributeError):
        return {}  # written halfway, or by a uv of tomorrow


def _size(wheel: dict[str, Any]) -> int:
    """Bytes of a wheel: what the index says, else what lies in a folder of this machine; 0 where neither does."""
    if "size" in wheel:
        return int(wheel["size"])
    place = Path(wheel.get("path") or unquote(urlsplit(wheel.get("url", "")).path))
    return place.stat().st_size if place.is_absolute() and place.is_file() else 0
