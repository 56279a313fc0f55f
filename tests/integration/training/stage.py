"""A stage for actors: a real broker, real processes from an image's folders, and a manager that only does the dance."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import pyarrow as pa
from flops_mlrepo.host import guest_folder
from flops_protocol.bus import Identity, Received
from flops_protocol.bus.mqtt import MqttBus
from flops_protocol.channels import (
    AGGREGATOR_ERRORS,
    AGGREGATOR_LOG,
    AGGREGATOR_STATUS,
    LEARN_COMMAND,
    LEARNER_ERRORS,
    LEARNER_LOG,
    LEARNER_STATUS,
    ROUNDS,
    SPEC,
    TRAIN_COMMAND,
    TRAINING_COMPLETED,
)
from flops_protocol.messages.actors import AggregatorStatus, LearnerStatus, LogLines, RoundReport, TrainingCompleted
from flops_protocol.messages.commands import LearnCommand, LearnerAssignment, TrainCommand
from flops_protocol.messages.project import ErrorReport, ImageReference, ImageSet, ProjectSpec
from flops_protocol.sla import Sla
from pyarrow import parquet

from tests import brokers
from tests.integration.training.code import PLAIN

PROJECT = "line-00000001"
SITE = Path(sysconfig.get_paths()["purelib"])
DIGEST = "sha256:" + "0" * 64


def image(folder: Path, code: str | Path, packages: tuple[Path, Path] | None = None) -> Path:
    """An image's folders. `code` is a model_manager, or a folder; `packages` an ML environment and a tracking folder.

    Without packages, this interpreter's are linked together, which is quick and has no tracking.
    """
    root = folder / "image"
    root.mkdir(parents=True)
    if packages is None:
        mlenv = root / "mlenv"
        mlenv.mkdir()
        for entry in SITE.iterdir():
            if not entry.name.startswith(("flops", "__editable__", "_flops", "mlflow", "flwr")):
                (mlenv / entry.name).symlink_to(entry)
        for name in ("flops_mlrepo", "flops_utils"):
            (mlenv / name).symlink_to(guest_folder() / name)
    else:
        (root / "mlenv").symlink_to(packages[0])
        (root / "tracking").symlink_to(packages[1])
    if isinstance(code, Path):
        (root / "code").symlink_to(code)
    else:
        (root / "code").mkdir()
        (root / "code" / "model_manager.py").write_text(code)
    return root


def line_data(folder: Path, rows: int = 101) -> Path:
    """Rows of a line, y = 3x + 0.5, under the tag `line`."""
    (folder / "data" / "line").mkdir(parents=True)
    x = np.linspace(-1, 1, rows)
    parquet.write_table(pa.table({"x": x, "y": 3 * x + 0.5}), folder / "data" / "line" / "a.parquet")
    return folder / "data"


def spec_of(**changes: Any) -> ProjectSpec:
    """A spec; keyword arguments go into the SLA's training configuration, or `sla` into the SLA itself."""
    sla = {"ml_repo_url": "https://example.org/line.git", "ml_model_flavor": "sklearn"} | changes.pop("sla", {})
    tracking_uri = changes.pop("tracking_uri", None)
    training = {"data_tags": ["line"], "training_rounds": 3} | changes
    return ProjectSpec(
        project=PROJECT,
        sla=Sla.model_validate({**sla, "training_configuration": training}),
        repository_url="https://example.org/line.git",
        commit="1" * 40,
        submitted_at=datetime.now(UTC),
        tracking_uri=tracking_uri,
    )


def _images() -> ImageSet:
    def one(role: str) -> ImageReference:
        return ImageReference(
            registry="oci:/nowhere", repository=f"line/{role}", digest=DIGEST, platforms=["linux/amd64"]
        )

    return ImageSet(
        image_key=DIGEST,
        learner=one("learner"),
        aggregator=one("aggregator"),
        python="3.11",
        lock_digest=DIGEST,
        lookup="built",
    )


@dataclass
class Stage:
    """What runs, and what was heard. Times are of the monotonic clock, at arrival."""

    broker: brokers.Broker
    folder: Path
    image_root: Path
    data: Path
    spec: ProjectSpec
    learners: Sequence[str] = ("node-1-1", "node-1-2")
    round_seconds: float = 30
    ready_seconds: float = 30
    load_seconds: float = 30
    tracking_seconds: float = 30
    environment: dict[str, str] = field(default_factory=dict)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    aggregator: list[AggregatorStatus] = field(default_factory=list)
    learner: dict[str, list[LearnerStatus]] = field(default_factory=dict)
    rounds: list[tuple[float, RoundReport]] = field(default_factory=list)
    errors: list[tuple[float, ErrorReport]] = field(default_factory=list)
    completed: list[TrainingCompleted] = field(default_factory=list)
    lines: list[tuple[str, str, str]] = field(default_factory=list)
    _changed: anyio.Event = field(default_factory=anyio.Event)

    def __post_init__(self) -> None:
        self.bus = MqttBus(self.broker.url, Identity("manager", "manager-1"))
        self.bus.on(AGGREGATOR_STATUS, self._on_aggregator, project=PROJECT)
        self.bus.on(LEARNER_STATUS, self._on_learner, project=PROJECT)
        self.bus.on(ROUNDS, self._on_round, project=PROJECT)
        self.bus.on(AGGREGATOR_ERRORS, self._on_error, project=PROJECT)
        self.bus.on(LEARNER_ERRORS, self._on_error, project=PROJECT)
        self.bus.on(TRAINING_COMPLETED, self._on_completed, project=PROJECT)
        self.bus.on(AGGREGATOR_LOG, self._on_lines, project=PROJECT)
        self.bus.on(LEARNER_LOG, self._on_lines, project=PROJECT)

    # The dance.

    async def _on_aggregator(self, received: Received[AggregatorStatus]) -> None:
        self.aggregator.append(received.message)
        if received.message.state.value == "ready":
            await self.command_aggregator()
        self._change()

    async def command_aggregator(self, action: str = "train") -> None:
        """What the manager does when the aggregator is ready."""
        command = TrainCommand(
            project=PROJECT,
            command="train-1",
            action=action,
            images=_images(),
            learners=list(self.learners),
            tokens={learner: f"token-of-{learner}" for learner in self.learners},
            round_seconds=self.round_seconds,
            ready_seconds=self.ready_seconds,
            tracking_seconds=self.tracking_seconds,
        )
        await self.bus.publish(TRAIN_COMMAND, command, project=PROJECT)

    async def _on_learner(self, received: Received[LearnerStatus]) -> None:
        self.learner.setdefault(received.message.learner, []).append(received.message)
        if received.message.state.value == "ready":
            await self.command_learners()
        self._change()

    async def command_learners(self, action: str = "train") -> None:
        """What the manager does when a learner is ready."""
        assignments = [
            LearnerAssignment(
                learner=learner,
                node="node-1",
                data_tags=self.spec.sla.training_configuration.data_tags,
                part=part,
                parts=len(self.learners),
                token=f"token-of-{learner}",
            )
            for part, learner in enumerate(self.learners)
        ]
        command = LearnCommand(
            project=PROJECT,
            command="train-1",
            action=action,
            assignments=assignments,
            load_seconds=self.load_seconds,
            round_seconds=self.round_seconds,
        )
        await self.bus.publish(LEARN_COMMAND, command, project=PROJECT)

    async def _on_round(self, received: Received[RoundReport]) -> None:
        self.rounds.append((time.monotonic(), received.message))
        self._change()

    async def _on_error(self, received: Received[ErrorReport]) -> None:
        self.errors.append((time.monotonic(), received.message))
        self._change()

    async def _on_completed(self, received: Received[TrainingCompleted]) -> None:
        self.completed.append(received.message)
        self._change()

    async def _on_lines(self, received: Received[LogLines]) -> None:
        message = received.message
        self.lines += [(message.instance, message.stream, line) for line in message.lines]
        self._change()

    def _change(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    async def until(self, condition: Callable[[], Any], seconds: float = 40) -> None:
        """Waits until something that was heard makes the condition true."""
        try:
            with anyio.fail_after(seconds):
                while not condition():
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(f"not within {seconds} s\n{self.story()}") from None

    async def ended(self, seconds: float = 40) -> AggregatorStatus:
        """Waits until the aggregator is done or has failed; its status then."""
        await self.until(lambda: self.aggregator and self.state in {"done", "failed"}, seconds)
        return self.aggregator[-1]

    @property
    def state(self) -> str:
        """The aggregator's state."""
        return self.aggregator[-1].state.value if self.aggregator else ""

    @property
    def codes(self) -> list[tuple[str, str]]:
        """Who reported which error."""
        return [(report.instance, report.error.code) for _, report in self.errors]

    def story(self) -> str:
        """What happened, for people."""
        told = [f"aggregator: {status.state.value} {status.error or ''}" for status in self.aggregator]
        told += [
            f"{learner}: {[status.state.value for status in statuses]} {statuses[-1].error or ''}"
            for learner, statuses in self.learner.items()
        ]
        told += [f"round {report.round}: {report.trained} {report.failures}" for _, report in self.rounds]
        told += [f"error: {report.instance} {report.error.code} {report.error.detail}" for _, report in self.errors]
        for log in sorted(self.folder.glob("*.log")):
            told.append(f"--- {log.name}\n{log.read_text()[-6000:]}")
        return "\n".join(told)

    # Processes.

    def start(self, role: str, instance: str) -> None:
        """Starts an actor as an engine would."""
        state = self.folder / "state" / instance
        state.mkdir(parents=True, exist_ok=True)
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "FLOPS_BROKER": self.broker.url,
            "FLOPS_PROJECT": PROJECT,
            "FLOPS_ROLE": role,
            "FLOPS_INSTANCE": instance,
            "FLOPS_NODE": "node-1",
            "FLOPS_IMAGE_ROOT": str(self.image_root),
            "FLOPS_STATE_DIR": str(state),
            "FLOPS_DATA_DIR": str(self.data),
            "OMP_NUM_THREADS": "1",
        }
        with (self.folder / f"{instance}.log").open("ab") as log:
            self.processes[instance] = subprocess.Popen(
                [sys.executable, "-u", "-m", f"flops_{role}"],
                env=environment | self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def start_all(self) -> None:
        """The aggregator and every learner."""
        self.start("aggregator", "aggregator")
        for learner in self.learners:
            self.start("learner", learner)

    async def kill(self, instance: str, number: signal.Signals = signal.SIGKILL) -> None:
        """Sends a signal; after SIGKILL, waits until it has worked."""
        process = self.processes[instance]
        process.send_signal(number)
        if number is signal.SIGKILL:
            await anyio.to_thread.run_sync(process.wait)


@asynccontextmanager
async def staged(
    folder: Path, code: str | Path = PLAIN, *, packages: tuple[Path, Path] | None = None, **options: Any
) -> AsyncIterator[Stage]:
    """A stage on a broker of its own, with the spec published; nothing runs yet."""
    spec = options.pop("spec", None) or spec_of()
    root = image(folder, code, packages)
    data = options.pop("data", None) or line_data(folder)
    (folder / "broker").mkdir()
    async with brokers.run(folder / "broker") as broker, anyio.create_task_group() as group:
        stage = Stage(broker, folder, root, data, spec, **options)
        await group.start(stage.bus.run)
        await stage.bus.publish(SPEC, spec, project=PROJECT)
        try:
            yield stage
        finally:
            for process in stage.processes.values():
                if process.poll() is None:
                    process.send_signal(signal.SIGCONT)
                    process.terminate()
            with anyio.CancelScope(shield=True):
                for process in stage.processes.values():
                    try:
                        await anyio.to_thread.run_sync(process.wait, 10)
                    except subprocess.TimeoutExpired:
                        process.kill()
                        process.wait()
            group.cancel_scope.cancel()
