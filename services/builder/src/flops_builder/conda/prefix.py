"""A conda prefix: linked for the place that it has in the image, read, and made a layer of."""

from __future__ import annotations

import hashlib
import importlib.metadata
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

import anyio
import rattler
from flops_protocol.errors import FlopsError
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version
from rattler.exceptions import InstallerError, LinkError, TransactionError

from flops_builder.conda.channels import Channels
from flops_builder.conda.lock import CondaPackage
from flops_builder.conda.solver import SUBDIRS, public_text
from flops_builder.image.files import ROOT, Member, environment_members
from flops_builder.process import NO_SPACE
from flops_builder.resolve.uv import Target

PLACE = f"/{ROOT}/mlenv"
"""Where the prefix is in an image: what packages get to see in place of the prefix that they were built in."""
OWN_NOISE = re.compile(r"^(conda-meta/|CACHEDIR\.TAG$)")
"""rattler's notes about what it has installed, from where and when."""
MARK = f"{ROOT}/mlenv/conda-meta/history"
"""Programs tell a conda prefix by this file. It is empty."""
SCRIPT = re.compile(r"^\.(?P<name>.+)-(?:pre-link|post-link)\.sh$")
OWN_INTERPRETER = re.compile(rb"^#! ?" + re.escape(PLACE.encode()) + rb"/bin/(?P<program>[^\s/]+)(?P<rest>[^\n]*)")


async def link(
    packages: Sequence[CondaPackage], channels: Channels, target: Target, prefix: Path, cache: Path, seconds: float
) -> None:
    """Fetches what the cache does not have, checks it, and links everything into an empty folder. Nothing is executed.

    :raises FlopsError: FLOPS-B040 when there is no room, FLOPS-B052 when a package cannot be had as the lock has it
    """
    try:
        records = [each.record(channels) for each in packages]
        await anyio.to_thread.run_sync(_check_files, records)
        with anyio.fail_after(seconds):
            await rattler.install(
                records,
                prefix,
                cache_dir=cache / "conda" / "packages",
                installed_packages=[],
                platform=rattler.Subdir(SUBDIRS[target.platform]),
                client=rattler.Client.default_client(),
                execute_link_scripts=False,
                show_progress=False,
                alternative_target_prefix=PLACE,
            )
    except TimeoutError as error:
        raise FlopsError("FLOPS-B052", f"the packages were not there within {seconds:.0f} s") from error
    except LookupError as error:
        raise FlopsError("FLOPS-B052", f"no configured channel has {error}") from error
    except (InstallerError, LinkError, TransactionError, OSError) as error:
        text = public_text(channels.configured, str(error))
        raise FlopsError("FLOPS-B040" if NO_SPACE.search(text) else "FLOPS-B052", text[:800]) from error


def _check_files(records: Sequence[rattler.RepoDataRecord]) -> None:
    """rattler checks what it downloads, and takes what lies in a folder as it is."""
    for each in records:
        parts = urlsplit(each.url)
        if parts.scheme == "file":
            with Path(unquote(parts.path)).open("rb") as stream:
                found = hashlib.file_digest(stream, "sha256").digest()
            if found != each.sha256:
                raise FlopsError("FLOPS-B052", f"{each.file_name} has other bytes than its channel says")


def site_packages(prefix: Path, minor: str) -> Path:
    """Where a prefix's Python looks for packages."""
    return prefix / "lib" / f"python{minor}" / "site-packages"


def interpreter(prefix: Path, minor: str) -> Path:
    """A prefix's Python."""
    return prefix / "bin" / f"python{minor}"


def image_environment(minor: str) -> dict[str, str]:
    """What actors have to know of a prefix in their image: variables of its configuration."""
    place = Path(PLACE)
    return {
        "FLOPS_PYTHON": str(interpreter(place, minor)),
        "FLOPS_PACKAGES": str(site_packages(place, minor)),
    }


def python_packages(prefix: Path, minor: str) -> dict[str, str]:
    """The Python packages of a prefix: version by normalised name, as they say it themselves."""
    found = {}
    for each in importlib.metadata.distributions(path=[str(site_packages(prefix, minor))]):
        name, version = each.metadata["Name"], each.metadata["Version"]
        try:
            found[canonicalize_name(name or "")] = str(Version(version or ""))
        except InvalidVersion:
            continue  # a resolver could not hold anything against it
    found.pop(canonicalize_name(""), None)
    return dict(sorted(found.items()))


def unrun_scripts(prefix: Path) -> list[str]:
    """Packages that brought a script to be run after linking: it was not."""
    names = (SCRIPT.match(file.name) for file in (prefix / "bin").glob(".*.sh"))
    return sorted({found.group("name") for found in names if found})


def prefix_members(prefix: Path, cache: Path) -> Iterable[Member]:
    """A prefix as the layer `mlenv`, without what differs from one installation to the next.

    :param cache: where it was linked from
    """
    start = len(f"{ROOT}/mlenv/")
    for each in environment_members(prefix, "mlenv"):
        if OWN_NOISE.search(each.name[start:]):
            continue
        if each.link is not None and Path(each.link).is_relative_to(cache):
            # Where the cache's disk has no hard links, rattler links like this; in an image it would point at nothing.
            yield Member(each.name, bool(Path(each.link).stat().st_mode & 0o100), file=Path(each.link))
            continue
        script = _movable(each.file) if each.name.startswith(f"{ROOT}/mlenv/bin/") and each.file else None
        yield each if script is None else Member(each.name, each.executable, content=script)
    yield Member(MARK, content=b"")


def _movable(file: Path) -> bytes | None:
    """A script whose interpreter is found on the PATH, wherever the prefix lies; None when it is no such script."""
    with file.open("rb") as stream:
        if stream.read(2) != b"#!":
            return None
    content = file.read_bytes()
    return OWN_INTERPRETER.sub(rb"#!/usr/bin/env \g<program>", content) if OWN_INTERPRETER.match(content) else None
