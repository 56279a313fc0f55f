"""Every mistake that shows without data is named in the smoke round, with the user's file and line."""

from __future__ import annotations

import pytest
from flops_mlrepo.host import WorkerError, WorkerFault

FAULTS = [
    ("no_model_manager", WorkerFault.MISSING, None, None, "No module named 'model_manager'"),
    ("no_class", WorkerFault.MISSING, "model_manager.py", None, "no class ModelManager"),
    ("missing_method", WorkerFault.MISSING, "model_manager.py", 6, "ModelManager lacks evaluate_model"),
    (
        "abstract_method",
        WorkerFault.MISSING,
        "model_manager.py",
        6,
        "ModelManager lacks evaluate_model, fit_model, get_model_parameters, set_model_parameters",
    ),
    ("syntax_error", WorkerFault.SYNTAX, "model_manager.py", 4, "SyntaxError: expected ':'"),
    ("unknown_import", WorkerFault.IMPORT, "model_manager.py", 4, "No module named 'package_that_nobody_has'"),
    ("constructor_raises", WorkerFault.EXCEPTION, "model_manager.py", 9, "KeyError: 'hidden'"),
    (
        "set_data_at_construction",
        WorkerFault.DATA_NOT_HERE,
        "model_manager.py",
        11,
        "in a learner only",
    ),
    ("parameters_are_dict", WorkerFault.PARAMETERS_TYPE, "model_manager.py", 16, "but returned {'weights'"),
    ("parameters_are_one_array", WorkerFault.PARAMETERS_TYPE, "model_manager.py", 16, "array([0., 0., 0.]) (ndarray)"),
    ("parameters_are_objects", WorkerFault.PARAMETERS_TYPE, "model_manager.py", 16, "the dtype object"),
    ("parameters_are_empty", WorkerFault.PARAMETERS_TYPE, "model_manager.py", 16, "an empty list"),
    (
        "parameters_change_shape",
        WorkerFault.PARAMETERS_CHANGED,
        "model_manager.py",
        19,
        "after set_model_parameters(), parameter 0 has the shape (3, 2) instead of (2, 3)",
    ),
    (
        "parameters_change_dtype",
        WorkerFault.PARAMETERS_CHANGED,
        "model_manager.py",
        19,
        "parameter 0 has the dtype float32 instead of float64",
    ),
    ("parameters_are_not_set", WorkerFault.PARAMETERS_CHANGED, "model_manager.py", 19, "gives another parameter 0"),
]


@pytest.mark.parametrize(("case", "kind", "file", "line", "detail"), FAULTS, ids=[fault[0] for fault in FAULTS])
async def test_a_mistake_is_named_with_file_and_line(open_fixture, case, kind, file, line, detail):
    async with open_fixture(case) as worker:
        with pytest.raises(WorkerError) as caught:
            await worker.smoke(30)
    error = caught.value
    assert (error.kind, error.file, error.line) == (kind, file, line)
    assert detail in error.detail


async def test_a_constructor_that_waits_for_ever_is_killed_and_its_line_shown(open_fixture):
    async with open_fixture("hangs_at_construction") as worker:
        with pytest.raises(WorkerError) as caught:
            await worker.smoke(0.5)
    error = caught.value
    assert (error.kind, error.file, error.line) == (WorkerFault.TIMED_OUT, "model_manager.py", 11)
    assert "did not answer within 0.5 s" in error.detail


async def test_code_in_src_is_found(open_fixture):
    async with open_fixture("sources_in_src") as worker:
        assert await worker.smoke(30) == 1
