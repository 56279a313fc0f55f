"""When there are enough learners: the decisions themselves, over everything that learners can be."""

import pytest
from flops_aggregator.quorum import (
    MAX_TRIES,
    PASSING,
    AfterRound,
    GiveUp,
    Go,
    Presence,
    Standing,
    Wait,
    after_answers,
    common_error,
    to_begin,
    to_go_on,
)
from flops_protocol.errors import FlopsError
from hypothesis import assume, given
from hypothesis import strategies as st

CODES = ["FLOPS-T001", "FLOPS-T005", "FLOPS-T006", "FLOPS-T007", "FLOPS-T008", "FLOPS-T010", "FLOPS-T012"]


def body(code="FLOPS-T007", **more):
    return FlopsError(code, "detail", **more).body


def standing(name, presence, code=None):
    return Standing(name, presence, error=None if code is None else body(code))


standings = st.lists(st.sampled_from(Presence), max_size=8).map(
    lambda presences: [
        standing(f"learner-{n}", presence, "FLOPS-T001" if presence is Presence.FAILED else None)
        for n, presence in enumerate(presences)
    ]
)
times = st.floats(0, 1000)


def count(found, *presences):
    return sum(one.presence in presences for one in found)


@given(standings, st.integers(1, 8), times, times, st.one_of(st.none(), times), st.floats(0, 60))
def test_to_begin_never_begins_with_too_few_and_never_waits_without_end(
    found, minimum, now, deadline, enough_since, grace
):
    assume(enough_since is None or enough_since <= now)
    verdict = to_begin(found, minimum, now=now, deadline=deadline, enough_since=enough_since, grace=grace)
    joined = count(found, Presence.JOINED)
    if isinstance(verdict, Go):
        assert len(verdict.learners) == joined >= minimum
    elif isinstance(verdict, Wait):
        assert now < verdict.until <= deadline
        assert count(found, Presence.AWAITED, Presence.LOST) > 0
    else:
        assert joined < minimum
    if now >= deadline:
        assert not isinstance(verdict, Wait)


@given(standings, st.integers(1, 8), times, times)
def test_to_go_on_goes_as_soon_as_there_are_enough(found, minimum, now, deadline):
    verdict = to_go_on(found, minimum, now=now, deadline=deadline)
    joined = count(found, Presence.JOINED)
    assert isinstance(verdict, Go) == (joined >= minimum)
    possible = len(found) - count(found, Presence.FAILED)
    assert isinstance(verdict, GiveUp) == (joined < minimum and (possible < minimum or now >= deadline))


def test_all_are_here():
    found = [standing("a", Presence.JOINED), standing("b", Presence.JOINED)]
    assert to_begin(found, 1, now=0, deadline=9, enough_since=None, grace=5) == Go(("a", "b"))


def test_grace_for_those_who_are_on_their_way():
    found = [standing("a", Presence.JOINED), standing("b", Presence.AWAITED)]
    assert to_begin(found, 1, now=3, deadline=60, enough_since=2, grace=5) == Wait(7)
    assert to_begin(found, 1, now=7, deadline=60, enough_since=2, grace=5) == Go(("a",))


def test_nobody_is_waited_for_who_has_failed():
    found = [standing("a", Presence.JOINED), standing("b", Presence.FAILED, "FLOPS-T001")]
    assert to_begin(found, 1, now=0, deadline=60, enough_since=0, grace=5) == Go(("a",))


def test_the_error_that_made_it_impossible_is_told():
    error = body("FLOPS-T001", file="model_manager.py", line=7)
    found = [Standing("a", Presence.FAILED, error=error), standing("b", Presence.AWAITED)]
    verdict = to_begin(found, 2, now=0, deadline=60, enough_since=None, grace=5)
    assert isinstance(verdict, GiveUp)
    told = verdict.error.body
    assert (told.code, told.file, told.line) == ("FLOPS-T001", "model_manager.py", 7)
    assert told.detail == "a: detail"


def test_who_is_missing_and_why():
    found = [
        standing("a", Presence.JOINED),
        Standing("b", Presence.AWAITED, "loading-data"),
        standing("c", Presence.LOST, "FLOPS-T012"),
    ]
    verdict = to_begin(found, 3, now=60, deadline=60, enough_since=None, grace=5)
    assert isinstance(verdict, GiveUp)
    assert verdict.error.body.code == "FLOPS-D003"
    assert "1 of at least 3" in verdict.error.body.detail
    assert "b: loading-data; c: FLOPS-T012 detail" in verdict.error.body.detail


failures = st.dictionaries(st.sampled_from("abcdef"), st.sampled_from(CODES).map(body), max_size=6)


@given(failures, st.integers(0, 6), st.integers(1, 8), st.integers(1, MAX_TRIES + 1))
def test_after_answers_is_bounded_and_keeps_the_minimum(failed, answered, minimum, tries):
    def decide():
        return after_answers(failed, answered, minimum, tries=tries, field="min_fit_clients")

    passing = sum(one.code in PASSING for one in failed.values())
    if answered < minimum and (tries >= MAX_TRIES or not passing or answered + passing < minimum):
        codes = {one.code for one in failed.values()}
        with pytest.raises(FlopsError) as raised:
            decide()
        assert raised.value.body.code == (codes.pop() if len(codes) == 1 else "FLOPS-T011")
        return
    assert decide() is (AfterRound.ENOUGH if answered >= minimum else AfterRound.AGAIN)


def test_different_reasons_are_all_named():
    with pytest.raises(FlopsError) as raised:
        after_answers({"a": body("FLOPS-T007"), "b": body("FLOPS-T006")}, 1, 3, tries=1, field="min_fit_clients")
    detail = raised.value.body.detail
    assert raised.value.body.code == "FLOPS-T011"
    assert "1 of at least 3 (min_fit_clients)" in detail
    assert "a: The code failed while training" in detail
    assert "b: The loss or a parameter" in detail


def test_common_error_of_nobody():
    assert common_error({}) is None
