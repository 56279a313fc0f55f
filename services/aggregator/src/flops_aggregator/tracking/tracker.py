"""The tracker: a process that brings a journal to MLflow, as often as it takes.

    python -I -S tracker.py JOURNAL_FOLDER --uri http://mlflow:5000 --path TRACKING_FOLDER [--follow]

With `--follow` it goes on until the journal ends or its standard input does, woken by every line there; it writes a
line itself whenever it has moved. Without, it brings over what is there and ends: 0 when MLflow has everything, 1 when
not. So a journal that was left behind while MLflow was down is caught up by running it again. Entries are idempotent:
run and model are found again by their tags.
"""

from __future__ import annotations

import argparse
import os
import select
import sys
import types
from dataclasses import replace
from pathlib import Path
from typing import Any

PROJECT_TAG = "mesh.flops.project"
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 10.0
"""Seconds between two attempts when MLflow does not answer."""
BATCH = 200
"""Rounds that go to MLflow in one request at most; its own limit is 1000 metrics."""


def main() -> None:
    """Reads the command line, and tracks."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("journal", type=Path)
    parser.add_argument("--uri", required=True)
    parser.add_argument("--path", type=Path, action="append", default=[])
    parser.add_argument("--follow", action="store_true")
    arguments = parser.parse_args()

    sys.path[:0] = [str(path) for path in arguments.path]
    # Of ours, this package alone is to be seen: what lies beside it may not fit to what MLflow needs.
    package = types.ModuleType("flops_aggregator")
    package.__path__ = [str(Path(__file__).resolve().parents[1])]
    sys.modules.setdefault("flops_aggregator", package)
    # The pauses are ours: MLflow's own retries would hide for minutes that nobody is there.
    os.environ.update(
        MLFLOW_HTTP_REQUEST_MAX_RETRIES="0", MLFLOW_HTTP_REQUEST_TIMEOUT="10", MLFLOW_DISABLE_TELEMETRY="true"
    )

    from flops_aggregator.tracking.journal import Journal

    tracker = Tracker(Journal(arguments.journal), arguments.uri)
    pause = FIRST_PAUSE
    while True:
        reached = tracker.catch_up()
        if tracker.finished or not arguments.follow:
            sys.exit(0 if reached else 1)
        pause = FIRST_PAUSE if reached else min(2 * pause, LONGEST_PAUSE)
        if not _wait(None if reached else pause):
            sys.exit(1)


def _wait(seconds: float | None) -> bool:
    """Waits for a line on standard input, or for the time to pass; False when the input has ended."""
    readable, _, _ = select.select([sys.stdin.fileno()], [], [], seconds)
    return not readable or bool(os.read(sys.stdin.fileno(), 65536))


class Tracker:
    """Takes the journal's entries one after the other."""

    def __init__(self, journal: Any, uri: str) -> None:
        """`journal` is a `Journal`; `uri` is where MLflow's server listens."""
        self._journal = journal
        self._uri = uri
        self._progress = journal.progress
        self._waiting: list[Any] = []
        self._offset = 0
        self._skip = self._progress.done
        self._client: Any = None

    @property
    def finished(self) -> bool:
        """Whether MLflow has everything, the end included."""
        return bool(self._progress.finished)

    def catch_up(self) -> bool:
        """Brings over what is new; False when MLflow did not take it. Says in the progress how far it came."""
        try:
            if self._client is None:
                from mlflow.tracking import MlflowClient

                self._client = MlflowClient(tracking_uri=self._uri)
            while batch := self._next_batch():
                self._take(batch)
                del self._waiting[: len(batch)]
                self._note(done=self._progress.done + len(batch), finished=batch[-1].kind == "end", error=None)
        except Exception as error:  # noqa: BLE001 - whatever MLflow raises is a reason to try again, and is said
            self._note(error=f"{type(error).__name__}: {error}"[:2000])
            return False
        return True

    def _next_batch(self) -> list[Any]:
        fresh, self._offset = self._journal.read(self._offset)
        self._waiting += fresh
        if self._skip:
            # What an earlier process brought over.
            del self._waiting[: self._skip]
            self._skip = 0
        rounds = 0
        while rounds < min(len(self._waiting), BATCH) and self._waiting[rounds].kind == "round":
            rounds += 1
        return self._waiting[: rounds or 1]

    def _take(self, batch: list[Any]) -> None:
        first = batch[0]
        if first.kind == "run":
            self._begin(first)
        elif first.kind == "round":
            self._log_rounds(batch)
        elif first.kind == "model":
            self._log_model(first)
        else:
            self._client.set_terminated(self._progress.run_id, status=first.status, end_time=first.at)

    def _begin(self, entry: Any) -> None:
        experiment = self._experiment(entry.experiment)
        found = self._client.search_runs([experiment], f"tags.`{PROJECT_TAG}` = '{entry.project}'", max_results=1)
        if found:
            run = found[0].info.run_id
        else:
            tags = entry.tags | {PROJECT_TAG: entry.project}
            run = self._client.create_run(
                experiment, start_time=entry.at, run_name=entry.project, tags=tags
            ).info.run_id
        from mlflow.entities import Param

        self._client.log_batch(run, params=[Param(name, value) for name, value in entry.params.items()])
        self._note(experiment_id=experiment, run_id=run)

    def _experiment(self, name: str) -> str:
        from mlflow.exceptions import MlflowException

        found = self._client.get_experiment_by_name(name)
        if found is None:
            try:
                return str(self._client.create_experiment(name))
            except MlflowException:
                # Another project of the same repository was quicker.
                found = self._client.get_experiment_by_name(name)
                if found is None:
                    raise
        return str(found.experiment_id)

    def _log_rounds(self, batch: list[Any]) -> None:
        from mlflow.entities import Metric

        metrics = [
            Metric(name, value, entry.at, entry.round) for entry in batch for name, value in entry.metrics.items()
        ]
        self._client.log_batch(self._progress.run_id, metrics=metrics)

    def _log_model(self, entry: Any) -> None:
        from mlflow.entities import LoggedModelOutput, LoggedModelStatus

        experiment, run = self._progress.experiment_id, self._progress.run_id
        found = self._client.search_logged_models([experiment], f"source_run_id = '{run}'", max_results=1)
        model = (
            found[0]
            if found
            else self._client.create_logged_model(
                experiment,
                name="model",
                source_run_id=run,
                tags=entry.tags | {"mesh.flops.round": str(entry.round)},
                params={"round": str(entry.round)},
                model_type=entry.flavor,
            )
        )
        if model.status != LoggedModelStatus.READY:
            self._client.log_model_artifacts(model.model_id, str(self._journal.folder / entry.folder))
            # The run has these already; with the time of their round, they are the same points and no further ones.
            at = self._time_of(entry)
            for name, value in entry.metrics.items():
                self._client.log_metric(run, name, value, timestamp=at, step=entry.round, model_id=model.model_id)
            self._client.log_outputs(run, [LoggedModelOutput(model.model_id, step=entry.round)])
            self._client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
        self._note(model_uri=f"models:/{model.model_id}")

    def _time_of(self, entry: Any) -> int:
        rounds = (other for other in self._journal.entries() if other.kind == "round" and other.round == entry.round)
        return int(next(rounds, entry).at)

    def _note(self, **changes: Any) -> None:
        self._progress = replace(self._progress, **changes)
        self._journal.note(self._progress)
        print(self._progress.done, flush=True)


if __name__ == "__main__":
    main()
