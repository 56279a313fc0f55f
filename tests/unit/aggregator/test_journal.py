"""The tracking journal survives whatever kills the process that writes it."""

from pathlib import Path

import pytest
from flops_aggregator.tracking.journal import EndEntry, Journal, ModelEntry, Progress, RoundEntry, RunEntry
from hypothesis import given
from hypothesis import strategies as st

RUN = RunEntry("digits-1", "digits", {"commit": "c0ffee"}, {"rounds": "3"})
ROUNDS = [RoundEntry(number, {"loss": 1 / number, "accuracy": 0.0}) for number in (1, 2, 3)]
MODEL = ModelEntry("model", "sklearn", 3, {"loss": 0.3}, {})


def test_entries_come_back_in_order(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    entries = [RUN, *ROUNDS, MODEL, EndEntry("FINISHED")]
    assert [journal.append(entry) for entry in entries] == [True] * len(entries)
    assert Journal(tmp_path).entries() == entries


def test_an_entry_of_the_same_key_changes_nothing(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    assert journal.append(ROUNDS[0])
    assert not Journal(tmp_path).append(RoundEntry(1, {"loss": 99.0}))
    assert journal.entries() == [ROUNDS[0]]


def test_many_are_taken_at_once_and_read_on_from_a_place(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    assert journal.append(RUN, *ROUNDS, ROUNDS[0]) == 4
    entries, place = journal.read(0)
    assert entries == [RUN, *ROUNDS]
    assert journal.read(place) == ([], place)
    journal.append(MODEL)
    assert journal.read(place)[0] == [MODEL]


@given(cut=st.integers(min_value=1, max_value=60))
def test_a_half_written_entry_is_cut_off(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    folder = tmp_path_factory.mktemp("journal")
    journal = Journal(folder)
    journal.append(ROUNDS[0])
    journal.append(ROUNDS[1])
    path = folder / "journal.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + lines[1][: min(cut, len(lines[1]) - 1)])

    assert journal.entries() == [ROUNDS[0]]
    assert Journal(folder).append(ROUNDS[2])
    assert journal.entries() == [ROUNDS[0], ROUNDS[2]]


def test_a_metric_that_is_no_number_is_refused(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    with pytest.raises(ValueError, match="not JSON compliant"):
        journal.append(RoundEntry(1, {"loss": float("nan")}))
    assert journal.entries() == []


def test_progress_is_the_last_word(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    assert journal.progress == Progress()
    journal.note(Progress(done=2, run_id="r"))
    journal.note(Progress(done=3, run_id="r", finished=True))
    assert Journal(tmp_path).progress == Progress(done=3, run_id="r", finished=True)
