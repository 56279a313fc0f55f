"""Placement: which actor runs on which node, with a reason for every node. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from flops_protocol.errors import ErrorBody, FlopsError
from flops_protocol.messages.mesh import Capability, NodeStatus
from flops_protocol.messages.project import Role
from flops_protocol.messages.requests import NodeVerdict
from flops_protocol.sla import MEGABYTE, Sla

_CAPABILITY = {
    Role.BUILDER: Capability.IMAGE_BUILDER,
    Role.AGGREGATOR: Capability.AGGREGATOR,
    Role.LEARNER: Capability.LEARNER,
}


@dataclass(frozen=True)
class Spread:
    """Where a project's actors go. With an error, nothing is to be placed; the verdicts say why."""

    verdicts: tuple[NodeVerdict, ...]
    aggregator: str | None = None
    learners: tuple[tuple[str, int], ...] = ()
    """How many learners each node takes, in the order of the nodes' names."""
    error: ErrorBody | None = None


def needed_learners(sla: Sla) -> int:
    """How many learners a training cannot begin without."""
    training = sla.training_configuration
    return max(training.min_available_clients, training.min_fit_clients, training.min_evaluate_clients)


def place_builder(nodes: Sequence[NodeStatus]) -> Spread:
    """The node that builds: the one with the fewest actors. It is returned as the verdict that is taken."""
    candidates, verdicts = _sift(nodes, Role.BUILDER, lambda node: _basics(node, Role.BUILDER))
    if not candidates:
        return Spread(tuple(verdicts), error=_nobody(Role.BUILDER, verdicts))
    chosen = _least_loaded(candidates)
    return Spread((*_choose_one(candidates, chosen, Role.BUILDER), *verdicts))


def place_actors(
    nodes: Sequence[NodeStatus], sla: Sla, *, platforms: Iterable[str] | None = None, python: str | None = None
) -> Spread:
    """Where aggregator and learners go.

    Every node with the data gets a learner; where these are fewer than `min_available_clients`, some get several, each
    with a part of the node's rows.

    :param platforms: those that the images are for; before they are built, those that are asked for
    :param python: the minor that the images were made for; None while that is open
    """
    runnable = set(platforms or sla.supported_platforms)

    def fits(node: NodeStatus, role: Role) -> str | None:
        return (
            _basics(node, role)
            or _platform(node, runnable)
            or _python(node, python)
            or _resources(node, sla)
            or (_data(node, sla) if role is Role.LEARNER else None)
        )

    aggregators, refused = _sift(nodes, Role.AGGREGATOR, lambda node: fits(node, Role.AGGREGATOR))
    takers, unfit = _sift(nodes, Role.LEARNER, lambda node: fits(node, Role.LEARNER))
    counts = _spread_learners(takers, sla)
    verdicts = [
        *refused,
        *(
            NodeVerdict(
                node=node.node, role=Role.LEARNER, taken=True, reason=_offer(node, sla), count=counts[node.node]
            )
            for node in takers
        ),
        *unfit,
    ]
    if not aggregators:
        return Spread(tuple(verdicts), error=_nobody(Role.AGGREGATOR, refused))
    aggregator = _least_loaded(aggregators)
    verdicts[:0] = _choose_one(aggregators, aggregator, Role.AGGREGATOR)
    if sum(counts.values()) < needed_learners(sla):
        error = _too_few(nodes, takers, unfit, counts, sla)
        return Spread(tuple(verdicts), error=error)
    return Spread(tuple(verdicts), aggregator.node, tuple(sorted(counts.items())))


def _sift(
    nodes: Sequence[NodeStatus], role: Role, objection: Callable[[NodeStatus], str | None]
) -> tuple[list[NodeStatus], list[NodeVerdict]]:
    candidates: list[NodeStatus] = []
    refused: list[NodeVerdict] = []
    for node in sorted(nodes, key=lambda node: node.node):
        reason = objection(node)
        if reason is None:
            candidates.append(node)
        else:
            refused.append(NodeVerdict(node=node.node, role=role, taken=False, reason=reason))
    return candidates, refused


def _basics(node: NodeStatus, role: Role) -> str | None:
    if node.state != "up":
        return "is down"
    if _CAPABILITY[role] not in node.capabilities:
        return f"lacks the capability {_CAPABILITY[role].value}"
    return None


def _platform(node: NodeStatus, platforms: set[str]) -> str | None:
    return (
        None if node.platform in platforms else f"is {node.platform}, the images are for {', '.join(sorted(platforms))}"
    )


def _python(node: NodeStatus, python: str | None) -> str | None:
    if python is None or not node.pythons or python in node.pythons:
        return None  # Where a node names no Python, the image brings its own.
    return f"has Python {', '.join(node.pythons)}, the image is for {python}"


def _resources(node: NodeStatus, sla: Sla) -> str | None:
    asked = sla.resource_constraints
    if asked.memory is not None and asked.memory * MEGABYTE > node.memory_bytes:
        return f"has {node.memory_bytes // MEGABYTE} MB of memory, {asked.memory} MB are asked for"
    if asked.vcpus is not None and asked.vcpus > node.cpus:
        return f"has {node.cpus} CPUs, {asked.vcpus} are asked for"
    if asked.storage is not None and asked.storage * MEGABYTE > node.disk_free_bytes:
        return f"has {node.disk_free_bytes // MEGABYTE} MB of disk left, {asked.storage} MB are asked for"
    return None


def _data(node: NodeStatus, sla: Sla) -> str | None:
    held = {tag.tag: tag for tag in node.data_tags}
    missing = [tag for tag in sla.training_configuration.data_tags if tag not in held]
    if missing:
        return f"has no data with the tag {_named(missing)}; it has {_named(sorted(held)) or 'none'}"
    if sla.training_configuration.data_tags and _rows(node, sla) == 0:
        return f"has no rows with the tag {_named(sla.training_configuration.data_tags)}"
    return None


def _rows(node: NodeStatus, sla: Sla) -> int:
    return sum(tag.rows for tag in node.data_tags if tag.tag in sla.training_configuration.data_tags)


def _capacity(node: NodeStatus, sla: Sla) -> int:
    """How many learners a node can take: each needs a row of its own, and memory. CPUs are shared in time instead."""
    limits = [needed_learners(sla)]
    if sla.training_configuration.data_tags:
        limits.append(_rows(node, sla))
    if sla.resource_constraints.memory is not None:
        limits.append(node.memory_bytes // (sla.resource_constraints.memory * MEGABYTE))
    return min(limits)


def _spread_learners(takers: Sequence[NodeStatus], sla: Sla) -> dict[str, int]:
    counts = {node.node: 1 for node in takers}
    capacity = {node.node: _capacity(node, sla) for node in takers}
    while sum(counts.values()) < needed_learners(sla):
        # The node that is least used up by the data that it has takes the next one, so that parts are alike in size.
        free = [node for node in takers if counts[node.node] < capacity[node.node]]
        if not free:
            break
        best = max(free, key=lambda node: ((_rows(node, sla) or 1) / (counts[node.node] + 1), node.node))
        counts[best.node] += 1
    return counts


def _offer(node: NodeStatus, sla: Sla) -> str:
    tags = sla.training_configuration.data_tags
    return f"has {_rows(node, sla)} rows with the tag {_named(tags)}" if tags else "fits; the SLA names no data tags"


def _least_loaded(nodes: Sequence[NodeStatus]) -> NodeStatus:
    return min(nodes, key=lambda node: (node.actors, node.node))


def _choose_one(candidates: Sequence[NodeStatus], chosen: NodeStatus, role: Role) -> list[NodeVerdict]:
    return [
        NodeVerdict(node=node.node, role=role, taken=True, reason="fits", count=1)
        if node is chosen
        else NodeVerdict(node=node.node, role=role, taken=False, reason=f"fits, but {chosen.node} does it")
        for node in candidates
    ]


def _nobody(role: Role, refused: Sequence[NodeVerdict]) -> ErrorBody:
    why = "; ".join(f"{verdict.node} {verdict.reason}" for verdict in refused) or "there are no nodes"
    return FlopsError("FLOPS-D001", f"{role.value}: {why}").body


def _too_few(
    nodes: Sequence[NodeStatus],
    takers: Sequence[NodeStatus],
    unfit: Sequence[NodeVerdict],
    counts: dict[str, int],
    sla: Sla,
) -> ErrorBody:
    learning = [node for node in nodes if _basics(node, Role.LEARNER) is None]
    known = {tag.tag for node in learning for tag in node.data_tags}
    unknown = [tag for tag in sla.training_configuration.data_tags if tag not in known]
    if unknown and learning:
        return FlopsError(
            "FLOPS-D002", f"{_named(unknown)} is on no node; there is {_named(sorted(known)) or 'no data'}"
        ).body
    if not takers:
        return _nobody(Role.LEARNER, unfit)
    held = ", ".join(f"{node.node} takes {counts[node.node]} ({_offer(node, sla)})" for node in takers)
    refused = "".join(f"; {verdict.node} {verdict.reason}" for verdict in unfit)
    return FlopsError("FLOPS-D003", f"{sum(counts.values())} of {needed_learners(sla)} learners: {held}{refused}").body


def _named(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)
