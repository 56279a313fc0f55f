"""rattler's solver, for a platform that need not be this machine's."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import anyio
import rattler
from flops_protocol.errors import FlopsError
from flops_protocol.sla import Platform
from rattler.exceptions import GatewayError, SolverError
from rattler.platform.subdir import SubdirLiteral

from flops_builder.conda.channels import TOKEN, Channel
from flops_builder.conda.lock import CondaPackage
from flops_builder.resolve.uv import MACHINES, Target

SUBDIRS: dict[Platform, SubdirLiteral] = {"linux/amd64": "linux-64", "linux/arm64": "linux-aarch64"}
CREDENTIALS = re.compile(r"//[^/@\s]+@")
KERNEL = "4.18"
"""The Linux that comes with the oldest C library that we build for."""


class UnsolvableError(Exception):
    """Raised when there is no set of packages; `explanation` is rattler's."""

    def __init__(self, explanation: str) -> None:
        super().__init__(explanation)
        self.explanation = explanation


@dataclass(frozen=True)
class Solver:
    """Solves with the packages of some channels."""

    channels: tuple[Channel, ...]
    gateway: rattler.Gateway
    seconds: float

    async def solve(self, specs: Sequence[str], target: Target) -> tuple[CondaPackage, ...]:
        """Every package with one version and build, sorted by name.

        :param specs: conda requirements ("MatchSpec")
        :raises UnsolvableError: when there is no such set
        :raises FlopsError: FLOPS-B052 when a channel does not answer
        """
        try:
            with anyio.fail_after(self.seconds):
                records = await rattler.solve(
                    self._sources(),
                    [rattler.MatchSpec(each) for each in specs],
                    gateway=self.gateway,
                    platforms=[SUBDIRS[target.platform], "noarch"],
                    virtual_packages=virtual_packages(target),
                    timeout=timedelta(seconds=self.seconds),
                    channel_relations="disabled",
                )
        except SolverError as error:
            raise UnsolvableError(str(error)) from error
        except (GatewayError, TimeoutError) as error:
            raise self._unreachable(error) from error
        return tuple(sorted((self._package(each) for each in records), key=lambda each: each.name))

    async def versions(self, name: str, platform: Platform | None) -> list[str]:
        """The versions that the channels have of a package, in their order; `None`: for any platform that we know.

        :raises FlopsError: FLOPS-B052 when a channel does not answer
        """
        subdirs = [SUBDIRS[platform]] if platform else list(SUBDIRS.values())
        try:
            with anyio.fail_after(self.seconds):
                found = await self.gateway.query(
                    self._sources(), [*subdirs, "noarch"], [name], recursive=False, channel_relations="disabled"
                )
        except (GatewayError, TimeoutError) as error:
            raise self._unreachable(error) from error
        versions = {each.version for records in found for each in records}
        return [str(each) for each in sorted(versions)]

    def _sources(self) -> list[rattler.Channel]:
        return [rattler.Channel(each.url) for each in self.channels]

    def _package(self, record: rattler.RepoDataRecord) -> CondaPackage:
        channel = next(each for each in self.channels if record.url.startswith(each.url))
        noarch = "python" if record.noarch.python else "generic" if record.noarch.generic else None
        if record.sha256 is None:
            raise FlopsError("FLOPS-B052", f"{channel.public} says no SHA-256 of {record.file_name}")
        return CondaPackage(
            url=channel.public + record.url.removeprefix(channel.url),
            sha256=record.sha256.hex(),
            name=record.name.normalized,
            version=str(record.version),
            build=str(record.build),
            build_number=record.build_number,
            subdir=record.subdir,
            noarch=noarch,
            depends=tuple(record.depends),
            site_packages=record.python_site_packages_path,
        )

    def _unreachable(self, error: Exception) -> FlopsError:
        return FlopsError("FLOPS-B052", public_text(self.channels, str(error)) or f"no answer in {self.seconds:.0f} s")


def virtual_packages(target: Target) -> list[rattler.GenericVirtualPackage]:
    """What the target's machine brings, as conda sees it (conda's "Managing virtual packages")."""
    brought = {
        "__unix": ("0", "0"),
        "__linux": (KERNEL, "0"),
        "__glibc": (target.glibc, "0"),
        "__archspec": ("1", MACHINES[target.platform]),
    }
    return [
        rattler.GenericVirtualPackage(rattler.PackageName(name), rattler.Version(version), rattler.BuildString(build))
        for name, (version, build) in brought.items()
    ]


def open_gateway(cache: Path) -> rattler.Gateway:
    """The channels' indexes, kept below the cache; asked with what the machine has to get in (netrc, keyring, …)."""
    return rattler.Gateway(cache_dir=cache / "conda" / "repodata", client=rattler.Client.default_client())


def public_text(channels: Sequence[Channel], text: str) -> str:
    """What rattler says, without what is not to be shown of the channels' addresses."""
    for each in channels:
        text = text.replace(each.url, each.public)
        if each.url.startswith("file://"):
            path = each.url.removeprefix("file://")
            text = text.replace(path, each.public).replace(path.rstrip("/"), each.name)
    text = TOKEN.sub("", CREDENTIALS.sub("//", text))
    return ": ".join(line.strip().removeprefix("Caused by: ") for line in text.splitlines() if line.strip())
