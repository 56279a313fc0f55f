"""The observer's store keeps once, and forgets only the oldest log lines."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from flops_observer.store import Store
from flops_protocol.messages.actors import LogLines
from flops_protocol.messages.project import EventName, ProjectEvent, ProjectStage

NOW = datetime(2025, 1, 1, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "observer.sqlite", log_lines=1000)
    yield opened
    opened.close()


def lines(number: int, *, text: str = "a line", count: int = 50, instance: str = "builder-1") -> LogLines:
    return LogLines(project="p-1", instance=instance, stream="code", at=NOW, lines=[f"{number} {text}"] * count)


def event(sequence: int) -> ProjectEvent:
    return ProjectEvent(
        project="p-1", sequence=sequence, name=EventName.NOTICE, at=NOW, stage=ProjectStage.ACCEPTED, text="so it is"
    )


def test_keep_events_twice(store: Store, tmp_path: Path) -> None:
    store.keep_events([event(2), event(1)])
    store.keep_events([event(1), event(2)])
    assert [kept.sequence for kept in store.events("p-1", after=0, limit=10)] == [1, 2]
    assert store.view("p-1").applied == 2
    assert store.projects() == ["p-1"]
    again = Store(tmp_path / "observer.sqlite", log_lines=1000)
    assert again.view("p-1") == store.view("p-1")
    again.close()


def test_told_is_remembered(store: Store) -> None:
    assert store.told("p-1") == 0
    store.tell("p-1", 3)
    store.tell("p-1", 7)
    assert store.told("p-1") == 7


def test_keep_log_twice_and_page(store: Store) -> None:
    for number in (1, 2, 2, 3):
        store.keep_log(f"m-{number}", "builder", lines(number))
    store.keep_log("m-9", "learner", lines(9, instance="node-1-1"))
    first = store.logs("p-1", role="builder", instance=None, after=0, limit=2)
    assert [page.lines[0] for page in first.lines] == ["1 a line", "2 a line"]
    assert first.next is not None
    second = store.logs("p-1", role="builder", instance=None, after=first.next, limit=2)
    assert [page.lines[0] for page in second.lines] == ["3 a line"]
    assert second.next is None
    assert len(store.logs("p-1", role=None, instance="node-1-1", after=0, limit=9).lines) == 1
    assert store.logs("p-2", role=None, instance=None, after=0, limit=9).lines == []


def test_keep_log_forgets_the_oldest(store: Store) -> None:
    for number in range(200):
        store.keep_log(f"m-{number}", "builder", lines(number))
    kept = store.logs("p-1", role=None, instance=None, after=0, limit=500).lines
    assert 1000 <= sum(len(page.lines) for page in kept) <= 1000 + 50 * 50
    assert kept[-1].lines[0].startswith("199 ")


def test_logs_fit_into_one_message(store: Store) -> None:
    for number in range(5):
        store.keep_log(f"m-{number}", "builder", lines(number, text="x" * 1500, count=100))
    page = store.logs("p-1", role=None, instance=None, after=0, limit=50)
    assert len(page.lines) == 1
    assert page.next is not None
