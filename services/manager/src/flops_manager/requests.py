"""What clients ask of the manager, and what it answers."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import orjson
from flops_protocol.errors import FlopsError
from flops_protocol.identifiers import new_project_id
from flops_protocol.messages.project import EventName, ProjectStage, ProjectStatus
from flops_protocol.messages.requests import (
    CancelRequest,
    ListRequest,
    ReplayRequest,
    Reply,
    RetryRequest,
    ShowRequest,
    SubmitRequest,
)
from flops_protocol.sla import Sla
from flops_protocol.sla_reader import read_sla

from flops_manager.project import views
from flops_manager.project.log import Details, Draft, Submission
from flops_manager.project.state import ProjectState
from flops_manager.repository import Allowed, transport
from flops_manager.store.store import Receipt, Store

MAX_PAGE_BYTES = 200 * 1024
"""Of the events in one reply, which has to fit into a message with all that is around them."""
_POST_TRAINING = (
    "post_training_steps are noted, but not done: this version of flops-mesh ends with the trained model in MLflow."
)


class Desk:
    """Answers what can be answered from the store alone. Whatever is wrong with a request is raised as a FlopsError."""

    def __init__(self, store: Store, allowed: Allowed, tracking_uri: str | None, wake: Callable[[str], None]) -> None:
        """`wake` is called with every project that a request has changed."""
        self._store = store
        self._allowed = allowed
        self._tracking_uri = tracking_uri
        self._wake = wake

    async def submit(self, request: SubmitRequest, receipt: Receipt) -> Reply:
        """Takes a project in. Its repository is looked at afterwards.

        :raises SlaError: with every mistake of the SLA
        :raises FlopsError: FLOPS-B006 for a repository that is not allowed, FLOPS-S004 for a token of another SLA
        """
        sla, notices = read(request.sla)
        transport(sla.ml_repo_url, self._allowed)
        submitted = Draft(
            EventName.SUBMITTED,
            f"Submitted: {sla.ml_repo_url}",
            details=Details(
                submission=Submission(
                    sla=sla,
                    repository_url=sla.ml_repo_url,
                    submit_token=request.token or sla.submit_token,
                    notices=notices,
                )
            ),
        )
        state, created = await self._store.submit(
            new_project_id(sla.ml_repo_url), submitted, sla_digest=digest(sla), receipt=receipt
        )
        self._wake(state.project)
        return Reply(verb="submit", project=state.project, created=created, notices=list(state.notices))

    async def list(self, request: ListRequest) -> Reply:
        """Projects, the newest first; `details.before` is how to ask for the next page."""
        found = await self._store.statuses(request.stages, request.limit, request.before)
        projects = [views.summary(ProjectStatus.model_validate_json(status, extra="ignore")) for status in found]
        more = {"before": projects[-1].project} if len(projects) == request.limit else None
        return Reply(verb="list", projects=projects, details=more)

    async def show(self, request: ShowRequest) -> Reply:
        """One project."""
        state = await self._store.state(request.project)
        return Reply(
            verb="show",
            project=state.project,
            spec=views.spec(state, self._tracking_uri),
            status=views.status(state),
            notices=list(state.notices),
        )

    async def replay(self, request: ReplayRequest) -> Reply:
        """A page of a project's history."""
        entries, more = await self._store.history(request.project, request.after, request.limit, MAX_PAGE_BYTES)
        events = [entry.event for entry in entries]
        return Reply(
            verb="replay",
            project=request.project,
            events=events,
            next=events[-1].sequence if more else None,
        )

    async def cancel(self, request: CancelRequest, receipt: Receipt) -> Reply:
        """Stops a project. It is cancelled as soon as nothing of it runs any more.

        :raises FlopsError: FLOPS-S005 when it has ended, or is about to in another way
        """

        def decide(state: ProjectState) -> list[Draft]:
            if state.outcome is ProjectStage.CANCELLED and not state.stage.ended:
                return []
            if state.stage.ended or state.outcome is not None:
                raise FlopsError(
                    "FLOPS-S005", f"{state.project} is {state.outcome or state.stage}; it cannot be cancelled"
                )
            because = f": {request.reason}" if request.reason else ""
            details = Details(outcome=ProjectStage.CANCELLED)
            return [Draft(EventName.CANCEL_REQUESTED, f"Cancelled on request{because}"[:1000], details=details)]

        change = await self._store.change(request.project, decide, operation="cancel", receipt=receipt)
        self._wake(request.project)
        return Reply(verb="cancel", project=request.project, status=views.status(change.after))

    async def retry(self, request: RetryRequest, receipt: Receipt) -> Reply:
        """Starts a failed or cancelled project again, with the same commit.

        :raises FlopsError: FLOPS-S005 when it is neither
        """

        def decide(state: ProjectState) -> list[Draft]:
            if state.stage not in {ProjectStage.FAILED, ProjectStage.CANCELLED}:
                raise FlopsError(
                    "FLOPS-S005", f"{state.project} is {state.stage}; failed and cancelled ones can be retried"
                )
            text = f"Attempt {state.attempt + 1} begins"
            return [Draft(EventName.RETRIED, text, stage=ProjectStage.ACCEPTED)]

        change = await self._store.change(request.project, decide, operation="retry", receipt=receipt)
        self._wake(request.project)
        return Reply(verb="retry", project=request.project, status=views.status(change.after))


def read(text: str) -> tuple[Sla, list[str]]:
    """The SLA, and notices about what in it has another effect than one may expect.

    :raises SlaError: with every mistake
    """
    sla, notices = read_sla(text)
    return sla, [*notices, *([_POST_TRAINING] if sla.post_training_steps else [])]


def digest(sla: Sla) -> str:
    """Equal for SLAs that ask for the same, however they are written. The token is not part of it."""
    document = sla.model_dump(mode="json", by_alias=True, exclude={"submit_token"})
    return hashlib.sha256(orjson.dumps(document, option=orjson.OPT_SORT_KEYS)).hexdigest()
