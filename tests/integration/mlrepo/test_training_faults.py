"""Every mistake that shows in training is named, and the worker stays usable where it lives on."""

from __future__ import annotations

import numpy as np
import pytest
from flops_mlrepo.host import DataSource, WorkerError, WorkerFault

PARAMETERS = [np.zeros(3)]


@pytest.mark.parametrize(
    ("case", "kind", "line", "detail"),
    [
        ("fit_raises", WorkerFault.EXCEPTION, 23, "LinAlgError: Singular matrix"),
        ("fit_returns_none", WorkerFault.FIT_RESULT, 22, "but returned None (NoneType)"),
        ("fit_returns_zero", WorkerFault.FIT_RESULT, 22, "but returned 0 (int)"),
        ("fit_changes_shape", WorkerFault.PARAMETERS_CHANGED, 22, "after fit_model(), parameter 0 has the shape (4,)"),
        ("fit_diverges", WorkerFault.NOT_FINITE, 22, "parameter 0 has 2 of 3 values that are NaN or infinite"),
        ("asks_for_too_much", WorkerFault.MEMORY, 23, "Unable to allocate"),
        ("calls_exit", WorkerFault.EXITED, 25, "sys.exit('no GPU')"),
    ],
)
async def test_a_failed_training_names_the_line_and_leaves_the_worker_usable(open_fixture, case, kind, line, detail):
    async with open_fixture(case) as worker:
        await worker.construct(30)
        with pytest.raises(WorkerError) as caught:
            await worker.train(PARAMETERS, 30)
        assert (await worker.evaluate(30)).accuracy == 0.25
    error = caught.value
    assert (error.kind, error.file, error.line) == (kind, "model_manager.py", line)
    assert detail in error.detail


@pytest.mark.parametrize(
    ("case", "kind", "detail"),
    [
        ("evaluate_returns_pair", WorkerFault.EVALUATE_RESULT, "but returned (0.5, 0.25) (tuple)"),
        ("evaluate_returns_text", WorkerFault.EVALUATE_RESULT, "but returned ('low', 0.25, 4) (tuple)"),
        ("loss_is_nan", WorkerFault.NOT_FINITE, "the loss nan"),
    ],
)
async def test_a_wrong_evaluation_is_shown(open_fixture, case, kind, detail):
    async with open_fixture(case) as worker:
        await worker.construct(30)
        with pytest.raises(WorkerError) as caught:
            await worker.evaluate(30, PARAMETERS)
    error = caught.value
    assert (error.kind, error.file, error.line) == (kind, "model_manager.py", 26)
    assert detail in error.detail


async def test_parameters_of_another_shape_do_not_reach_the_code(open_fixture):
    async with open_fixture("plain") as worker:
        await worker.construct(30)
        with pytest.raises(WorkerError, match=r"have the shapes \[\(4,\)\]") as caught:
            await worker.set_parameters([np.zeros(4)], 30)
    assert caught.value.kind is WorkerFault.PARAMETERS_CHANGED


async def test_code_that_hangs_is_killed_and_the_line_shown(open_fixture):
    async with open_fixture("hangs") as worker:
        await worker.construct(30)
        with pytest.raises(WorkerError) as caught:
            await worker.train(PARAMETERS, 0.5)
        error = caught.value
        assert (error.kind, error.file, error.line) == (WorkerFault.TIMED_OUT, "model_manager.py", 10)
        assert "wait_for_a_gpu" in error.trace
        with pytest.raises(WorkerError) as again:
            await worker.evaluate(30)
    assert again.value is error


@pytest.mark.parametrize(
    ("case", "kind", "line", "detail"),
    [
        ("exits_hard", WorkerFault.EXITED, None, "in train the code ended its process with exit code 3"),
        ("segfaults", WorkerFault.CRASHED, 25, "SIGSEGV, a segmentation fault"),
        ("terminates_itself", WorkerFault.CRASHED, None, "ended by SIGTERM"),
    ],
)
async def test_the_ways_to_end_a_process_are_told_apart(open_fixture, case, kind, line, detail):
    async with open_fixture(case) as worker:
        await worker.construct(30)
        with pytest.raises(WorkerError) as caught:
            await worker.train(PARAMETERS, 30)
    error = caught.value
    assert (error.kind, error.line) == (kind, line)
    assert error.file == (None if line is None else "model_manager.py")
    assert detail in error.detail


@pytest.mark.parametrize("case", ["eats_memory", "eats_memory_in_children"])
async def test_code_that_takes_too_much_memory_is_killed(open_fixture, case):
    async with open_fixture(case, memory_bytes=300_000_000) as worker:
        await worker.construct(30)
        with pytest.raises(WorkerError) as caught:
            await worker.train(PARAMETERS, 30)
    assert caught.value.kind is WorkerFault.MEMORY
    assert "300 MB are allowed" in caught.value.detail


async def test_without_data_the_columns_are_unknown(open_fixture):
    async with open_fixture("other_columns") as worker:
        await worker.construct(30)
        with pytest.raises(WorkerError) as caught:
            await worker.load_data(30)
    assert caught.value.kind is WorkerFault.DATA_NOT_HERE


async def test_code_that_expects_other_columns_is_shown_those_there_are(open_fixture, line_data):
    async with open_fixture("other_columns", data=DataSource(line_data, ["line"])) as worker:
        await worker.construct(30)
        with pytest.raises(WorkerError) as caught:
            await worker.load_data(30)
    error = caught.value
    assert (error.kind, error.file, error.line) == (WorkerFault.DATA_REFUSED, "model_manager.py", 13)
    assert error.detail == "KeyError: 'img'; the 101 rows given have the columns x (double), y (double)"
