"""Does what was decided. Everything here can be done again, after a crash at any line of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import anyio
import structlog
from flops_protocol.bus import Bus
from flops_protocol.channels import BUILD_COMMAND, LEARN_COMMAND, TRAIN_COMMAND
from flops_protocol.errors import ErrorBody, FlopsError
from flops_protocol.images import SourceInputs
from flops_protocol.messages.project import ErrorReport, EventName, ProjectStage, Role

from flops_manager.commands import build_command, learn_command, train_command
from flops_manager.crash import crash_point
from flops_manager.engine import ActorSpec, Engine
from flops_manager.lookup import ImageLookup, difference, gpus, pythons, source_inputs
from flops_manager.nodes import Nodes
from flops_manager.placement import place_actors
from flops_manager.project.actions import Action, Command, Deploy, Fail, Halt, LookUp, Remove, ResolveRef
from flops_manager.project.decision import entered
from flops_manager.project.log import Details, Draft
from flops_manager.project.policy import Policy
from flops_manager.project.state import Actor, ProjectState
from flops_manager.repository import RefResolver
from flops_manager.settings import Settings
from flops_manager.store.store import Store

log = structlog.get_logger(__name__)

LOG_SECONDS = 5
STOP_SECONDS = 1.0
"""How long a farewell may take; the engine's own word comes right after it."""
FIRST_REPEAT_SECONDS, LAST_REPEAT_SECONDS = 2.0, 30.0


@dataclass(frozen=True)
class Executor:
    """All that actions need."""

    settings: Settings
    policy: Policy
    store: Store
    bus: Bus
    engine: Engine
    nodes: Nodes
    resolver: RefResolver
    images: ImageLookup
    clock: Callable[[], datetime]

    async def perform(self, project: str, action: Action) -> None:
        """Does one action. What goes wrong with a reason ends the attempt with it.

        Cancelled, it leaves nothing behind that would be in the way of doing it again.

        :raises FlopsError: when an actor cannot be removed, which ends nothing
        """
        try:
            await self._dispatch(project, action)
        except FlopsError as error:
            if isinstance(action, Remove | Halt):
                raise
            await self.fail(project, error.body, action.instance if isinstance(action, Deploy) else None)

    async def fail(self, project: str, error: ErrorBody, instance: str | None = None) -> None:
        """Ends the attempt with an error: told with the tail of the log of the actor that it is about."""
        tail = await self._log_tail(project, instance)

        def decide(state: ProjectState) -> list[Draft]:
            if state.stage.ended or state.outcome is not None:
                return []
            actor = state.actors.get(instance or "")
            return [
                Draft(
                    EventName.ERROR_REPORTED,
                    f"{error.title}: {error.detail}"[:1000],
                    role=actor.role if actor else None,
                    instance=instance,
                    node=actor.node if actor else None,
                    error=error,
                    details=Details(outcome=ProjectStage.FAILED),
                )
            ]

        state = await self.store.state(project)
        report = ErrorReport(
            project=project,
            instance=self.settings.instance,
            stage=state.stage,
            fatal=True,
            error=error,
            log_tail=tail,
        )
        await self.store.change(project, decide, operation="fail", report=report)

    async def _dispatch(self, project: str, action: Action) -> None:
        match action:
            case ResolveRef():
                await self._resolve(project, action)
            case LookUp():
                await self._look_up(project, action)
            case Deploy():
                await self._deploy(project, action)
            case Remove():
                await self._remove(project, action)
            case Halt():
                await self.engine.remove(project, action.instance)
            case Command():
                await self._command(project, action)
            case Fail():
                await self.fail(project, action.error, action.instance)

    async def _resolve(self, project: str, action: ResolveRef) -> None:
        state = await self.store.state(project)
        commit = await self.resolver.resolve(state.repository_url, state.sla.ml_repo_ref)
        ref = state.sla.ml_repo_ref or "HEAD"
        draft = entered(ProjectStage.RESOLVING, f"{ref} is commit {commit[:12]}", details=Details(commit=commit))
        await self._advance(project, action.attempt, ProjectStage.ACCEPTED, [draft], "resolve")

    async def _look_up(self, project: str, action: LookUp) -> None:
        state = await self.store.state(project)
        nodes = await self.nodes.look()
        spread = place_actors(nodes, state.sla)
        self.nodes.refuse(project, spread.verdicts if spread.error else ())
        await self.nodes.tell()
        if spread.error is not None:
            # Before anything is built for nodes that are not there.
            await self.fail(project, spread.error)
            return
        minors = pythons(nodes, spread)
        base_image = await self.images.pinned(self.settings.base_image)
        inputs = self.inputs(state, minors, base_image, with_gpus=gpus(nodes, spread))
        key = inputs.key()
        details = Details(source_key=key, pythons=minors, gpus=inputs.gpus, base_image=base_image)
        images = await self.images.find(state.repository_url, key)
        if images is not None:
            found = Draft(EventName.IMAGE_FOUND, "The images are in the registry", images=images, details=details)
            drafts = [found, entered(ProjectStage.DEPLOYING, "The actors are placed and started")]
        else:
            others = await self.store.sources(state.repository_url, project)
            why = difference(inputs, [SourceInputs.model_validate_json(other) for other in others])
            missed = Draft(EventName.IMAGE_MISSED, why, details=details)
            drafts = [missed, entered(ProjectStage.BUILDING, "The images are to be built")]
        await self.store.keep_source(project, state.repository_url, inputs.model_dump_json().encode())
        await self._advance(project, action.attempt, ProjectStage.RESOLVING, drafts, "lookup")

    def inputs(self, state: ProjectState, minors: list[str], base_image: str, *, with_gpus: bool) -> SourceInputs:
        """What the images of a project are looked up by."""
        if state.commit is None:
            raise FlopsError("FLOPS-P010", f"{state.project} is looked up without a commit")
        return source_inputs(
            state.sla,
            state.repository_url,
            state.commit,
            minors,
            base_image=base_image,
            runtime_version=self.settings.runtime_version,
            builder_version=self.settings.builder_version,
            with_gpus=with_gpus,
        )

    async def _deploy(self, project: str, action: Deploy) -> None:
        state = await self.store.state(project)
        actor = state.actors.get(action.instance)
        if actor is None or actor.restarts != action.incarnation:
            return
        environment = self.settings.contact | {
            "FLOPS_PROJECT": project,
            "FLOPS_ROLE": actor.role.value,
            "FLOPS_INSTANCE": actor.instance,
            "FLOPS_NODE": actor.node,
        }
        image = None
        if state.images is not None and actor.role is not Role.BUILDER:
            image = state.images.aggregator if actor.role is Role.AGGREGATOR else state.images.learner
        spec = ActorSpec(
            project=project,
            role=actor.role,
            instance=actor.instance,
            node=actor.node,
            incarnation=actor.restarts,
            environment=environment,
            image=image,
            python=state.images.python if image is not None and state.images is not None else None,
            resources=state.sla.resource_constraints,
        )
        crash_point("deploy.before")
        await self.engine.deploy(spec)
        crash_point("deploy.after")

    async def _remove(self, project: str, action: Remove) -> None:
        state = await self.store.state(project)
        actor = state.actors.get(action.instance)
        if actor is None:
            return
        await self._say_stop(state, actor)
        crash_point("remove.before")
        # What MLflow has not taken yet lies in the aggregator's folder.
        untracked = state.training is not None and not state.training.tracked
        await self.engine.remove(project, actor.instance, keep_state=untracked and actor.role is Role.AGGREGATOR)
        crash_point("remove.after")

        def decide(now: ProjectState) -> list[Draft]:
            if actor.instance not in now.actors:
                return []
            text = f"{actor.instance} is removed"
            return [Draft(EventName.ACTOR_REMOVED, text, role=actor.role, instance=actor.instance, node=actor.node)]

        await self.store.change(project, decide, operation="removed")

    async def _say_stop(self, state: ProjectState, actor: Actor) -> None:
        """Asks the actor to stop. The engine asks, too, so that it does not matter whether this arrives."""
        if not actor.ready:
            return
        with anyio.move_on_after(STOP_SECONDS):
            try:
                await self._publish(state, actor.role, [actor], stop=True)
            except FlopsError as error:
                log.info("an actor was not asked to stop", instance=actor.instance, error=str(error))

    async def _command(self, project: str, action: Command) -> None:
        """Says it again and again, until nobody wishes it any more: then this is cancelled."""
        pause = FIRST_REPEAT_SECONDS
        while True:
            state = await self.store.state(project)
            actors = [state.actors[name] for name, _ in action.instances if name in state.actors]
            if not actors:
                return
            crash_point("command.before")
            try:
                await self._publish(state, action.role, actors, stop=False)
            except FlopsError as error:
                if not error.body.code.startswith("FLOPS-P00"):
                    raise
                log.warning("a command was not taken", project=project, role=action.role.value, error=str(error))
            crash_point("command.after")
            await anyio.sleep(pause)
            pause = min(2 * pause, LAST_REPEAT_SECONDS)

    async def _publish(self, state: ProjectState, role: Role, actors: list[Actor], *, stop: bool) -> None:
        train: Literal["train", "stop"] = "stop" if stop else "train"
        if role is Role.BUILDER:
            build = build_command(
                state,
                actors[0],
                self.clock(),
                self.settings.registry,
                self.settings.runtime_version,
                "stop" if stop else "build",
            )
            await self.bus.publish(BUILD_COMMAND, build, project=state.project)
        elif role is Role.AGGREGATOR:
            await self.bus.publish(
                TRAIN_COMMAND, train_command(state, actors[0], self.policy, train), project=state.project
            )
        else:
            await self.bus.publish(
                LEARN_COMMAND, learn_command(state, actors, self.policy, train), project=state.project
            )

    async def _advance(
        self, project: str, attempt: int, stage: ProjectStage, drafts: list[Draft], operation: str
    ) -> None:
        """Writes the drafts, if the project is still where they were thought of."""

        def decide(state: ProjectState) -> list[Draft]:
            here = state.attempt == attempt and state.stage is stage and state.outcome is None
            return drafts if here else []

        await self.store.change(project, decide, operation=operation)

    async def _log_tail(self, project: str, instance: str | None) -> list[str]:
        if instance is None:
            return []
        try:
            with anyio.fail_after(LOG_SECONDS):
                return list(await self.engine.logs(project, instance))[-50:]
        except (TimeoutError, OSError, FlopsError) as error:
            return [f"the log cannot be read: {error}"]
