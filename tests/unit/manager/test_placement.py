"""Which actor goes where, and why no other node takes it."""

from __future__ import annotations

from typing import Any

import pytest
from flops_manager.placement import place_actors, place_builder
from flops_protocol.messages.mesh import DataTag, NodeStatus
from flops_protocol.messages.project import Role
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.manager.samples import node, sla


def reasons(spread: Any, role: Role) -> dict[str, str]:
    return {v.node: v.reason for v in spread.verdicts if v.role is role and not v.taken}


def tag(name: str, rows: int) -> DataTag:
    return DataTag(tag=name, files=1, rows=rows, bytes=rows, columns={})


def test_every_node_with_the_data_gets_a_learner() -> None:
    spread = place_actors([node("c"), node("a"), node("b", data_tags=[])], sla(min_available_clients=2))
    assert spread.learners == (("a", 1), ("c", 1))
    assert spread.error is None
    assert reasons(spread, Role.LEARNER) == {"b": "has no data with the tag 'digits'; it has none"}


def test_one_node_takes_several_learners_when_there_is_no_other() -> None:
    assert place_actors([node()], sla(min_available_clients=3)).learners == (("node-1", 3),)


def test_learners_go_where_the_rows_are() -> None:
    spread = place_actors([node("big", rows=900), node("small", rows=100)], sla(min_available_clients=4))
    assert spread.learners == (("big", 3), ("small", 1))


def test_a_node_takes_no_more_learners_than_it_has_rows() -> None:
    spread = place_actors([node(rows=2)], sla(min_available_clients=3))
    assert spread.error is not None
    assert spread.error.code == "FLOPS-D003"
    assert "2 of 3 learners: node-1 takes 2 (has 2 rows with the tag 'digits')" in spread.error.detail


def test_a_node_without_rows_is_refused() -> None:
    spread = place_actors([node(rows=0), node("node-2")], sla(min_available_clients=1))
    assert spread.learners == (("node-2", 1),)
    assert reasons(spread, Role.LEARNER) == {"node-1": "has no rows with the tag 'digits'"}


def test_a_tag_on_no_node_names_those_that_there_are() -> None:
    spread = place_actors([node()], sla(data_tags=["digits", "mnist"]))
    assert spread.error is not None
    assert spread.error.code == "FLOPS-D002"
    assert spread.error.detail == "'mnist' is on no node; there is 'digits'"


def test_tags_must_be_together_on_a_node() -> None:
    nodes = [node("a", data_tags=[tag("x", 5)]), node("b", data_tags=[tag("y", 5)])]
    spread = place_actors(nodes, sla(data_tags=["x", "y"], min_available_clients=1))
    assert spread.error is not None
    assert spread.error.code == "FLOPS-D001"
    assert "a has no data with the tag 'y'; it has 'x'" in spread.error.detail


def test_rows_of_all_tags_count_together() -> None:
    both = node(data_tags=[tag("x", 2), tag("y", 1)])
    assert place_actors([both], sla(data_tags=["x", "y"], min_available_clients=3)).learners == (("node-1", 3),)


def test_whoever_takes_part_in_a_round_must_be_there() -> None:
    assert place_actors([node()], sla(min_available_clients=1, min_fit_clients=4)).learners == (("node-1", 4),)


@pytest.mark.parametrize(
    ("changes", "asked", "reason"),
    [
        ({"state": "down"}, {}, "is down"),
        ({"capabilities": ["aggregator"]}, {}, "lacks the capability learner"),
        ({"platform": "linux/arm64"}, {}, "is linux/arm64, the images are for linux/amd64"),
        ({"memory_bytes": 1_000_000_000}, {"memory": 2000}, "has 1000 MB of memory, 2000 MB are asked for"),
        ({"cpus": 2}, {"vcpus": 3}, "has 2 CPUs, 3 are asked for"),
        ({"disk_free_bytes": 5_000_000}, {"storage": 6}, "has 5 MB of disk left, 6 MB are asked for"),
    ],
)
def test_a_node_that_does_not_fit_says_why(changes: dict[str, Any], asked: dict[str, int], reason: str) -> None:
    wanted = sla(min_available_clients=1, resource_constraints=asked)
    spread = place_actors([node("good"), node("bad", **changes)], wanted)
    assert spread.error is None
    assert spread.learners == (("good", 1),)
    assert reasons(spread, Role.LEARNER) == {"bad": reason}


def test_memory_limits_how_many_learners_a_node_takes() -> None:
    wanted = sla(min_available_clients=3, resource_constraints={"memory": 4000})
    error = place_actors([node(memory_bytes=8_000_000_000)], wanted).error
    assert error is not None
    assert error.code == "FLOPS-D003"


def test_an_image_for_another_python_does_not_run_on_a_node_that_brings_its_own() -> None:
    nodes = [node("a", pythons=["3.11"]), node("b", pythons=[])]
    spread = place_actors(nodes, sla(min_available_clients=1), python="3.13")
    assert reasons(spread, Role.LEARNER) == {"a": "has Python 3.11, the image is for 3.13"}
    assert spread.learners == (("b", 1),)


def test_without_any_node_that_says_so() -> None:
    for spread in (place_actors([], sla()), place_builder([])):
        assert spread.error is not None
        assert spread.error.code == "FLOPS-D001"
        assert "there are no nodes" in spread.error.detail


def test_the_builder_goes_to_the_node_with_the_least_to_do() -> None:
    spread = place_builder([node("a", actors=4), node("b", actors=1), node("c", capabilities=["learner"])])
    taken = [verdict.node for verdict in spread.verdicts if verdict.taken]
    assert taken == ["b"]
    assert reasons(spread, Role.BUILDER) == {
        "a": "fits, but b does it",
        "c": "lacks the capability image-builder",
    }


@st.composite
def meshes(draw: st.DrawFn) -> list[NodeStatus]:
    names = draw(st.lists(st.sampled_from([f"n{number}" for number in range(6)]), unique=True, max_size=6))
    return [
        node(
            name,
            state=draw(st.sampled_from(["up", "up", "down"])),
            data_tags=[tag(t, draw(st.integers(0, 6))) for t in draw(st.sets(st.sampled_from(["x", "y"])))],
            capabilities=draw(st.sampled_from([["learner"], ["learner", "aggregator"], ["aggregator"]])),
            actors=draw(st.integers(0, 3)),
        )
        for name in names
    ]


@settings(max_examples=50, deadline=None)
@given(meshes(), st.integers(1, 8), st.sampled_from([[], ["x"], ["x", "y"]]))
def test_every_node_has_a_verdict_and_every_learner_has_rows(
    nodes: list[NodeStatus], wanted: int, tags: list[str]
) -> None:
    spread = place_actors(nodes, sla(min_available_clients=wanted, data_tags=tags))
    for role in (Role.AGGREGATOR, Role.LEARNER):
        assert sorted(v.node for v in spread.verdicts if v.role is role) == sorted(n.node for n in nodes)
    if spread.error is None:
        assert sum(count for _, count in spread.learners) >= wanted
        assert spread.aggregator is not None
    else:
        assert spread.learners == ()
    by_name = {n.node: n for n in nodes}
    for name, count in spread.learners:
        rows = sum(t.rows for t in by_name[name].data_tags if t.tag in tags)
        assert not tags or rows >= count


@settings(max_examples=50, deadline=None)
@given(meshes(), st.integers(1, 8), st.randoms(use_true_random=False))
def test_the_order_of_the_nodes_makes_no_difference(nodes: list[NodeStatus], wanted: int, random: Any) -> None:
    shuffled = list(nodes)
    random.shuffle(shuffled)
    assert place_actors(nodes, sla(min_available_clients=wanted)) == place_actors(
        shuffled, sla(min_available_clients=wanted)
    )
