"""What a learner picks out of what comes in."""

from datetime import UTC, datetime

import anyio
import pytest
from flops_learner.desk import Desk
from flops_protocol.messages.actors import AggregatorState, AggregatorStatus, Endpoint
from flops_protocol.messages.commands import LearnCommand, LearnerAssignment
from flops_protocol.messages.project import ProjectSpec
from flops_protocol.sla import Sla

SPEC = ProjectSpec(
    project="p",
    sla=Sla.model_validate({"ml_repo_url": "u", "ml_model_flavor": "sklearn"}),
    repository_url="u",
    commit="1" * 40,
    submitted_at=datetime.now(UTC),
)


def command(*learners, action="train"):
    assignments = [LearnerAssignment(learner=name, node="n", data_tags=["t"], part=0, parts=1) for name in learners]
    return LearnCommand(
        project="p", command="c", action=action, assignments=assignments, load_seconds=1, round_seconds=1
    )


def aggregator(state, port=None):
    endpoint = None if port is None else Endpoint(host="h", port=port)
    return AggregatorStatus(
        project="p", instance="a", state=AggregatorState(state), since=datetime.now(UTC), endpoint=endpoint
    )


async def within_a_moment(function, *arguments):
    with anyio.move_on_after(0.05):
        return await function(*arguments)
    return None


async def test_only_a_command_that_names_me_is_mine():
    desk = Desk("me")
    desk.put_spec(SPEC)
    desk.put_command(command("you"))
    assert await within_a_moment(desk.wish) is None
    desk.put_command(command("you", "me"))
    assert (await desk.wish()).assignment.learner == "me"


@pytest.mark.parametrize(("learners", "stops"), [((), True), (("me",), True), (("you",), False)])
def test_stop_is_for_those_who_are_named_or_for_all(learners, stops):
    desk = Desk("me")
    desk.put_command(command(*learners, action="stop"))
    assert desk.stop_wanted.is_set() is stops


async def test_an_aggregator_that_does_not_listen_is_not_joined():
    desk = Desk("me")
    for status in (aggregator("ready"), aggregator("tracking", 1), aggregator("lost", 1), aggregator("waiting")):
        desk.put_aggregator(status)
        assert await within_a_moment(desk.endpoint) is None
    desk.put_aggregator(aggregator("waiting", 5))
    assert (await desk.endpoint()).port == 5


async def test_a_new_place_is_told_from_the_old_one():
    desk = Desk("me")
    desk.put_aggregator(aggregator("training", 5))
    old = await desk.endpoint()
    assert await within_a_moment(desk.endpoint, old) is None
    desk.put_aggregator(aggregator("waiting", 6))
    assert (await desk.endpoint(old)).port == 6
