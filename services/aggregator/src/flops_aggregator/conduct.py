"""Puts one training together: the stream to the learners, the strategy, the model, the tracking."""

from __future__ import annotations

import asyncio
import gc
import hmac
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio
import structlog
from anyio import to_thread
from flops_federation.adapters.grpc_server import Joined, Left, StreamServer, serve
from flops_federation.adapters.options import StreamOptions
from flops_mlrepo.host import OutputSink, WorkerSettings
from flops_protocol.channels import TRAINING_COMPLETED
from flops_protocol.errors import FlopsError
from flops_protocol.messages.actors import AggregatorState, Endpoint, TrainingCompleted
from flops_protocol.messages.project import TrainingResult

from flops_aggregator.adapters.ml_worker import open_model
from flops_aggregator.announcing import AggregatorAnnouncer
from flops_aggregator.checkpoint import CheckpointFolder, fingerprint
from flops_aggregator.desk import Wish
from flops_aggregator.roster import Roster
from flops_aggregator.settings import Settings
from flops_aggregator.tracked import TrackedMetrics, experiment_of, model_entry, run_entry
from flops_aggregator.tracking.journal import EndEntry, Progress
from flops_aggregator.tracking.supervisor import Tracking, open_tracking
from flops_aggregator.training import Model, Patience, Trained, Training

if TYPE_CHECKING:
    from flops_aggregator.adapters.flower_federation import FlowerFederation


log = structlog.get_logger()


class Conductor:
    """Runs the training of one wish, and says how it stands."""

    def __init__(
        self, settings: Settings, wish: Wish, roster: Roster, announcer: AggregatorAnnouncer, on_output: OutputSink
    ) -> None:
        self._settings = settings
        self._wish = wish
        self._roster = roster
        self._announcer = announcer
        self._on_output = on_output
        self._server: StreamServer | None = None

    def close_stream(self, learner: str, reason: str) -> None:
        """Lets go of a learner that says of itself that it is gone."""
        if self._server is not None:
            self._server.drop(learner, reason)

    async def run(self) -> None:
        """Trains, saves and tracks; returns when everything is said and, if that is possible at all, tracked.

        :raises FlopsError: when the training cannot go on
        """
        spec, command = self._wish.spec, self._wish.command
        self._roster.expect(command.learners, command.tokens)
        failure: FlopsError | None = None
        packages = self._settings.image_root / "tracking"
        folder, python = self._settings.state_dir / "tracking", self._settings.python
        async with open_tracking(folder, spec.tracking_uri, packages, python) as tracking:
            try:
                trained = await self._train(tracking)
                await self._track(tracking, trained)
            except FlopsError as error:
                # Raised again behind the tracking's task group, which would wrap it.
                failure = error
                # The run in MLflow is not to stay open for ever; nobody waits for that.
                await tracking.finish(EndEntry("FAILED"), 0)
        if failure is not None:
            raise failure

    async def _train(self, tracking: Tracking) -> Trained:
        spec, command, settings = self._wish.spec, self._wish.command, self._settings
        async with self._stream() as server, open_model(self._worker_settings(), self._on_output) as model:
            reason = "the training failed"
            try:
                federation = await to_thread.run_sync(self._federation, server, asyncio.get_running_loop())
                training = Training(
                    self._wish,
                    roster=self._roster,
                    announcer=self._announcer,
                    federation=federation,
                    model=model,
                    checkpoints=CheckpointFolder(
                        settings.state_dir / "checkpoints", fingerprint(spec, command.images.lock_digest)
                    ),
                    metrics=TrackedMetrics(tracking),
                    patience=Patience(command.ready_seconds, settings.join_grace_seconds, settings.rejoin_seconds),
                )
                checkpoint = await training.prepare()
                await training.gather(checkpoint)
                await tracking.record(run_entry(self._wish, self._roster))
                trained = await training.run(checkpoint)
                reason = "the training is finished"
            finally:
                with anyio.CancelScope(shield=True):
                    await server.dismiss(reason)
            self._announcer.stand(state=AggregatorState.TRACKING, endpoint=None)
            await self._save(tracking, model, trained)
            return trained

    async def _track(self, tracking: Tracking, trained: Trained) -> None:
        uri = self._wish.spec.tracking_uri
        progress = await tracking.finish(EndEntry("FINISHED"), self._wish.command.tracking_seconds)
        left_behind = not progress.finished and uri is not None
        if left_behind:
            detail = progress.error or f"{uri} has not taken everything within the time"
            self._announcer.report(FlopsError("FLOPS-T015", detail).body, fatal=False)
        self._done(trained, progress)
        if left_behind:
            # As long as the manager lets us be.
            self._done(trained, await tracking.finish(EndEntry("FINISHED"), float("inf")))

    def _federation(self, server: StreamServer, loop: asyncio.AbstractEventLoop) -> FlowerFederation:
        # Importing Flower takes most of a second; here, it does so in a thread.
        from flops_aggregator.adapters.flower_federation import FlowerFederation, reason_of
        from flops_aggregator.adapters.strategies import make_strategy
        from flops_aggregator.adapters.stream_grid import StreamGrid

        # Some strategies collect garbage once a learner; without Flower's modules to walk through, that costs nothing.
        gc.freeze()
        sla = self._wish.spec.sla
        if sla.federation != "stream":
            hint = "Use federation: stream, which is the default."
            raise FlopsError("FLOPS-T014", f"federation: {sla.federation} cannot be run by this version", hint=hint)
        return FlowerFederation(
            make_strategy(sla.strategy, sla.training_configuration), StreamGrid(server, loop, reason_of)
        )

    @asynccontextmanager
    async def _stream(self) -> AsyncIterator[StreamServer]:
        settings = self._settings
        certificate = None
        if settings.encrypted:
            from flops_federation.adapters.certificate import self_signed

            certificate = await to_thread.run_sync(self_signed, settings.host)
        try:
            async with serve(
                settings.bind_address,
                settings.port,
                authorise=self._authorise,
                watch=self._watch,
                certificate=certificate,
                options=StreamOptions(keepalive_timeout_seconds=settings.keepalive_timeout_seconds),
            ) as server:
                self._server = server
                endpoint = Endpoint(
                    host=settings.host,
                    port=server.port,
                    certificate=None if certificate is None else certificate[1].decode(),
                )
                self._announcer.stand(
                    state=AggregatorState.WAITING,
                    command=self._wish.command.command,
                    endpoint=endpoint,
                    rounds=self._wish.spec.sla.training_configuration.training_rounds,
                )
                yield server
        except OSError as error:
            raise FlopsError("FLOPS-P009", str(error)) from error
        finally:
            self._server = None

    def _authorise(self, learner: str, token: str) -> str | None:
        expected = self._roster.token_of(learner)
        if expected is None:
            return f"{learner} does not take part in this training"
        return None if hmac.compare_digest(expected.encode(), token.encode()) else "the token is not the learner's"

    def _watch(self, change: Joined | Left) -> None:
        if isinstance(change, Joined):
            self._roster.entered(change.learner, change.epoch)
        else:
            self._roster.left(change.learner, change.reason, on_purpose=change.said_bye)
        log.info("learners", joined=self._roster.joined, changed=change.learner)
        self._announcer.stand(joined=self._roster.joined)

    def _worker_settings(self) -> WorkerSettings:
        root, resources = self._settings.image_root, self._wish.spec.sla.resource_constraints
        return WorkerSettings(
            python=self._settings.python,
            mlenv=self._settings.packages or root / "mlenv",
            code=root / "code",
            memory_bytes=resources.memory_limit_bytes,
            threads=resources.vcpus,
            prefix=root / "mlenv" if self._settings.packages else None,
        )

    async def _save(self, tracking: Tracking, model: Model, trained: Trained) -> None:
        packages = self._settings.image_root / "tracking"
        if self._wish.spec.tracking_uri is None and not packages.is_dir():
            log.info("the model is not saved: there is no MLflow, neither here nor on the net")
            return
        folder = tracking.folder / f"model-{trained.best.round}"
        entry = model_entry(self._wish, folder, trained.best)
        # One of an earlier process that was killed while it was being written.
        await to_thread.run_sync(lambda: shutil.rmtree(folder, ignore_errors=True))
        seconds = max(self._wish.command.round_seconds, self._wish.command.ready_seconds)
        await model.save(folder, entry.flavor, packages, trained.best_parameters, seconds)
        await tracking.record(entry)

    def _done(self, trained: Trained, progress: Progress) -> None:
        result = TrainingResult(
            rounds=trained.rounds,
            best=trained.best,
            last=trained.last,
            experiment=experiment_of(self._wish) if self._wish.spec.tracking_uri is not None else None,
            experiment_id=progress.experiment_id,
            mlflow_run=progress.run_id,
            model_uri=progress.model_uri,
            tracked=progress.finished,
        )
        completed = TrainingCompleted(project=self._wish.spec.project, training=result, seconds=trained.seconds)
        self._announcer.say(TRAINING_COMPLETED, completed)
        self._announcer.stand(state=AggregatorState.DONE, training=result, joined=[])
