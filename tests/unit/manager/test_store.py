"""Inbox, log and outbox change together or not at all, and survive everything."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import anyio
import pytest
from flops_manager.announce import announcer
from flops_manager.project.log import Details, Draft
from flops_manager.project.state import ProjectState
from flops_manager.store.database import Database
from flops_manager.store.rows import StoredReport
from flops_manager.store.schema import MIGRATIONS
from flops_manager.store.store import Announce, Change, Receipt, Store
from flops_protocol.bus import Identity, Outgoing
from flops_protocol.bus.memory import MemoryBroker, MemoryBus
from flops_protocol.errors import FlopsError
from flops_protocol.messages.project import ErrorReport, EventName, ProjectStage, ProjectStatus, Role

from tests.unit.manager.samples import COMMIT, START, building, enter, event, round_report, status, submitted


def announce() -> Announce:
    return announcer(MemoryBus(MemoryBroker(), Identity("manager", "manager-1")), "http://mlflow")


async def open_store(path: Path, told: Announce | None = None) -> Store:
    return await Store.open(path / "manager.sqlite", told or announce(), lambda: START)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = await open_store(tmp_path)
    yield store
    await store.close()


def receipt(number: int = 1) -> Receipt:
    return Receipt("client/c", f"message-{number}")


async def submit(
    store: Store, number: int = 1, token: str | None = None, digest: str = "d"
) -> tuple[ProjectState, bool]:
    draft = submitted()
    assert draft.details.submission is not None
    details = Details(submission=draft.details.submission.model_copy(update={"submit_token": token}))
    draft = Draft(draft.name, draft.text, details=details)
    return await store.submit(f"digits-{number}", draft, sla_digest=digest, receipt=receipt(number))


async def topics(store: Store) -> list[str]:
    return [message.topic.removeprefix("flops/v1/projects/") for _, message in await store.outbox(1000)]


async def test_a_submission_is_stored_and_announced(store: Store) -> None:
    state, created = await submit(store)
    assert created
    assert state.stage is ProjectStage.ACCEPTED
    assert await topics(store) == ["digits-1/manager/events", "digits-1/manager/status"]
    assert tuple(store.live) == ("digits-1",)


async def test_the_same_message_is_taken_in_once(store: Store) -> None:
    await submit(store)
    draft = submitted()
    state, created = await store.submit("digits-2", draft, sla_digest="d", receipt=receipt(1))
    assert (state.project, created) == ("digits-1", False)
    assert len(await store.outbox(100)) == 2


async def test_the_same_token_gives_the_same_project(store: Store) -> None:
    await submit(store, 1, token="t")
    state, created = await submit(store, 2, token="t")
    assert (state.project, created) == ("digits-1", False)
    with pytest.raises(FlopsError, match="S004"):
        await submit(store, 3, token="t", digest="another SLA")


async def test_the_spec_is_announced_with_the_commit(store: Store) -> None:
    await submit(store)
    await store.change("digits-1", lambda _: [enter(ProjectStage.RESOLVING, commit=COMMIT)])
    assert (await topics(store))[2:] == ["digits-1/manager/events", "digits-1/manager/spec", "digits-1/manager/status"]
    await store.change("digits-1", lambda _: [event(EventName.NOTICE)])
    assert (await topics(store))[5:] == ["digits-1/manager/events", "digits-1/manager/status"]


async def test_the_end_is_announced(store: Store) -> None:
    await submit(store)
    await store.change("digits-1", lambda _: [event(EventName.NOTICE), enter(ProjectStage.FAILED)])
    assert "digits-1/manager/completed" in await topics(store)
    assert tuple(store.live) == ()
    assert (await store.state("digits-1")).stage is ProjectStage.FAILED


async def test_a_change_that_cannot_be_decided_leaves_nothing(store: Store) -> None:
    await submit(store)

    def refuse(_: ProjectState) -> list[Draft]:
        raise FlopsError("FLOPS-S005", "no")

    with pytest.raises(FlopsError, match="S005"):
        await store.change("digits-1", refuse, receipt=receipt(5))
    # Nor is the message taken for handled.
    assert (await store.change("digits-1", lambda _: [event(EventName.NOTICE)], receipt=receipt(5))).entries


async def test_a_change_is_all_or_nothing(tmp_path: Path) -> None:
    real = announce()

    def fail(change: Change, report: ErrorReport | None) -> Sequence[Outgoing]:
        if change.before is not None:
            raise RuntimeError("composing failed")
        return real(change, report)

    store = await open_store(tmp_path, fail)
    await submit(store)
    before = await store.state("digits-1")
    with pytest.raises(RuntimeError):
        await store.change("digits-1", lambda _: [event(EventName.NOTICE)], receipt=receipt(2))
    assert await store.state("digits-1") == before
    entries, _ = await store.history("digits-1", 0, 100, 10**6)
    assert len(entries) == 1
    await store.close()
    store = await open_store(tmp_path)
    assert await store.state("digits-1") == before
    await store.close()


async def test_a_message_that_comes_again_changes_nothing(store: Store) -> None:
    await submit(store)
    first = await store.change("digits-1", lambda _: [event(EventName.NOTICE)], receipt=receipt(2))
    again = await store.change("digits-1", lambda _: [event(EventName.NOTICE)], receipt=receipt(2))
    assert (len(first.entries), len(again.entries)) == (1, 0)
    assert again.after == first.after


async def test_everything_is_there_after_a_restart(tmp_path: Path) -> None:
    store = await open_store(tmp_path)
    await submit(store)
    await submit(store, 2)
    await store.change("digits-1", lambda _: [enter(ProjectStage.RESOLVING, commit=COMMIT)])
    await store.change("digits-2", lambda _: [enter(ProjectStage.CANCELLED)])
    before = await store.state("digits-1")
    outbox = await store.outbox(100)
    secret = await store.secret()
    await store.close()
    store = await open_store(tmp_path)
    assert await store.state("digits-1") == before
    assert await store.outbox(100) == outbox
    assert await store.secret() == secret
    assert tuple(store.live) == ("digits-1",)
    change = await store.change("digits-1", lambda _: [event(EventName.NOTICE)])
    assert change.after.sequence == before.sequence + 1
    await store.close()


async def test_what_the_broker_has_is_forgotten(store: Store) -> None:
    await submit(store)
    batch = await store.outbox(1)
    await store.sent(batch[-1][0])
    assert await topics(store) == ["digits-1/manager/status"]


async def test_the_last_retained_message_of_each_topic_is_kept(store: Store) -> None:
    await submit(store)
    for _ in range(3):
        await store.change("digits-1", lambda _: [event(EventName.NOTICE)])
    batch = await store.outbox(1000)
    await store.sent(batch[-1][0])
    retained = await store.retained()
    assert [message.topic for message in retained] == ["flops/v1/projects/digits-1/manager/status"]
    assert retained[0].payload == batch[-1][1].payload
    assert retained[0].retain


async def test_the_outbox_wakes_whoever_waits_for_it(store: Store) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(submit, store)
        with anyio.fail_after(5):
            await store.wait_outbox()


async def test_history_comes_in_pages_of_a_size(store: Store) -> None:
    await submit(store)
    await store.change("digits-1", lambda _: [event(EventName.NOTICE) for _ in range(10)])
    page, more = await store.history("digits-1", 0, 4, 10**6)
    assert ([entry.event.sequence for entry in page], more) == ([1, 2, 3, 4], True)
    page, more = await store.history("digits-1", 8, 4, 10**6)
    assert ([entry.event.sequence for entry in page], more) == ([9, 10, 11], False)
    page, more = await store.history("digits-1", 0, 4, 10)
    assert (len(page), more) == (1, True)
    with pytest.raises(FlopsError, match="S003"):
        await store.history("nobody", 0, 1, 10)


async def test_projects_are_listed_the_newest_first(store: Store) -> None:
    for number in range(1, 5):
        await submit(store, number)
    await store.change("digits-2", lambda _: [enter(ProjectStage.FAILED)])

    async def names(stages: list[ProjectStage], limit: int, before: str | None) -> list[str]:
        found = await store.statuses(stages, limit, before)
        return [ProjectStatus.model_validate_json(text).project for text in found]

    assert await names([], 2, None) == ["digits-4", "digits-3"]
    assert await names([], 2, "digits-3") == ["digits-2", "digits-1"]
    assert await names([ProjectStage.FAILED], 10, None) == ["digits-2"]
    with pytest.raises(FlopsError, match="S003"):
        await names([], 2, "nobody")


def report(value: str, epoch: int) -> StoredReport:
    text = status(building(), "builder", value).model_dump_json().encode()
    return StoredReport(Role.BUILDER, epoch, datetime(2030, 1, 1, tzinfo=UTC), text)


async def test_the_last_word_of_an_actor_counts_unless_it_is_of_an_earlier_life(store: Store) -> None:
    await submit(store)
    for number, (value, epoch) in enumerate([("ready", 5), ("building", 5), ("lost", 4)]):
        await store.keep_report("digits-1", "builder", report(value, epoch), receipt(10 + number))
    there = await store.there("digits-1")
    assert there.reports["builder"].status.state.value == "building"
    # The same message again, out of its time.
    await store.keep_report("digits-1", "builder", report("ready", 5), receipt(10))
    assert (await store.there("digits-1")).reports["builder"].status.state.value == "building"


async def test_facts_wait_in_their_order_until_they_are_consumed(store: Store) -> None:
    await submit(store)
    for number in (1, 2, 3):
        message = round_report(number).model_dump_json().encode()
        await store.keep_fact("digits-1", "aggregator", "round", message, receipt(20 + number))
        await store.keep_fact("digits-1", "aggregator", "round", message, receipt(20 + number))
    facts = (await store.there("digits-1")).facts
    assert [getattr(fact.message, "round", None) for fact in facts] == [1, 2, 3]
    await store.change("digits-1", lambda _: [], consumed=[facts[0].number, facts[1].number])
    assert [fact.number for fact in (await store.there("digits-1")).facts] == [facts[2].number]


async def test_what_actors_said_is_forgotten_at_the_end(store: Store) -> None:
    await submit(store)
    await store.keep_report("digits-1", "builder", report("ready", 5), receipt(10))
    message = round_report(1).model_dump_json().encode()
    await store.keep_fact("digits-1", "aggregator", "round", message, receipt(11))
    await store.change("digits-1", lambda _: [enter(ProjectStage.CANCELLED)])
    there = await store.there("digits-1")
    assert (dict(there.reports), list(there.facts)) == ({}, [])


async def test_it_is_known_how_long_nobody_was_there(store: Store) -> None:
    assert await store.alive(START) is None
    assert await store.alive(START) == START


async def test_sources_of_other_projects_are_remembered(store: Store) -> None:
    await store.keep_source("digits-1", "url", b"one")
    await store.keep_source("digits-1", "url", b"two")
    assert await store.sources("url", None) == [b"two"]
    assert await store.sources("url", "digits-1") == []


async def test_projects_do_not_wait_for_each_other_in_memory(store: Store) -> None:
    """Concurrent changes of one project follow on each other; none is lost."""
    await submit(store)

    async def note() -> None:
        await store.change("digits-1", lambda _: [event(EventName.NOTICE)])

    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(note)
    assert (await store.state("digits-1")).sequence == 21


async def test_a_newer_database_is_left_alone(tmp_path: Path) -> None:
    await (await open_store(tmp_path)).close()
    with closing(sqlite3.connect(tmp_path / "manager.sqlite")) as connection:
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    with pytest.raises(FlopsError, match="P010"):
        await open_store(tmp_path)


async def test_a_migration_that_fails_leaves_the_version_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await (await open_store(tmp_path)).close()
    broken = (*MIGRATIONS, "CREATE TABLE extra (x); SELECT nothing FROM nowhere;")
    monkeypatch.setattr("flops_manager.store.schema.MIGRATIONS", broken)
    with pytest.raises(sqlite3.OperationalError):
        await open_store(tmp_path)
    with closing(sqlite3.connect(tmp_path / "manager.sqlite")) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
        assert connection.execute("SELECT name FROM sqlite_master WHERE name = 'extra'").fetchone() is None


async def test_commits_are_as_durable_as_they_can_be(tmp_path: Path) -> None:
    database = await Database.open(tmp_path / "x.sqlite")
    settings = await database.read(
        lambda c: (c.execute("PRAGMA journal_mode").fetchone()[0], c.execute("PRAGMA synchronous").fetchone()[0])
    )
    await database.close()
    assert settings == ("wal", 2)


async def test_a_full_disk_is_waited_out(tmp_path: Path) -> None:
    database = await Database.open(tmp_path / "x.sqlite")

    def fill(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO meta VALUES ('big', zeroblob(1000000))")

    pages = await database.read(lambda c: c.execute("PRAGMA page_count").fetchone()[0])
    await database.read(lambda c: c.execute(f"PRAGMA max_page_count = {pages + 1}").fetchone())
    async with anyio.create_task_group() as group:
        group.start_soon(database.write, fill)
        await anyio.wait_all_tasks_blocked()
        await database.read(lambda c: c.execute("PRAGMA max_page_count = 100000").fetchone())
    found = await database.read(lambda c: c.execute("SELECT length(value) FROM meta WHERE key = 'big'").fetchone())
    await database.close()
    assert tuple(found) == (1000000,)
