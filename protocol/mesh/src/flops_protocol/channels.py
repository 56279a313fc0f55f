"""The channel registry: every topic of the mesh, who writes it, and what it carries.

One table. Topics, schemas, the AsyncAPI document, the broker's access rules and docs/protocol.md come from it.
"""

from __future__ import annotations

import builtins
import re
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

from flops_protocol.errors import FlopsError
from flops_protocol.identifiers import MAX_SEGMENT
from flops_protocol.messages import actors, commands, mesh, observer, project, requests
from flops_protocol.messages._base import Message

ROOT = "flops/v1"
MINUTE, HOUR, DAY = 60, 3600, 86_400

M = TypeVar("M", bound=Message)


@dataclass(frozen=True)
class Channel(Generic[M]):
    """One kind of topic: its pattern below the root, the one writer, the message, and how MQTT carries it."""

    name: str
    pattern: str
    writer: str
    """The role that may write here; for a path level such as `{client}`, whoever has that name."""
    type: str
    model: builtins.type[M]
    description: str
    qos: Literal[0, 1] = 1
    retain: bool = False
    expiry: int | None = None
    """Seconds after which the broker may drop a message that nobody took."""
    _matcher: re.Pattern[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        segment = rf"[a-z0-9-]{{1,{MAX_SEGMENT}}}"
        pattern = re.sub(r"\\\{(\w+)\\\}", rf"(?P<\1>{segment})", re.escape(f"{ROOT}/{self.pattern}"))
        object.__setattr__(self, "_matcher", re.compile(pattern))

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names of the levels that vary."""
        return tuple(self._matcher.groupindex)

    @property
    def schema_id(self) -> str:
        """The `$id` of the JSON Schema of the channel's type, and the `dataschema` of its envelopes."""
        return f"urn:flops:schema:{self.type}"

    def topic(self, **parameters: str) -> str:
        """The topic of one set of parameters.

        :raises ValueError: when a parameter is missing, unknown, or no topic segment
        """
        if set(parameters) != set(self.parameters):
            raise ValueError(f"{self.name} takes {self.parameters}, not {tuple(parameters)}")
        topic = f"{ROOT}/{self.pattern.format(**parameters)}"
        if self.match(topic) is None:
            raise ValueError(f"{topic} is no topic: segments are [a-z0-9-], at most {MAX_SEGMENT} characters")
        return topic

    def filter(self, **parameters: str) -> str:
        """The topic filter with `+` for every parameter that is not given."""
        return f"{ROOT}/{self.pattern.format(**dict.fromkeys(self.parameters, '+') | parameters)}"

    def match(self, topic: str) -> dict[str, str] | None:
        """The parameters of a topic of this channel, or None."""
        found = self._matcher.fullmatch(topic)
        return None if found is None else found.groupdict()


def _request(verb: str, model: type[M], description: str, *, of: str = "manager") -> Channel[M]:
    return Channel(
        f"{of}-{verb}-request",
        f"requests/{of}/{verb}",
        "client",
        f"flops.request.{verb}.v1",
        model,
        description,
        expiry=MINUTE,
    )


SUBMIT = _request("submit", requests.SubmitRequest, "Start a project")
PLAN = _request("plan", requests.PlanRequest, "Say what a submit would do")
LIST = _request("list", requests.ListRequest, "List projects")
SHOW = _request("show", requests.ShowRequest, "Show one project")
CANCEL = _request("cancel", requests.CancelRequest, "Cancel a project")
RETRY = _request("retry", requests.RetryRequest, "Start a failed or cancelled project again")
REPLAY = _request("replay", requests.ReplayRequest, "Page through a project's history")
HISTORY = _request("history", requests.HistoryRequest, "Page through a project's timeline", of="observer")
LOGS = _request("logs", requests.LogsRequest, "Page through a project's log lines", of="observer")
REPLY = Channel(
    "reply",
    "inbox/{client}/{request}",
    "the service that was asked",
    "flops.reply.v1",
    requests.Reply,
    "The answer to a request",
    expiry=MINUTE,
)

SERVICE_STATUS = Channel(
    "service-status",
    "services/{kind}/{instance}/status",
    "{kind}",
    "flops.service.status.v1",
    mesh.ServiceStatus,
    "Birth and last will of a service",
    retain=True,
)
NODE_STATUS = Channel(
    "node-status",
    "nodes/{node}/status",
    "manager",
    "flops.node.status.v1",
    mesh.NodeStatus,
    "A node as its engine reports it",
    retain=True,
)
DEAD_LETTER = Channel(
    "dead-letter",
    "dead-letter/{service}",
    "{service}",
    "flops.deadletter.v1",
    mesh.DeadLetter,
    "What could not be read or handled",
    expiry=7 * DAY,
)

SPEC = Channel(
    "project-spec",
    "projects/{project}/manager/spec",
    "manager",
    "flops.project.spec.v1",
    project.ProjectSpec,
    "What was asked for",
    retain=True,
)
PROJECT_STATUS = Channel(
    "project-status",
    "projects/{project}/manager/status",
    "manager",
    "flops.project.status.v1",
    project.ProjectStatus,
    "How the project stands",
    retain=True,
)
PROJECT_EVENTS = Channel(
    "project-events",
    "projects/{project}/manager/events",
    "manager",
    "flops.project.event.v1",
    project.ProjectEvent,
    "The ordered history of the project",
    expiry=DAY,
)
BUILD_COMMAND = Channel(
    "builder-commands",
    "projects/{project}/manager/commands/builder",
    "manager",
    "flops.build.command.v1",
    commands.BuildCommand,
    "What the manager wants of the builder",
    expiry=MINUTE,
)
TRAIN_COMMAND = Channel(
    "aggregator-commands",
    "projects/{project}/manager/commands/aggregator",
    "manager",
    "flops.train.command.v1",
    commands.TrainCommand,
    "What the manager wants of the aggregator",
    expiry=MINUTE,
)
LEARN_COMMAND = Channel(
    "learner-commands",
    "projects/{project}/manager/commands/learner",
    "manager",
    "flops.learn.command.v1",
    commands.LearnCommand,
    "What the manager wants of the learners",
    expiry=MINUTE,
)
MANAGER_ERRORS = Channel(
    "manager-errors",
    "projects/{project}/manager/errors",
    "manager",
    "flops.error.v1",
    project.ErrorReport,
    "Failures that the manager saw",
    expiry=DAY,
)
PROJECT_COMPLETED = Channel(
    "project-completed",
    "projects/{project}/manager/completed",
    "manager",
    "flops.project.completed.v1",
    project.ProjectCompleted,
    "The end of the project",
    expiry=DAY,
)

BUILDER_STATUS = Channel(
    "builder-status",
    "projects/{project}/builder/status",
    "builder",
    "flops.build.status.v1",
    actors.BuilderStatus,
    "How the builder stands",
    retain=True,
)
BUILD_PROGRESS = Channel(
    "builder-progress",
    "projects/{project}/builder/progress",
    "builder",
    "flops.build.progress.v1",
    actors.BuildProgress,
    "How far the build is",
    qos=0,
    expiry=MINUTE,
)
BUILDER_LOG = Channel(
    "builder-log",
    "projects/{project}/builder/log",
    "builder",
    "flops.log.v1",
    actors.LogLines,
    "What the builder prints",
    expiry=HOUR,
)
BUILDER_ERRORS = Channel(
    "builder-errors",
    "projects/{project}/builder/errors",
    "builder",
    "flops.error.v1",
    project.ErrorReport,
    "Failures of the build",
    expiry=DAY,
)
BUILD_COMPLETED = Channel(
    "builder-completed",
    "projects/{project}/builder/completed",
    "builder",
    "flops.build.completed.v1",
    actors.BuildCompleted,
    "A build that succeeded",
    expiry=DAY,
)

AGGREGATOR_STATUS = Channel(
    "aggregator-status",
    "projects/{project}/aggregator/status",
    "aggregator",
    "flops.aggregator.status.v1",
    actors.AggregatorStatus,
    "How the aggregator stands, and where learners reach it",
    retain=True,
)
ROUNDS = Channel(
    "aggregator-rounds",
    "projects/{project}/aggregator/rounds",
    "aggregator",
    "flops.round.v1",
    actors.RoundReport,
    "One message a round",
    expiry=DAY,
)
AGGREGATOR_LOG = Channel(
    "aggregator-log",
    "projects/{project}/aggregator/log",
    "aggregator",
    "flops.log.v1",
    actors.LogLines,
    "What the aggregator prints",
    expiry=HOUR,
)
AGGREGATOR_ERRORS = Channel(
    "aggregator-errors",
    "projects/{project}/aggregator/errors",
    "aggregator",
    "flops.error.v1",
    project.ErrorReport,
    "Failures of the training",
    expiry=DAY,
)
TRAINING_COMPLETED = Channel(
    "aggregator-completed",
    "projects/{project}/aggregator/completed",
    "aggregator",
    "flops.training.completed.v1",
    actors.TrainingCompleted,
    "Training completion",
    expiry=DAY,
)

LEARNER_STATUS = Channel(
    "learner-status",
    "projects/{project}/learner/{learner}/status",
    "learner",
    "flops.learner.status.v1",
    actors.LearnerStatus,
    "How a learner stands",
    retain=True,
)
LEARNER_LOG = Channel(
    "learner-log",
    "projects/{project}/learner/{learner}/log",
    "learner",
    "flops.log.v1",
    actors.LogLines,
    "What a learner prints",
    expiry=HOUR,
)
LEARNER_ERRORS = Channel(
    "learner-errors",
    "projects/{project}/learner/{learner}/errors",
    "learner",
    "flops.error.v1",
    project.ErrorReport,
    "Failures of a learner",
    expiry=DAY,
)

TIMELINE = Channel(
    "observer-timeline",
    "projects/{project}/observer/timeline",
    "observer",
    "flops.timeline.v1",
    observer.TimelineEntry,
    "For people: one readable line a step",
    expiry=DAY,
)
SUMMARY = Channel(
    "observer-summary",
    "projects/{project}/observer/summary",
    "observer",
    "flops.summary.v1",
    observer.Summary,
    "For people: where the project stands",
    retain=True,
)

CHANNELS: tuple[Channel[Any], ...] = (
    SUBMIT, PLAN, LIST, SHOW, CANCEL, RETRY, REPLAY, HISTORY, LOGS, REPLY,
    SERVICE_STATUS, NODE_STATUS, DEAD_LETTER,
    SPEC, PROJECT_STATUS, PROJECT_EVENTS, BUILD_COMMAND, TRAIN_COMMAND, LEARN_COMMAND,
    MANAGER_ERRORS, PROJECT_COMPLETED,
    BUILDER_STATUS, BUILD_PROGRESS, BUILDER_LOG, BUILDER_ERRORS, BUILD_COMPLETED,
    AGGREGATOR_STATUS, ROUNDS, AGGREGATOR_LOG, AGGREGATOR_ERRORS, TRAINING_COMPLETED,
    LEARNER_STATUS, LEARNER_LOG, LEARNER_ERRORS,
    TIMELINE, SUMMARY,
)  # fmt: skip


def channel_of(topic: str) -> tuple[Channel[Any], dict[str, str]]:
    """The channel that a topic belongs to, and its parameters.

    :raises FlopsError: FLOPS-P003 when it belongs to none
    """
    for channel in CHANNELS:
        if (parameters := channel.match(topic)) is not None:
            return channel, parameters
    raise FlopsError("FLOPS-P003", topic)
