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
from flops_protocol.messages import actors, commands, mesh, observer, plans, project, requests
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
    """The role that may write here; a path level such as `{service}` stands for whoever has that name, and `service`
    for the manager and the observer, each in its answers."""
    type: str
    model: builtins.type[M]
    description: str
    qos: Literal[0, 1] = 1
    retain: bool = False
    readers: tuple[str, ...] = ()
    """The roles that read it."""
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


CLIENT, MANAGER, OBSERVER = "client", "manager", "observer"
BUILDER, AGGREGATOR, LEARNER = "builder", "aggregator", "learner"
SERVICE = "service"
ROLES = (CLIENT, MANAGER, OBSERVER, BUILDER, AGGREGATOR, LEARNER)


def _request(verb: str, model: type[M], description: str, *, of: str = MANAGER) -> Channel[M]:
    name, pattern, kind = f"{of}-{verb}-request", f"requests/{of}/{verb}", f"flops.request.{verb}.v1"
    return Channel(name, pattern, CLIENT, kind, model, description, readers=(of,), expiry=MINUTE)


def _state(name: str, pattern: str, writer: str, kind: str, model: type[M], text: str, *readers: str) -> Channel[M]:
    return Channel(name, pattern, writer, kind, model, text, retain=True, readers=readers)


def _event(
    name: str, pattern: str, writer: str, kind: str, model: type[M], text: str, *readers: str, expiry: int = DAY
) -> Channel[M]:
    return Channel(name, pattern, writer, kind, model, text, readers=readers, expiry=expiry)


def _command(role: str, kind: str, model: type[M], text: str) -> Channel[M]:
    pattern = f"projects/{{project}}/manager/commands/{role}"
    return Channel(f"{role}-commands", pattern, MANAGER, kind, model, text, readers=(role,), expiry=MINUTE)


# A table, not one argument a line.
# fmt: off
SUBMIT = _request("submit", requests.SubmitRequest, "Start a project")
PLAN = _request("plan", requests.PlanRequest, "Say what a submit would do")
LIST = _request("list", requests.ListRequest, "List projects")
SHOW = _request("show", requests.ShowRequest, "Show one project")
CANCEL = _request("cancel", requests.CancelRequest, "Cancel a project")
RETRY = _request("retry", requests.RetryRequest, "Start a failed or cancelled project again")
REPLAY = _request("replay", requests.ReplayRequest, "Page through a project's history")
HISTORY = _request("history", requests.HistoryRequest, "Page through a project's timeline", of=OBSERVER)
LOGS = _request("logs", requests.LogsRequest, "Page through a project's log lines", of=OBSERVER)
REPLY = _event(
    "reply", "inbox/{client}/{request}", SERVICE, "flops.reply.v1", requests.Reply,
    "The answer to a request", CLIENT, OBSERVER, expiry=MINUTE,
)

SERVICE_STATUS = _state(
    "service-status", "services/{kind}/{instance}/status", "{kind}", "flops.service.status.v1", mesh.ServiceStatus,
    "Birth and last will of a service", CLIENT, MANAGER, OBSERVER,
)
NODE_STATUS = _state(
    "node-status", "nodes/{node}/status", MANAGER, "flops.node.status.v1", mesh.NodeStatus,
    "A node as its engine reports it", CLIENT, OBSERVER,
)
DEAD_LETTER = _event(
    "dead-letter", "dead-letter/{service}", "{service}", "flops.deadletter.v1", mesh.DeadLetter,
    "What could not be read or handled", CLIENT, OBSERVER, expiry=7 * DAY,
)

SPEC = _state(
    "project-spec", "projects/{project}/manager/spec", MANAGER, "flops.project.spec.v1", project.ProjectSpec,
    "What was asked for", CLIENT, OBSERVER, BUILDER, AGGREGATOR, LEARNER,
)
PROJECT_STATUS = _state(
    "project-status", "projects/{project}/manager/status", MANAGER, "flops.project.status.v1", project.ProjectStatus,
    "How the project stands", CLIENT, OBSERVER,
)
PROJECT_EVENTS = _event(
    "project-events", "projects/{project}/manager/events", MANAGER, "flops.project.event.v1", project.ProjectEvent,
    "The ordered history of the project", CLIENT, OBSERVER,
)
BUILD_COMMAND = _command(
    BUILDER, "flops.build.command.v1", commands.BuildCommand,
    "What the manager wants of the builder",
)
TRAIN_COMMAND = _command(
    AGGREGATOR, "flops.train.command.v1", commands.TrainCommand,
    "What the manager wants of the aggregator",
)
LEARN_COMMAND = _command(
    LEARNER, "flops.learn.command.v1", commands.LearnCommand,
    "What the manager wants of the learners",
)
MANAGER_ERRORS = _event(
    "manager-errors", "projects/{project}/manager/errors", MANAGER, "flops.error.v1", project.ErrorReport,
    "Failures that the manager saw", CLIENT, OBSERVER,
)
PROJECT_COMPLETED = _event(
    "project-completed", "projects/{project}/manager/completed", MANAGER, "flops.project.completed.v1",
    project.ProjectCompleted,
    "The end of the project", CLIENT, OBSERVER,
)

BUILDER_STATUS = _state(
    "builder-status", "projects/{project}/builder/status", BUILDER, "flops.build.status.v1", actors.BuilderStatus,
    "How the builder stands", CLIENT, MANAGER, OBSERVER,
)
BUILD_PROGRESS = Channel(
    "builder-progress", "projects/{project}/builder/progress", BUILDER, "flops.build.progress.v1", actors.BuildProgress,
    "How far the build is", qos=0, readers=(CLIENT, OBSERVER), expiry=MINUTE,
)
BUILDER_LOG = _event(
    "builder-log", "projects/{project}/builder/log", BUILDER, "flops.log.v1", actors.LogLines,
    "What the builder prints", CLIENT, OBSERVER, expiry=HOUR,
)
BUILDER_ERRORS = _event(
    "builder-errors", "projects/{project}/builder/errors", BUILDER, "flops.error.v1", project.ErrorReport,
    "Failures of the build", CLIENT, MANAGER, OBSERVER,
)
BUILD_COMPLETED = _event(
    "builder-completed", "projects/{project}/builder/completed", BUILDER, "flops.build.completed.v1",
    actors.BuildCompleted,
    "A build that succeeded", CLIENT, MANAGER, OBSERVER,
)

AGGREGATOR_STATUS = _state(
    "aggregator-status", "projects/{project}/aggregator/status", AGGREGATOR, "flops.aggregator.status.v1",
    actors.AggregatorStatus,
    "How the aggregator stands, and where learners reach it", CLIENT, MANAGER, OBSERVER, LEARNER,
)
ROUNDS = _event(
    "aggregator-rounds", "projects/{project}/aggregator/rounds", AGGREGATOR, "flops.round.v1", actors.RoundReport,
    "One message a round", CLIENT, MANAGER, OBSERVER,
)
AGGREGATOR_LOG = _event(
    "aggregator-log", "projects/{project}/aggregator/log", AGGREGATOR, "flops.log.v1", actors.LogLines,
    "What the aggregator prints", CLIENT, OBSERVER, expiry=HOUR,
)
AGGREGATOR_ERRORS = _event(
    "aggregator-errors", "projects/{project}/aggregator/errors", AGGREGATOR, "flops.error.v1", project.ErrorReport,
    "Failures of the training", CLIENT, MANAGER, OBSERVER,
)
TRAINING_COMPLETED = _event(
    "aggregator-completed", "projects/{project}/aggregator/completed", AGGREGATOR, "flops.training.completed.v1",
    actors.TrainingCompleted,
    "Training completion", CLIENT, MANAGER, OBSERVER,
)

LEARNER_STATUS = _state(
    "learner-status", "projects/{project}/learner/{learner}/status", LEARNER, "flops.learner.status.v1",
    actors.LearnerStatus,
    "How a learner stands", CLIENT, MANAGER, OBSERVER, AGGREGATOR,
)
LEARNER_LOG = _event(
    "learner-log", "projects/{project}/learner/{learner}/log", LEARNER, "flops.log.v1", actors.LogLines,
    "What a learner prints", CLIENT, OBSERVER, expiry=HOUR,
)
LEARNER_ERRORS = _event(
    "learner-errors", "projects/{project}/learner/{learner}/errors", LEARNER, "flops.error.v1", project.ErrorReport,
    "Failures of a learner", CLIENT, MANAGER, OBSERVER,
)

TIMELINE = _event(
    "observer-timeline", "projects/{project}/observer/timeline", OBSERVER, "flops.timeline.v1", observer.TimelineEntry,
    "For people: one readable line a step", CLIENT,
)
SUMMARY = _state(
    "observer-summary", "projects/{project}/observer/summary", OBSERVER, "flops.summary.v1", observer.Summary,
    "For people: where the project stands", CLIENT,
)

PLAN_COMMAND = Channel(
    "plan-command", "plans/{plan}/manager/command", MANAGER, "flops.plan.command.v1", plans.PlanCommand,
    "What the manager wants the builder of a plan to think through", readers=(BUILDER,), expiry=MINUTE,
)
PLAN_STATUS = _event(
    "plan-status", "plans/{plan}/builder/status", BUILDER, "flops.plan.status.v1", plans.PlanStatus,
    "How the builder of a plan stands, and what it found", MANAGER, expiry=MINUTE,
)
# fmt: on

CHANNELS: tuple[Channel[Any], ...] = (
    SUBMIT, PLAN, LIST, SHOW, CANCEL, RETRY, REPLAY, HISTORY, LOGS, REPLY,
    SERVICE_STATUS, NODE_STATUS, DEAD_LETTER,
    SPEC, PROJECT_STATUS, PROJECT_EVENTS, BUILD_COMMAND, TRAIN_COMMAND, LEARN_COMMAND,
    MANAGER_ERRORS, PROJECT_COMPLETED,
    BUILDER_STATUS, BUILD_PROGRESS, BUILDER_LOG, BUILDER_ERRORS, BUILD_COMPLETED,
    AGGREGATOR_STATUS, ROUNDS, AGGREGATOR_LOG, AGGREGATOR_ERRORS, TRAINING_COMPLETED,
    LEARNER_STATUS, LEARNER_LOG, LEARNER_ERRORS,
    TIMELINE, SUMMARY,
    PLAN_COMMAND, PLAN_STATUS,
)  # fmt: skip


def channel_of(topic: str) -> tuple[Channel[Any], dict[str, str]]:
    """The channel that a topic belongs to, and its parameters.

    :raises FlopsError: FLOPS-P003 when it belongs to none
    """
    for channel in CHANNELS:
        if (parameters := channel.match(topic)) is not None:
            return channel, parameters
    raise FlopsError("FLOPS-P003", topic)
