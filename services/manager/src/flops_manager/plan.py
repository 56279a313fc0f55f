"""What would happen on submit. Nothing is kept, and nothing runs when the answer goes out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from flops_protocol.errors import ErrorBody, FlopsError
from flops_protocol.identifiers import new_plan_id
from flops_protocol.images import SourceInputs
from flops_protocol.messages.commands import BuildCommand
from flops_protocol.messages.plans import BuildForecast, PlanCommand
from flops_protocol.messages.project import ProjectSpec, ProjectStage, ProjectStatus
from flops_protocol.messages.requests import NodeVerdict, PlanReport, PlanRequest
from flops_protocol.sla import Sla

from flops_manager.commands import DEFAULT_PYTHONS
from flops_manager.durations import stage_seconds
from flops_manager.forecasts import Forecasts
from flops_manager.lookup import ImageLookup, difference, gpus, pythons, source_inputs
from flops_manager.nodes import Nodes
from flops_manager.placement import place_actors, place_builder
from flops_manager.repository import RefResolver
from flops_manager.requests import read
from flops_manager.settings import Settings
from flops_manager.store.store import Store

EARLIER = 200
"""Among how many finished projects one of the same repository is looked for."""
MAX_ENTRIES, MAX_BYTES = 10_000, 64 * 1024 * 1024


@dataclass(frozen=True)
class Planner:
    """All that a plan needs."""

    settings: Settings
    store: Store
    nodes: Nodes
    resolver: RefResolver
    images: ImageLookup
    forecasts: Forecasts
    clock: Callable[[], datetime]

    async def plan(self, request: PlanRequest) -> PlanReport:
        """The plan. What would end the project in placement or in its build stands in its `errors`.

        :raises SlaError: with every mistake of the SLA
        :raises FlopsError: FLOPS-B001 to B008 when the ref cannot be resolved
        """
        sla, notices = read(request.sla)
        commit = await self.resolver.resolve(sla.ml_repo_url, sla.ml_repo_ref)
        nodes = await self.nodes.look()
        spread = place_actors(nodes, sla)
        errors: list[ErrorBody] = [spread.error] if spread.error else []
        verdicts: list[NodeVerdict] = list(spread.verdicts)
        inputs = source_inputs(
            sla,
            sla.ml_repo_url,
            commit,
            pythons(nodes, spread),
            base_image=await self.images.pinned(self.settings.base_image),
            runtime_version=self.settings.runtime_version,
            builder_version=self.settings.builder_version,
            with_gpus=gpus(nodes, spread),
        )
        images = await self.images.find(sla.ml_repo_url, inputs.key())
        stages = [ProjectStage.ACCEPTED, ProjectStage.RESOLVING]
        missed, build = None, None
        if images is None:
            others = await self.store.sources(sla.ml_repo_url, None)
            missed = difference(inputs, [SourceInputs.model_validate_json(other) for other in others])
            stages.append(ProjectStage.BUILDING)
            building = place_builder(nodes)
            verdicts[:0] = building.verdicts
            errors.extend([building.error] if building.error else [])
            if building.error is None:
                node = next(verdict.node for verdict in building.verdicts if verdict.taken)
                build, failed = await self._think(sla, inputs, node)
                errors += failed
        stages += [ProjectStage.DEPLOYING, ProjectStage.TRAINING, ProjectStage.COMPLETED]
        seconds = await self._seconds(sla)
        if build is not None and build.seconds is not None:
            seconds[ProjectStage.BUILDING.value] = build.seconds
        return PlanReport(
            repository_url=sla.ml_repo_url,
            commit=commit,
            source_key=inputs.key(),
            image="to-build" if images is None else "found",
            image_key=images.image_key if images is not None else None,
            missed=missed,
            placement=verdicts,
            stages=stages,
            deadlines=sla.deadlines.model_dump(),
            notices=notices,
            errors=errors,
            build=build,
            seconds=seconds,
        )

    async def _think(self, sla: Sla, inputs: SourceInputs, node: str) -> tuple[BuildForecast | None, list[ErrorBody]]:
        """What the build would do, and what it would fail with."""
        plan = new_plan_id()
        spec = ProjectSpec(
            project=plan,
            sla=sla,
            repository_url=inputs.repository_url,
            commit=inputs.commit,
            submitted_at=self.clock(),
        )
        command = BuildCommand(
            project=plan,
            command=plan,
            action="build",
            registry=self.settings.registry,
            pythons=inputs.pythons or list(DEFAULT_PYTHONS),
            source_key=inputs.key(),
            runtime_version=inputs.runtime_version,
            deadline_seconds=self.settings.plan_seconds,
            gpus=inputs.gpus,
            base_image=inputs.base_image,
        )
        try:
            build = await self.forecasts.ask(PlanCommand(plan=plan, spec=spec, build=command), node)
        except FlopsError as error:
            return None, [error.body]
        return build, build.errors

    async def _seconds(self, sla: Sla) -> dict[str, float]:
        """What the stages after the build took when the repository was trained last."""
        for document in await self.store.statuses([ProjectStage.COMPLETED], EARLIER, None):
            status = ProjectStatus.model_validate_json(document, extra="ignore")
            if status.repository_url == sla.ml_repo_url:
                entries, _ = await self.store.history(status.project, 0, MAX_ENTRIES, MAX_BYTES)
                return stage_seconds([each.event for each in entries], sla.training_configuration.training_rounds)
        return {}
