"""Log lines on their way: in order, in batches that a message can hold, and bounded."""

from flops_protocol.process.log_lines import BACKLOG, MAX_CHARACTERS, MAX_LINES, LineCollector
from hypothesis import given
from hypothesis import strategies as st


def collector() -> LineCollector:
    return LineCollector("project-1", "learner-1")


@given(st.lists(st.tuples(st.sampled_from(["mesh", "code"]), st.text(max_size=5)), max_size=400))
def test_batches_keep_the_order_and_the_limits(lines):
    waiting = collector()
    for stream, line in lines:
        waiting.add(stream, line)
    batches = waiting.drain()
    assert [(batch.stream, line) for batch in batches for line in batch.lines] == lines
    assert all(0 < len(batch.lines) <= MAX_LINES for batch in batches)
    assert waiting.drain() == []


def test_a_flood_loses_its_oldest_lines_and_says_so():
    waiting = collector()
    for number in range(BACKLOG + 5):
        waiting.add("code", str(number))
    batches = waiting.drain()
    assert (batches[0].stream, batches[0].lines) == ("mesh", ["… 5 lines were left out"])
    assert batches[1].lines[0] == "5"


def test_a_line_without_an_end_is_cut():
    waiting = collector()
    waiting.add("code", "x" * 10_000)
    assert len(waiting.drain()[0].lines[0]) == MAX_CHARACTERS
