"""When there are enough learners: to begin, to go on, and after a round. Pure: no clock, no wires."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from flops_protocol.errors import ErrorBody, FlopsError

PASSING = frozenset({"FLOPS-T008", "FLOPS-T009", "FLOPS-T010", "FLOPS-T012"})
"""Errors of a round after which a learner may be back for the next try: it was lost, or starts its worker again."""
MAX_TRIES = 3
"""How often one round is tried, when learners that were lost in it come back."""


class Presence(Enum):
    """How an expected learner is."""

    AWAITED = "awaited"
    JOINED = "joined"
    LOST = "lost"
    """It was here, and may come back."""
    FAILED = "failed"
    """It said itself that it cannot go on."""


@dataclass(frozen=True)
class Standing:
    """An expected learner as it is known here. `doing` is for people: what it said last."""

    learner: str
    presence: Presence
    doing: str = "not heard of"
    error: ErrorBody | None = None


@dataclass(frozen=True)
class Go:
    """Begin, with these learners."""

    learners: tuple[str, ...]


@dataclass(frozen=True)
class Wait:
    """Look again when a learner changes, or at `until` (of the clock that `now` was of)."""

    until: float


@dataclass(frozen=True)
class GiveUp:
    """It will not come to enough learners."""

    error: FlopsError


Verdict = Go | Wait | GiveUp


def to_begin(
    standings: Sequence[Standing],
    minimum: int,
    *,
    now: float,
    deadline: float,
    enough_since: float | None,
    grace: float,
) -> Verdict:
    """Whether the training begins: with all that can still come, or with enough of them after a moment of grace.

    :param deadline: when waiting ends
    :param enough_since: since when `minimum` learners have been here
    """
    joined = _joined(standings)
    coming = [standing for standing in standings if standing.presence in {Presence.AWAITED, Presence.LOST}]
    if len(joined) + len(coming) < minimum:
        return GiveUp(_what_failed(standings) or _too_few("FLOPS-D003", standings, minimum, "min_available_clients"))
    if len(joined) >= minimum:
        since = now if enough_since is None else enough_since
        if not coming or now >= min(since + grace, deadline):
            return Go(joined)
        return Wait(min(since + grace, deadline))
    if now >= deadline:
        return GiveUp(_too_few("FLOPS-D003", standings, minimum, "min_available_clients"))
    return Wait(deadline)


def to_go_on(standings: Sequence[Standing], minimum: int, *, now: float, deadline: float) -> Verdict:
    """Whether a round begins: with whoever is here, if they are enough; else those that were lost are waited for."""
    joined = _joined(standings)
    if len(joined) >= minimum:
        return Go(joined)
    possible = [standing for standing in standings if standing.presence is not Presence.FAILED]
    if len(possible) < minimum:
        return GiveUp(_what_failed(standings) or _too_few("FLOPS-T011", standings, minimum, "min_fit_clients"))
    if now >= deadline:
        return GiveUp(_too_few("FLOPS-T011", standings, minimum, "min_fit_clients"))
    return Wait(deadline)


class AfterRound(Enum):
    """What follows from a round's answers."""

    ENOUGH = "enough"
    AGAIN = "again"


def after_answers(
    failures: Mapping[str, ErrorBody], answered: int, minimum: int, *, tries: int, field: str
) -> AfterRound:
    """Whether enough learners answered, or the round is worth another try.

    :param failures: why each of the others did not
    :param tries: how often this round has been tried, with this time
    :param field: the setting that `minimum` comes from
    :raises FlopsError: the learners' common error, else FLOPS-T011
    """
    if answered >= minimum:
        return AfterRound.ENOUGH
    passing = sum(error.code in PASSING for error in failures.values())
    if answered + passing >= minimum and passing and tries < MAX_TRIES:
        return AfterRound.AGAIN
    reasons = "; ".join(f"{learner}: {error.title}: {error.detail}" for learner, error in sorted(failures.items()))
    told = common_error(failures)
    if told is not None:
        raise told
    detail = f"{answered} of at least {minimum} ({field}) answered. {reasons or 'Nobody else was asked.'}"
    raise FlopsError("FLOPS-T011", detail)


def common_error(errors: Mapping[str, ErrorBody]) -> FlopsError | None:
    """The one error that all of them tell, with the names of who told it; None when they differ."""
    if not errors or len({error.code for error in errors.values()}) > 1:
        return None
    learners = sorted(errors)
    first = errors[learners[0]]
    body = first.model_copy(update={"detail": f"{', '.join(learners)}: {first.detail}"})
    return FlopsError.from_body(body)


def _joined(standings: Sequence[Standing]) -> tuple[str, ...]:
    return tuple(standing.learner for standing in standings if standing.presence is Presence.JOINED)


def _what_failed(standings: Sequence[Standing]) -> FlopsError | None:
    """The error that made it impossible, where it is one: that is what a person has to act on."""
    failed = {s.learner: s.error for s in standings if s.presence is Presence.FAILED and s.error is not None}
    return common_error(failed)


def _too_few(code: str, standings: Sequence[Standing], minimum: int, field: str) -> FlopsError:
    missing = [standing for standing in standings if standing.presence is not Presence.JOINED]
    reasons = "; ".join(
        f"{standing.learner}: "
        + (standing.doing if standing.error is None else f"{standing.error.code} {standing.error.detail}")
        for standing in missing
    )
    here = len(standings) - len(missing)
    return FlopsError(code, f"{here} of at least {minimum} ({field}) are here. Missing: {reasons or 'none was placed'}")
