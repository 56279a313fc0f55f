"""The lock of a conda environment: every package by address and hash, and the wheels that come on top of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Self
from urllib.parse import quote

import rattler

from flops_builder.conda.channels import Channels
from flops_builder.resolve.lock import Lock

HEAD = "# conda lock 1, Python "
PROVIDED = "# Python packages "
EXPLICIT = "@EXPLICIT"
WHEELS = "# wheels"


@dataclass(frozen=True)
class CondaPackage:
    """One package of a channel, as exactly as it takes to install it without asking the channel's index."""

    url: str
    """Its public address (`Channel.public`)."""
    sha256: str
    name: str
    version: str
    build: str
    build_number: int
    subdir: str
    noarch: str | None
    """`python`, `generic` or None."""
    depends: tuple[str, ...]
    site_packages: str | None = None
    """Where a Python keeps its packages, if not where every Python does (CEP 17)."""

    @property
    def purl(self) -> str:
        """Its package URL (purl specification, type `conda`)."""
        about = {
            "build": self.build,
            "subdir": self.subdir,
            "type": "conda" if self.url.endswith(".conda") else "tar.bz2",
        }
        qualifiers = "&".join(f"{key}={quote(value, safe='')}" for key, value in about.items())
        return f"pkg:conda/{quote(self.name)}@{quote(self.version)}?{qualifiers}"

    def record(self, channels: Channels) -> rattler.RepoDataRecord:
        """It as rattler wants it.

        :raises LookupError: when no channel of this machine has it
        """
        url = channels.locate(self.url)
        if url is None:
            raise LookupError(self.url)
        package = rattler.PackageRecord(
            name=self.name,
            version=self.version,
            build=rattler.BuildString(self.build),
            build_number=self.build_number,
            subdir=self.subdir,
            noarch=rattler.NoArchType(self.noarch),  # type: ignore[arg-type]
            depends=list(self.depends),
            sha256=bytes.fromhex(self.sha256),
            python_site_packages_path=self.site_packages,
        )
        base, _, file = url.rpartition("/")
        return rattler.RepoDataRecord(package, file, url, f"{base.rpartition('/')[0]}/")


@dataclass(frozen=True)
class CondaLock:
    """What is in a prefix."""

    packages: tuple[CondaPackage, ...]
    """Sorted by name."""
    python: str
    """The minor of its Python."""
    provided: Mapping[str, str]
    """The Python packages that the conda packages bring: version by normalised name."""
    wheels: Lock
    """What is installed on top of them."""

    @property
    def lock(self) -> Lock:
        """The lock as it is kept, hashed and pushed: an explicit list, as conda has it, with comments."""
        lines = [f"{HEAD}{self.python}", PROVIDED + json.dumps(dict(sorted(self.provided.items()))), EXPLICIT]
        for each in self.packages:
            more = {key: value for key, value in asdict(each).items() if key not in {"url", "sha256"}}
            lines += [f"{each.url}#sha256:{each.sha256}", f"# {json.dumps(more, sort_keys=True)}"]
        return Lock("\n".join([*lines, WHEELS, self.wheels.text]))

    @property
    def python_packages(self) -> Lock:
        """Everything that Python sees, as a lock of PyPI's: what other layers have to fit."""
        pins = "".join(f"{name}=={version}\n" for name, version in sorted(self.provided.items()))
        return Lock(pins + self.wheels.text)

    @classmethod
    def seen_by_python(cls, lock: Lock) -> Lock:
        """What Python sees of a lock, whichever kind it is of."""
        conda = cls.read(lock)
        return lock if conda is None else conda.python_packages

    @classmethod
    def read(cls, lock: Lock) -> Self | None:
        """The lock again from its text; None when it is none of conda's."""
        if not lock.text.startswith(HEAD):
            return None
        explicit, _, wheels = lock.text.partition(f"\n{WHEELS}\n")
        head, provided, _, *lines = explicit.split("\n")
        packages = []
        for address, about in zip(lines[::2], lines[1::2], strict=True):
            url, _, sha256 = address.partition("#sha256:")
            more = json.loads(about.removeprefix("# "))
            packages.append(CondaPackage(url, sha256, **more | {"depends": tuple(more["depends"])}))
        python = head.removeprefix(HEAD)
        return cls(tuple(packages), python, json.loads(provided.removeprefix(PROVIDED)), Lock(wheels))
