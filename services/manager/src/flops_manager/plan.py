"""What would happen on submit. Nothing is started, and nothing is kept."""

from __future__ import annotations

from dataclasses import dataclass

from flops_protocol.errors import ErrorBody
from flops_protocol.images import SourceInputs
from flops_protocol.messages.project import ProjectStage
from flops_protocol.messages.requests import NodeVerdict, PlanReport, PlanRequest

from flops_manager.lookup import ImageLookup, difference, pythons, source_inputs
from flops_manager.nodes import Nodes
from flops_manager.placement import place_actors, place_builder
from flops_manager.repository import RefResolver
from flops_manager.requests import read
from flops_manager.settings import Settings
from flops_manager.store.store import Store


@dataclass(frozen=True)
class Planner:
    """All that a plan needs."""

    settings: Settings
    store: Store
    nodes: Nodes
    resolver: RefResolver
    images: ImageLookup

    async def plan(self, request: PlanRequest) -> PlanReport:
        """The plan. What would end the project in placement stands in its `errors`.

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
        )
        key = inputs.key()
        images = await self.images.find(sla.ml_repo_url, key)
        stages = [ProjectStage.ACCEPTED, ProjectStage.RESOLVING]
        missed = None
        if images is None:
            others = await self.store.sources(sla.ml_repo_url, None)
            missed = difference(inputs, [SourceInputs.model_validate_json(other) for other in others])
            stages.append(ProjectStage.BUILDING)
            building = place_builder(nodes)
            verdicts[:0] = building.verdicts
            errors.extend([building.error] if building.error else [])
        stages += [ProjectStage.DEPLOYING, ProjectStage.TRAINING, ProjectStage.COMPLETED]
        return PlanReport(
            repository_url=sla.ml_repo_url,
            commit=commit,
            source_key=key,
            image="to-build" if images is None else "found",
            image_key=images.image_key if images is not None else None,
            missed=missed,
            placement=verdicts,
            stages=stages,
            deadlines=sla.deadlines.model_dump(),
            notices=notices,
            errors=errors,
        )
