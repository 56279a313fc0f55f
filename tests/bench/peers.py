"""The same images as others build them: `docker build` with pip or uv in a RUN step, and buildah.

Learner and aggregator of one repository: the very packages of our locks on the same base image, then the code; MLflow's
client only in the aggregator. What is downloaded lies in a cache that each peer mounts, as it lies in uv's cache for
us; a first build that is not measured fills it. Foreign platforms run under QEMU, where the kernel knows how to.

The base image must be in the engine as `BASE:amd64` and `BASE:arm64`. It needs Python and the site's CA certificates.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import uv

WHEELS = {"amd64": "x86_64-manylinux_2_28", "arm64": "aarch64-manylinux_2_28"}
LOCKS = "application/vnd.flops.locks.v1"
TITLE = "org.opencontainers.image.title"
SITE = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX")
"""Settings of the site that mean the same inside of a container."""
INSTALL = {
    "pip": "PYTHONPATH=/tools/{arch} python3 -m pip install --quiet --break-system-packages --root-user-action=ignore",
    "uv": "/tools/{arch}/bin/uv pip install --quiet --system --break-system-packages --link-mode=copy",
}
MOUNTS = "--mount=type=bind,source=tools,target=/tools --mount=type=cache,id={tool}-{arch},target=/root/.cache"
DOCKERFILE = """\
ARG BASE
FROM $BASE AS packages
COPY requirements-{arch}.txt /tmp/requirements.txt
RUN {mounts} {site} {install} {exactly} --requirement /tmp/requirements.txt

FROM packages AS learner
COPY code /opt/flops/code

FROM packages AS aggregator
COPY tracking-{arch}.txt /tmp/tracking.txt
RUN {mounts} {site} {install} {exactly} --target /opt/flops/tracking --requirement /tmp/tracking.txt
COPY code /opt/flops/code
"""
EXACTLY = "--no-deps --require-hashes --only-binary :all:"
ROLES = ("aggregator", "learner")
"""In this order: the first has all that is installed, the second finds it."""


@dataclass(frozen=True)
class Engine:
    """A Docker engine, the program that drives its BuildKit, and the base image."""

    address: str
    base: str
    docker: str = "/usr/bin/docker"

    def run(self, *arguments: str, buildkit: bool = True) -> str:
        """A command of docker's; what it prints.

        :raises subprocess.CalledProcessError: when it fails; its stderr has been shown
        """
        environment = os.environ | {"DOCKER_HOST": self.address, "DOCKER_BUILDKIT": "1" if buildkit else "0"}
        return subprocess.run(
            [self.docker, *arguments], env=environment, check=True, stdout=subprocess.PIPE, text=True
        ).stdout


@dataclass
class Peer:
    """One way to build, and what it took: seconds cold and with one line of code changed, by architecture."""

    name: str
    build: Callable[[Path, str, bool], None]
    """(context, architecture, from nothing)"""
    cold: dict[str, float] = field(default_factory=dict)
    changed: dict[str, float] = field(default_factory=dict)


def measure(engine: Engine, registry: Path, code: Path, folder: Path) -> list[Peer]:
    """Builds the image of what our builder has put into `registry`, a layout folder, in every other way.

    :param code: the repository's files
    :param folder: an empty folder
    """
    peers = [_docker(engine, "pip"), _docker(engine, "uv"), *_buildah(engine)]
    for peer in peers:
        tool = "uv" if peer.name.endswith("uv") else "pip"
        context = folder / peer.name.replace(" ", "-").replace(",", "")
        _context(context, registry, code, tool)
        for architecture in WHEELS:
            peer.build(context, architecture, True)
            peer.cold[architecture] = _seconds(lambda: peer.build(context, architecture, True))  # noqa: B023
            peer.build(context, architecture, False)
            with next((context / "code").rglob("model_manager.py")).open("a") as file:
                file.write(f"\n# {architecture}\n")
            peer.changed[architecture] = _seconds(lambda: peer.build(context, architecture, False))  # noqa: B023
    return peers


def _docker(engine: Engine, tool: str) -> Peer:
    def build(context: Path, architecture: str, from_nothing: bool) -> None:
        arguments = ["build", "--quiet", "--network=host", f"--platform=linux/{architecture}"]
        arguments += ["--no-cache"] if from_nothing else []
        arguments += [f"--build-arg=BASE={engine.base}:{architecture}", f"--file={context}/Dockerfile.{architecture}"]
        for role in ROLES:
            engine.run(*arguments, f"--target={role}", f"--tag=flops-bench:{tool}-{role}-{architecture}", str(context))
            arguments = [each for each in arguments if each != "--no-cache"]  # what both have is built once

    return Peer(f"docker build, {tool}", build)


def _buildah(engine: Engine) -> list[Peer]:
    program = shutil.which("buildah")
    if program is None:
        return []

    def build(context: Path, architecture: str, from_nothing: bool) -> None:
        base = context / f"base-{architecture}.tar"
        if not base.exists():
            engine.run("save", f"--output={base}", f"{engine.base}:{architecture}")
        storage = [f"--root={context}/storage", f"--runroot={context}/run"]
        arguments = ["bud", "--quiet", "--layers", "--isolation=chroot", f"--platform=linux/{architecture}"]
        arguments += ["--no-cache"] if from_nothing else []
        arguments += [f"--build-arg=BASE=docker-archive:{base}", f"--file={context}/Dockerfile.{architecture}"]
        for role in ROLES:
            tag = [f"--target={role}", f"--tag=flops-bench:{role}-{architecture}"]
            command = [program, *storage, *arguments, *tag, str(context)]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            arguments = [each for each in arguments if each != "--no-cache"]

    return [Peer("buildah, pip", build)]


def _context(folder: Path, registry: Path, code: Path, tool: str) -> None:
    shutil.copytree(code, folder / "code", ignore=shutil.ignore_patterns(".git"))
    locks = _locks(registry)
    for architecture in WHEELS:
        texts = [locks[f"linux-{architecture}/{layer}.txt"] for layer in ("runtime", "mlenv")]
        (folder / f"requirements-{architecture}.txt").write_text(_united(*texts))
        (folder / f"tracking-{architecture}.txt").write_text(locks[f"linux-{architecture}/tracking.txt"])
        platform = ["--python-version=3.11", f"--python-platform={WHEELS[architecture]}"]
        target = f"--target={folder}/tools/{architecture}"
        subprocess.run([uv.find_uv_bin(), "pip", "install", "--quiet", *platform, target, tool], check=True)
        site = " ".join(f"{name}='{os.environ[name]}'" for name in SITE if name in os.environ)
        text = DOCKERFILE.format(
            arch=architecture,
            mounts=MOUNTS.format(arch=architecture, tool=tool),
            site=site,
            install=INSTALL[tool].format(arch=architecture),
            exactly=EXACTLY,
        )
        (folder / f"Dockerfile.{architecture}").write_text(text)


def _locks(registry: Path) -> Mapping[str, str]:
    """The newest locks in a layout folder, by their titles."""

    def blob(digest: str) -> str:
        return (registry / "blobs" / digest.replace(":", "/")).read_text()

    entries = json.loads((registry / "index.json").read_text())["manifests"]
    newest = next(entry for entry in reversed(entries) if entry.get("artifactType") == LOCKS)
    return {part["annotations"][TITLE]: blob(part["digest"]) for part in json.loads(blob(newest["digest"]))["layers"]}


def _united(first: str, second: str) -> str:
    """One list of packages: others have one environment for all. The second counts where both have a package."""
    entries: dict[str, str] = {}
    for text in (first, second):
        for entry in text.split("\n"):
            if entry and not entry[0].isspace() and not entry.startswith("#"):
                name = entry.partition("==")[0].strip()
                entries[name] = ""
            if entries and not entry.lstrip().startswith("#"):
                entries[name] += f"{entry}\n"
    return "".join(entries.values())


def _seconds(work: Callable[[], None]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began
