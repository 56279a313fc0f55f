"""The container engine of the tests: FLOPS_ENGINE says where it is, FLOPS_TEST_IMAGE how its images are called."""

from __future__ import annotations

import io
import json
import os
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest
from flops_builder.adapters.engine_build import DockerEngine

ADDRESS = os.environ.get("FLOPS_ENGINE", "")
IMAGE = os.environ.get("FLOPS_TEST_IMAGE", "")


def needed() -> None:
    """Skips the test where there is no such engine; fails it where there must be one."""
    reason = "" if ADDRESS and IMAGE else 'no engine for tests: `eval "$(.ci/engine)"` starts one'
    if not reason:
        asked = subprocess.run(
            ["/usr/bin/docker", "image", "inspect", f"{IMAGE}-amd64", f"{IMAGE}-arm64"],
            env={"DOCKER_HOST": ADDRESS},
            capture_output=True,
            text=True,
            check=False,
        )
        reason = asked.stderr.strip() if asked.returncode else ""
    if reason and os.environ.get("CI"):
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)


def docker(*arguments: str, stdin: bytes = b"") -> str:
    """What Docker's client says."""
    command = ["/usr/bin/docker", *arguments]
    done = subprocess.run(command, env={"DOCKER_HOST": ADDRESS}, input=stdin, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def engine() -> DockerEngine:
    """The engine itself."""
    return DockerEngine(ADDRESS)


class Pushed:
    """An image as it lies in a layout folder."""

    def __init__(self, registry: Path, index: str, platform: str) -> None:
        self._blobs = registry / "blobs" / "sha256"
        entries = self._document(index)["manifests"]
        architecture = platform.rpartition("/")[2]
        (entry,) = (each for each in entries if each["platform"]["architecture"] == architecture)
        self.manifest = self._document(entry["digest"])
        self.configuration = self._document(self.manifest["config"]["digest"])
        self.kinds = [layer["annotations"]["mesh.flops.layer"] for layer in self.manifest["layers"]]

    def run(self, *command: str) -> str:
        """What a program prints in a container of the image, as an engine loads and starts it."""
        name = f"flops-test-run:{self.manifest['config']['digest'][7:19]}"
        config = self.manifest["config"]["digest"].removeprefix("sha256:")
        layers = [layer["digest"].removeprefix("sha256:") for layer in self.manifest["layers"]]
        entry = [{"Config": f"{config}.json", "RepoTags": [name], "Layers": [f"{each}.tar" for each in layers]}]
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode="w") as tar:
            tar.add(self._blobs / config, f"{config}.json")
            for each in dict.fromkeys(layers):
                tar.add(self._blobs / each, f"{each}.tar")
            manifest = json.dumps(entry).encode()
            member = tarfile.TarInfo("manifest.json")
            member.size = len(manifest)
            tar.addfile(member, io.BytesIO(manifest))
        docker("load", stdin=content.getvalue())
        try:
            platform = f"linux/{self.configuration['architecture']}"
            return docker(
                "run", "--rm", "--network=none", "--platform", platform, "--entrypoint", command[0], name, *command[1:]
            )
        finally:
            docker("image", "rm", "--force", name)

    def _document(self, digest: str) -> Any:
        return json.loads((self._blobs / digest.removeprefix("sha256:")).read_bytes())
