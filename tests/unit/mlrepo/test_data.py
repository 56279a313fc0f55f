"""The learners' shares of a node's data: disjoint, together everything, and explained where there is nothing."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from flops_mlrepo import DataError, data, load_arrays, load_table
from flops_mlrepo.contract import WorkerFault
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pyarrow import parquet


@pytest.fixture(autouse=True)
def _no_source():
    data.close_source()
    yield
    data.close_source()


def write(folder: Path, tag: str, name: str, table: pa.Table, **options) -> None:
    (folder / tag).mkdir(parents=True, exist_ok=True)
    parquet.write_table(table, folder / tag / name, **options)


@settings(deadline=None)
@given(
    sizes=st.lists(st.integers(0, 40), min_size=1, max_size=4).filter(any),
    parts=st.integers(1, 5),
    row_group=st.integers(1, 50),
)
def test_parts_are_disjoint_and_together_everything(sizes, parts, row_group):
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        start = 0
        for index, size in enumerate(sizes):
            rows = pa.table({"row": np.arange(start, start + size)})
            write(folder, f"tag-{index % 2}", f"{index}.parquet", rows, row_group_size=row_group)
            start += size
        shares = []
        for part in range(parts):
            data.open_source(data.Source(str(folder), ["tag-1", "tag-0", "tag-0"], part, parts))
            try:
                shares.append(load_table().column("row").to_pylist())
            except DataError as error:
                assert error.fault is WorkerFault.NO_ROWS  # noqa: PT017
                shares.append([])
            assert data.rows_offered() == len(shares[-1])
    assert sorted(row for share in shares for row in share) == list(range(start))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_files_are_taken_in_the_order_of_their_names(tmp_path):
    write(tmp_path, "t", "b.parquet", pa.table({"row": [3, 4]}))
    write(tmp_path, "t", "a.parquet", pa.table({"row": [0, 1, 2]}))
    (tmp_path / "t" / "notes.txt").write_text("no data")
    data.open_source(data.Source(str(tmp_path), ["t"], 0, 1))
    assert load_table().column("row").to_pylist() == [0, 1, 2, 3, 4]


def test_without_a_source_there_is_no_data():
    with pytest.raises(DataError, match="there is no data here") as caught:
        load_table()
    assert caught.value.fault is WorkerFault.DATA_NOT_HERE


def test_a_tag_that_is_not_there_is_named(tmp_path):
    data.open_source(data.Source(str(tmp_path), ["mnist", "cifar"], 0, 1))
    with pytest.raises(DataError, match="no file has the tags mnist, cifar") as caught:
        load_table()
    assert caught.value.fault is WorkerFault.NO_ROWS


def test_fewer_rows_than_learners_leave_the_last_one_without(tmp_path):
    write(tmp_path, "t", "a.parquet", pa.table({"row": [0]}))
    data.open_source(data.Source(str(tmp_path), ["t"], 1, 2))
    with pytest.raises(DataError, match="part 2 of 2 has no rows of the tags t") as caught:
        load_table()
    assert caught.value.fault is WorkerFault.NO_ROWS


def test_a_file_that_is_no_parquet_is_named(tmp_path):
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "a.parquet").write_bytes(b"PAR1 but nothing behind it")
    data.open_source(data.Source(str(tmp_path), ["t"], 0, 1))
    with pytest.raises(DataError, match=r"t/a\.parquet: ") as caught:
        load_table()
    assert caught.value.fault is WorkerFault.DATA_UNREADABLE


def test_files_with_differing_columns_are_named(tmp_path):
    write(tmp_path, "t", "a.parquet", pa.table({"row": [0]}))
    write(tmp_path, "t", "b.parquet", pa.table({"line": ["x"]}))
    data.open_source(data.Source(str(tmp_path), ["t"], 0, 1))
    with pytest.raises(DataError, match=r"t/b\.parquet has other columns .* line \(string\) instead of row \(int64\)"):
        load_table()


def picture(side: int, mode: str = "L") -> dict[str, object]:
    file = io.BytesIO()
    Image.new(mode, (side, side), color=7 if mode == "L" else (1, 2, 3)).save(file, "PNG")
    return {"bytes": file.getvalue(), "path": None}


IMAGES = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def test_columns_become_arrays(tmp_path):
    table = pa.table(
        {
            "image": pa.array([picture(8), picture(8)], IMAGES),
            "colour": pa.array([picture(4, "RGB"), picture(4, "RGB")], IMAGES),
            "odd": pa.array([picture(2), picture(3)], IMAGES),
            "label": pa.array([3, 4], pa.int8()),
            "features": pa.array([[1.0, 2.0], [3.0, 4.0]]),
            "text": ["a", "b"],
        }
    )
    write(tmp_path, "t", "a.parquet", table)
    data.open_source(data.Source(str(tmp_path), ["t"], 0, 1))
    arrays = load_arrays()
    assert (arrays["image"].shape, arrays["image"].dtype, arrays["image"][0, 0, 0]) == ((2, 8, 8), np.uint8, 7)
    assert arrays["colour"].shape == (2, 4, 4, 3)
    assert [image.shape for image in arrays["odd"]] == [(2, 2), (3, 3)]
    assert (arrays["label"].tolist(), arrays["label"].dtype) == ([3, 4], np.int8)
    assert arrays["features"].tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert arrays["text"].tolist() == ["a", "b"]
