"""Log lines on their way: in order, in batches that a message can hold, and bounded. The same in both actors."""

import pytest
from flops_aggregator import log_lines as of_aggregator
from flops_learner import log_lines as of_learner
from flops_learner.log_lines import BACKLOG, MAX_CHARACTERS, MAX_LINES, LogLines
from hypothesis import given
from hypothesis import strategies as st


@given(st.lists(st.tuples(st.sampled_from(["mesh", "code"]), st.text(max_size=5)), max_size=400))
def test_batches_keep_the_order_and_the_limits(lines):
    waiting = LogLines()
    for stream, line in lines:
        waiting.add(stream, line)
    batches = waiting.drain()
    assert [(stream, line) for stream, batch in batches for line in batch] == lines
    assert all(0 < len(batch) <= MAX_LINES for _, batch in batches)
    assert waiting.drain() == []


def test_a_flood_loses_its_oldest_lines_and_says_so():
    waiting = LogLines()
    for number in range(BACKLOG + 5):
        waiting.add("code", str(number))
    batches = waiting.drain()
    assert batches[0] == ("mesh", ["… 5 lines were left out"])
    assert batches[1][1][0] == "5"


def test_a_line_without_an_end_is_cut():
    waiting = LogLines()
    waiting.add("code", "x" * 10_000)
    assert len(waiting.drain()[0][1][0]) == MAX_CHARACTERS


@pytest.mark.parametrize("name", ["MAX_LINES", "MAX_CHARACTERS", "BACKLOG", "PERIOD_SECONDS"])
def test_both_actors_do_it_alike(name):
    assert getattr(of_aggregator, name) == getattr(of_learner, name)
