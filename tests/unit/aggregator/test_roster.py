"""What the stream and the bus say of learners comes to one standing each."""

from datetime import UTC, datetime

import anyio
import pytest
from flops_aggregator.quorum import Presence
from flops_aggregator.roster import Roster
from flops_protocol.errors import FlopsError
from flops_protocol.messages.actors import LearnerState, LearnerStatus


@pytest.fixture
def lost():
    return []


@pytest.fixture
def roster(lost):
    made = Roster(lambda learner, error: lost.append((learner, error.code)))
    made.expect(["a", "b"], {"a": "secret"})
    return made


def status(learner, state, error=None):
    return LearnerStatus(
        project="p", learner=learner, node="node-1", state=LearnerState(state), since=datetime.now(UTC), error=error
    )


def presence(roster, learner):
    return next(one for one in roster.standings if one.learner == learner).presence


def test_a_broken_stream_is_a_loss_told_once(roster, lost):
    roster.entered("a", 1)
    roster.left("a", "the connection was lost", on_purpose=False)
    roster.left("a", "again", on_purpose=False)
    assert presence(roster, "a") is Presence.LOST
    assert lost == [("a", "FLOPS-T012")]


def test_the_broker_and_the_stream_tell_of_the_same_loss_once(roster, lost):
    roster.entered("a", 1)
    assert roster.said(status("a", "lost"), 1)
    roster.left("a", "the connection was lost", on_purpose=False)
    assert lost == [("a", "FLOPS-T012")]


def test_a_goodbye_is_no_loss(roster, lost):
    roster.entered("a", 1)
    roster.left("a", "left", on_purpose=True)
    assert presence(roster, "a") is Presence.LOST
    assert lost == []


def test_the_last_will_of_an_earlier_process_does_not_count(roster, lost):
    roster.entered("a", 5)
    assert not roster.said(status("a", "lost"), 4)
    assert presence(roster, "a") is Presence.JOINED
    assert lost == []


def test_a_learner_that_says_that_it_failed_is_not_expected_any_more(roster, lost):
    roster.entered("a", 1)
    error = FlopsError("FLOPS-T001", "no column").body
    assert roster.said(status("a", "failed", error), 1)
    roster.left("a", "left", on_purpose=True)
    assert presence(roster, "a") is Presence.FAILED
    assert next(one for one in roster.standings if one.learner == "a").error == error
    assert lost == []


def test_a_failed_learner_may_begin_anew(roster):
    roster.said(status("a", "failed"), 1)
    roster.said(status("a", "ready"), 2)
    assert presence(roster, "a") is Presence.AWAITED
    roster.entered("a", 2)
    assert presence(roster, "a") is Presence.JOINED


def test_strangers_are_nobody(roster, lost):
    roster.entered("x", 1)
    roster.left("x", "gone", on_purpose=False)
    assert not roster.said(status("x", "lost"), 1)
    assert (roster.joined, lost) == ([], [])
    assert (roster.token_of("x"), roster.token_of("a"), roster.token_of("b")) == (None, "secret", "")


def test_naming_the_learners_again_keeps_what_is_known(roster):
    roster.entered("a", 1)
    roster.expect(["a", "c"], {})
    assert [(one.learner, one.presence) for one in roster.standings] == [
        ("a", Presence.JOINED),
        ("c", Presence.AWAITED),
    ]


async def test_changed_wakes(roster):
    with anyio.fail_after(1):
        async with anyio.create_task_group() as group:
            group.start_soon(roster.changed)
            await anyio.lowlevel.checkpoint()
            roster.entered("a", 1)
