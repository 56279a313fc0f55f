"""Repositories made of files, and builds of them."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flops_builder.build import build
from flops_builder.outcome import Outcome
from flops_builder.publish import source_inputs
from flops_builder.settings import BuilderSettings
from flops_protocol.messages.actors import BuildPhase
from flops_protocol.messages.commands import BuildCommand
from flops_protocol.messages.project import ProjectSpec
from flops_protocol.sla import Sla

DEADLINE = 300.0


@dataclass
class Recorder:
    """A report that keeps everything."""

    percents: list[float] = field(default_factory=list)
    phases: list[BuildPhase] = field(default_factory=list)
    estimates: list[float | None] = field(default_factory=list)
    lines: list[tuple[str, str]] = field(default_factory=list)

    def progress(self, phase: BuildPhase, percent: float, detail: str, **more: Any) -> None:
        self.phases.append(phase)
        self.percents.append(percent)
        self.estimates.append(more["estimate_seconds"])

    def log(self, lines: list[str], stream: str) -> None:
        self.lines += [(stream, line) for line in lines]


class Repository:
    """A Git repository made of files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        self.git("init", "--quiet", "--initial-branch=main")

    def git(self, *arguments: str) -> str:
        command = [
            "git",
            "-c",
            "user.name=test",
            "-c",
            "user.email=test@example.org",
            "-C",
            str(self.folder),
            *arguments,
        ]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def tree(self, content: bytes) -> str:
        """Writes a tree object as it is, however wrong, and returns its name."""
        command = ["git", "-C", str(self.folder), "hash-object", "-t", "tree", "-w", "--stdin", "--literally"]
        return subprocess.run(command, input=content, check=True, capture_output=True).stdout.decode().strip()

    def commit(self, files: dict[str, str | bytes | None]) -> str:
        """Writes (None: removes) files, commits everything and returns the commit."""
        for name, content in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if content is None:
                path.unlink()
            elif isinstance(content, bytes):
                path.write_bytes(content)
            else:
                path.write_text(content)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message=change")
        return self.git("rev-parse", "HEAD")


@dataclass
class Bench:
    """Builds repositories into one registry."""

    settings: BuilderSettings
    registry: Path
    """A layout folder, unless `address` names another registry."""
    recorder: Recorder = field(default_factory=Recorder)
    address: str | None = None

    def order(
        self, repository: Repository, commit: str, *, pythons: Sequence[str] = ("3.11",), **sla: Any
    ) -> tuple[ProjectSpec, BuildCommand]:
        document: dict[str, Any] = {"ml_repo_url": str(repository.folder), "ml_model_flavor": "sklearn"} | sla
        spec = ProjectSpec(
            project="test-1",
            sla=Sla.model_validate(document),
            repository_url=str(repository.folder),
            commit=commit,
            submitted_at=datetime.now(UTC),
        )
        command = BuildCommand(
            project="test-1",
            command="build-1",
            action="build",
            registry=self.address or f"oci:{self.registry}",
            pythons=list(pythons),
            source_key=f"sha256:{'0' * 64}",
            runtime_version="test",
            deadline_seconds=DEADLINE,
        )
        key = source_inputs(spec, command, self.settings.base_image, self.settings.builder_version).key()
        return spec, command.model_copy(update={"source_key": key})

    async def build(self, repository: Repository, commit: str, **more: Any) -> Outcome:
        spec, command = self.order(repository, commit, **more)
        return await build(spec, command, self.settings, self.recorder)
