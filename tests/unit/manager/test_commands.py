"""What actors are told."""

from __future__ import annotations

from dataclasses import replace

import pytest
from flops_manager.commands import DEFAULT_PYTHONS, build_command, learn_command, train_command
from flops_manager.project.state import ProjectState
from flops_protocol.errors import FlopsError
from flops_protocol.messages.project import Role

from tests.unit.manager.samples import DIGEST, POLICY, START, building, deploying, later

REGISTRY = "oci:/registry"


def test_a_build_command_has_what_the_source_key_stands_for() -> None:
    state = building(deadlines={"building": 100})
    command = build_command(state, state.actors["builder"], later(30), REGISTRY, "1.0", "build")
    assert (command.command, command.source_key, command.pythons) == ("build-1", DIGEST, ["3.11"])
    assert command.deadline_seconds == 70
    assert build_command(state, state.actors["builder"], later(500), REGISTRY, "1", "stop").deadline_seconds == 1


def test_where_nodes_leave_the_choice_there_are_pythons_all_the_same() -> None:
    state = replace(building(), pythons=())
    command = build_command(state, state.actors["builder"], START, REGISTRY, "1.0", "build")
    assert command.pythons == list(DEFAULT_PYTHONS)


@pytest.mark.parametrize("there", [False, True])
def test_the_builder_is_told_whether_the_learners_nodes_have_gpus(there: bool) -> None:
    state = replace(building(), gpus=there)
    assert build_command(state, state.actors["builder"], START, REGISTRY, "1.0", "build").gpus is there


def test_aggregator_and_learners_are_told_the_same_secret_each() -> None:
    state = deploying(3)
    train = train_command(state, state.actors["aggregator"], POLICY, "train")
    learn = learn_command(state, state.of(Role.LEARNER), POLICY, "train")
    assert train.learners == ["node-1-1", "node-1-2", "node-1-3"]
    assert {a.learner: a.token for a in learn.assignments} == train.tokens
    assert len(set(train.tokens.values())) == 3
    assert [(a.part, a.parts) for a in learn.assignments] == [(0, 3), (1, 3), (2, 3)]
    assert train.ready_seconds < state.sla.deadlines.deploying


def test_a_command_that_is_sent_again_is_the_same() -> None:
    state = deploying()
    assert train_command(state, state.actors["aggregator"], POLICY, "train") == train_command(
        state, state.actors["aggregator"], POLICY, "train"
    )


def test_another_mesh_has_other_secrets() -> None:
    other = replace(POLICY, secret=b"other")
    assert POLICY.token("p", 1, "a") != other.token("p", 1, "a") != POLICY.token("p", 2, "a")


def without_images() -> ProjectState:
    return replace(deploying(), images=None)


def test_what_cannot_be_commanded_is_an_error_of_ours() -> None:
    with pytest.raises(FlopsError, match="P010"):
        train_command(without_images(), without_images().actors["aggregator"], POLICY, "train")
    state = replace(building(), source_key=None)
    with pytest.raises(FlopsError, match="P010"):
        build_command(state, state.actors["builder"], START, REGISTRY, "1", "build")
