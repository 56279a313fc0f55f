"""load_dataset() gives what FLOps repositories expect of Hugging Face's `datasets`."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest
from flops_mlrepo.host import DataSource, WorkerError, WorkerFault
from pyarrow import parquet

pytestmark = pytest.mark.timeout(300)


@pytest.mark.parametrize("metadata", [True, False], ids=["as from the Hub", "without the Hub's metadata"])
async def test_the_ways_of_flops_repositories_work(open_fixture, digits_data, mlenv, output, metadata):
    if not metadata:
        for path in (digits_data / "digits").iterdir():
            parquet.write_table(parquet.read_table(path).replace_schema_metadata(None), path)
    data = DataSource(digits_data, ["digits"], 0, 2)
    async with open_fixture("hugging_face", mlenv=mlenv, guest=None, data=data) as worker:
        await worker.construct(120)
        assert await worker.load_data(120) == 899
    printed = [line for stream, line in output if stream == "stdout"]
    assert "INFO a line of the logger for sklearn" in printed
    assert json.loads(printed[-1]) == {
        "type": "datasets.arrow_dataset.Dataset",
        "flat": [[899, 64], "uint8"],
        "labels": list(range(10)),
        "split": [719, 180],
        "batch": "float32",
        "features": {"image": "Image", "label": "ClassLabel" if metadata else "Value"},
    }


async def test_other_columns_than_the_code_expects_are_listed(open_fixture, tmp_path, mlenv):
    (tmp_path / "data" / "text").mkdir(parents=True)
    parquet.write_table(pa.table({"text": ["a"], "stars": [5]}), tmp_path / "data" / "text" / "a.parquet")
    data = DataSource(tmp_path / "data", ["text"])
    async with open_fixture("hugging_face", mlenv=mlenv, guest=None, data=data) as worker:
        await worker.construct(120)
        with pytest.raises(WorkerError, match=r"KeyError: .*image") as caught:
            await worker.load_data(120)
    error = caught.value
    assert (error.kind, error.file, error.line) == (WorkerFault.DATA_REFUSED, "model_manager.py", 19)
    assert error.detail.endswith("the 1 rows given have the columns text (string), stars (int64)")


async def test_an_environment_without_datasets_is_named(open_fixture, digits_data, environments):
    mlenv = environments.make("numpy", "pyarrow", "pillow")
    data = DataSource(digits_data, ["digits"])
    async with open_fixture("hugging_face", mlenv=mlenv, guest=None, data=data) as worker:
        await worker.construct(120)
        with pytest.raises(WorkerError, match="No module named 'datasets'") as caught:
            await worker.load_data(120)
    error = caught.value
    assert (error.kind, error.file, error.line) == (WorkerFault.IMPORT, "model_manager.py", 18)
