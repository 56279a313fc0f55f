"""Projects, nodes and images for the unit tests of the manager."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from flops_manager.engine import EngineActor, Presence
from flops_manager.project.log import Details, Draft, Placement, Submission
from flops_manager.project.policy import Policy
from flops_manager.project.state import ProjectState, append
from flops_manager.project.there import ActorStatus, Report
from flops_protocol.messages.actors import AggregatorStatus, BuilderStatus, LearnerStatus, RoundReport
from flops_protocol.messages.mesh import Capability, DataTag, NodeStatus
from flops_protocol.messages.project import (
    EventName,
    ImageReference,
    ImageSet,
    ProjectStage,
    Role,
    RoundMetrics,
    TrainingResult,
)
from flops_protocol.sla import Sla

START = datetime(2030, 1, 1, tzinfo=UTC)
POLICY = Policy(secret=b"secret", actor_restarts=2, builder_restarts=1, start_seconds=60, lost_seconds=30)
PROJECT = "digits-00000001"
COMMIT = "a" * 40
DIGEST = f"sha256:{'b' * 64}"
METRICS = RoundMetrics(round=1, loss=0.5, accuracy=0.75)
TRAINING = TrainingResult(rounds=1, best=METRICS, last=METRICS, tracked=True)


def sla(**changes: Any) -> Sla:
    document: dict[str, Any] = {
        "ml_repo_url": "https://example.org/digits.git",
        "ml_model_flavor": "sklearn",
        "training_configuration": {"data_tags": ["digits"], "training_rounds": 3, "min_available_clients": 2},
    }
    training = document["training_configuration"]
    for key, value in changes.items():
        if key.startswith("min_") or key in {"data_tags", "training_rounds"}:
            training[key] = value
        else:
            document[key] = value
    return Sla.model_validate(document)


def image(repository: str = "digits/learner") -> ImageReference:
    return ImageReference(registry="oci:/registry", repository=repository, digest=DIGEST, platforms=["linux/amd64"])


def images() -> ImageSet:
    return ImageSet(
        image_key=DIGEST,
        learner=image(),
        aggregator=image("digits/aggregator"),
        python="3.11",
        lock_digest=DIGEST,
        lookup="built",
    )


def node(name: str = "node-1", *, rows: int = 100, **changes: Any) -> NodeStatus:
    values: dict[str, Any] = {
        "node": name,
        "engine": "process",
        "state": "up",
        "platform": "linux/amd64",
        "pythons": ["3.11", "3.12"],
        "capabilities": list(Capability),
        "data_tags": [DataTag(tag="digits", files=1, rows=rows, bytes=10 * rows, columns={"x": "int64"})],
        "cpus": 4,
        "memory_bytes": 8_000_000_000,
        "disk_free_bytes": 50_000_000_000,
    }
    return NodeStatus.model_validate(values | changes)


def submitted(**changes: Any) -> Draft:
    asked = sla(**changes)
    submission = Submission(sla=asked, repository_url=asked.ml_repo_url, notices=["a notice"])
    return Draft(EventName.SUBMITTED, "Submitted", details=Details(submission=submission))


def enter(stage: ProjectStage, **details: Any) -> Draft:
    return Draft(EventName.STAGE_ENTERED, stage.value, stage=stage, details=Details(**details))


def placed(role: Role, instance: str, command: str = "train-1", part: int = 0, parts: int = 1) -> Draft:
    placement = Placement(command=command, part=part, parts=parts)
    details = Details(placement=placement)
    return Draft(EventName.ACTOR_PLACED, "placed", role=role, instance=instance, node="node-1", details=details)


def event(name: EventName, role: Role | None = None, instance: str | None = None, **more: Any) -> Draft:
    where = "node-1" if instance else None
    return Draft(name, name.value, role=role, instance=instance, node=where, **more)


def project(*drafts: Draft, at: datetime = START, **changes: Any) -> ProjectState:
    state, _ = append(None, [submitted(**changes), *drafts], at, project=PROJECT)
    assert state is not None
    return state


def grown(state: ProjectState, *drafts: Draft, at: datetime = START) -> ProjectState:
    after, _ = append(state, drafts, at)
    assert after is not None
    return after


def building(**changes: Any) -> ProjectState:
    return project(
        enter(ProjectStage.RESOLVING, commit=COMMIT),
        enter(ProjectStage.BUILDING, source_key=DIGEST, pythons=["3.11"]),
        placed(Role.BUILDER, "builder", "build-1"),
        **changes,
    )


def deploying(learners: int = 2, **changes: Any) -> ProjectState:
    names = [f"node-1-{number + 1}" for number in range(learners)]
    found = Draft(EventName.IMAGE_FOUND, "found", images=images(), details=Details(source_key=DIGEST))
    return project(
        enter(ProjectStage.RESOLVING, commit=COMMIT),
        found,
        enter(ProjectStage.DEPLOYING),
        placed(Role.AGGREGATOR, "aggregator"),
        *(placed(Role.LEARNER, name, part=part, parts=learners) for part, name in enumerate(names)),
        **changes,
    )


def training(learners: int = 2, **changes: Any) -> ProjectState:
    return grown(deploying(learners, **changes), enter(ProjectStage.TRAINING))


def status(state: ProjectState, instance: str, value: str, command: str | None = "", **more: Any) -> ActorStatus:
    """What an actor says; its own command by default."""
    actor = state.actors[instance]
    told = actor.placement.command if command == "" else command
    values: dict[str, Any] = {"project": state.project, "state": value, "command": told, "since": START} | more
    if actor.role is Role.LEARNER:
        return LearnerStatus.model_validate(values | {"learner": instance, "node": actor.node})
    model = BuilderStatus if actor.role is Role.BUILDER else AggregatorStatus
    return model.model_validate(values | {"instance": instance})


def report(state: ProjectState, instance: str, value: str, *, epoch: int = 10, **more: Any) -> Report:
    return Report(status(state, instance, value, **more), epoch=epoch, at=START)


def process(state: ProjectState, instance: str, presence: Presence = Presence.RUNNING, **more: Any) -> EngineActor:
    actor = state.actors[instance]
    values: dict[str, Any] = {"incarnation": actor.restarts, "started_at": START} | more
    return EngineActor(
        project=state.project, role=actor.role, instance=instance, node=actor.node, presence=presence, **values
    )


def later(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def round_report(number: int) -> RoundReport:
    return RoundReport(
        project=PROJECT,
        round=number,
        rounds=3,
        metrics=METRICS.model_copy(update={"round": number}),
        trained=["node-1-1"],
        evaluated=["node-1-1"],
        samples=10,
        best=True,
        seconds=0.5,
    )
