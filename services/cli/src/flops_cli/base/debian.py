"""Debian's packages, unpacked: `mmdebstrap --variant=extract` needs no emulator for another platform."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import anyio
from flops_protocol.errors import FlopsError
from flops_protocol.sla import Platform

PROGRAM = "mmdebstrap"
PACKAGES = ("python3", "ca-certificates", "libstdc++6", "dash")
"""Python, the authorities that it trusts, what compiled wheels are linked to, and a shell."""
APT = Path("/etc/apt")


def sources() -> list[Path]:
    """This machine's own package sources."""
    folder = APT / "sources.list.d"
    found = [APT / "sources.list", *sorted(folder.glob("*.list")), *sorted(folder.glob("*.sources"))]
    return [file for file in found if file.is_file() and file.stat().st_size]


async def unpack(platform: Platform, packages: Sequence[str], files: Sequence[Path], epoch: int, target: Path) -> None:
    """Writes the packages, and all that they need, as a tar archive. None of them is configured, and nothing is run.

    :param files: package sources, as apt has them
    :param epoch: no file is younger than this (seconds since 1970)
    :raises FlopsError: FLOPS-B048 when there is no mmdebstrap, or it fails
    """
    program = shutil.which(PROGRAM)
    if program is None:
        raise FlopsError("FLOPS-B048", f"{PROGRAM} is not on this machine")
    if not files:
        raise FlopsError("FLOPS-B048", f"there are no package sources below {APT}; name some with --sources")
    command = [
        *(program, "--quiet", "--variant=extract", "--mode=auto"),
        f"--architectures={platform.rpartition('/')[2]}",
        f"--include={','.join(packages)}",
        *("", str(target), *map(str, files)),
    ]
    environment = os.environ | {"SOURCE_DATE_EPOCH": str(epoch), "LC_ALL": "C.UTF-8"}
    done = await anyio.run_process(
        command, check=False, stdin=subprocess.DEVNULL, stderr=subprocess.STDOUT, env=environment
    )
    if done.returncode != 0:
        said = [line for line in done.stdout.decode(errors="replace").splitlines() if line.strip()]
        raise FlopsError("FLOPS-B048", f"{PROGRAM} for {platform}: " + "\n".join(said[-8:])[-900:])
