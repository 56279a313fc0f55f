"""Adding data: what is read, what is written, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from flops_cli.data import folder
from flops_protocol.errors import FlopsError


def parquet(path: Path, **columns: list[object]) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


def test_add_parquet_keeps_rows_and_schema_metadata(tmp_path: Path) -> None:
    source = tmp_path / "part.parquet"
    table = pa.table({"x": [1, 2, 3]}).replace_schema_metadata({"huggingface": "{}"})
    pq.write_table(table, source)
    added = folder.add(tmp_path / "data", "numbers", [source])
    assert added == [folder.DataFile("numbers", "part.parquet", 3, {"x": "int64"})]
    written = pq.read_table(tmp_path / "data" / "numbers" / "part.parquet")
    assert written.schema.metadata == {b"huggingface": b"{}"}
    assert written.equals(table)
    assert folder.listing(tmp_path / "data") == added


def test_add_csv_and_arrays(tmp_path: Path) -> None:
    csv = tmp_path / "a.csv"
    csv.write_text("x,y\n1,red\n2,blue\n")
    assert folder.add(tmp_path / "data", "csv", [csv])[0].columns == {"x": "int64", "y": "string"}
    npz = tmp_path / "b.npz"
    np.savez(npz, x=np.zeros((5, 8, 8), np.float32), y=np.arange(5))
    added = folder.add(tmp_path / "data", "npz", [npz])[0]
    assert added.rows == 5
    assert added.columns == {
        "x": "fixed_size_list<item: fixed_size_list<item: float>[8]>[8]",
        "y": "int64",
    }
    npy = tmp_path / "c.npy"
    np.save(npy, np.arange(4))
    assert folder.add(tmp_path / "data", "npy", [npy])[0].rows == 4


def test_add_folder_of_images(tmp_path: Path) -> None:
    for label in ("cat", "dog"):
        (tmp_path / "pets" / label).mkdir(parents=True)
        (tmp_path / "pets" / label / "1.png").write_bytes(label.encode())
    added = folder.add(tmp_path / "data", "pets", [tmp_path / "pets"])
    assert added[0].rows == 2
    table = pq.read_table(tmp_path / "data" / "pets" / "pets.parquet")
    assert table.to_pylist()[1] == {"image": {"bytes": b"dog", "path": None}, "label": 1}
    assert b'"ClassLabel"' in table.schema.metadata[b"huggingface"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.parquet", b"no parquet"),
        ("a.csv", b""),
        ("a.npz", b"PK no zip"),
        ("a.npy", b"\x93NUMPY"),
        ("a.txt", b"hello"),
        ("a.csv", b"x,y\n1,2,3\n"),
    ],
)
def test_add_what_cannot_be_read(tmp_path: Path, name: str, content: bytes) -> None:
    good = parquet(tmp_path / "good.parquet", x=[1])
    bad = tmp_path / name
    bad.write_bytes(content)
    with pytest.raises(FlopsError, match="FLOPS-P014") as caught:
        folder.add(tmp_path / "data", "t", [good, bad])
    assert caught.value.body.file == str(bad)
    assert folder.listing(tmp_path / "data") == []


def test_add_pickled_arrays_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(FlopsError, match="FLOPS-P014"):
        folder.add(tmp_path / "data", "t", [path])


def test_add_other_columns_under_the_same_tag(tmp_path: Path) -> None:
    folder.add(tmp_path / "data", "t", [parquet(tmp_path / "a.parquet", x=[1])])
    with pytest.raises(FlopsError, match=r"b\.parquet has the columns"):
        folder.add(tmp_path / "data", "t", [parquet(tmp_path / "b.parquet", y=["1"])])
    folder.add(tmp_path / "data", "t", [parquet(tmp_path / "a.parquet", y=["1"])])
    assert [entry.columns for entry in folder.listing(tmp_path / "data")] == [{"y": "string"}]


def test_add_same_name_twice(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    files = [parquet(tmp_path / place / "a.parquet", x=[1]) for place in ("one", "two")]
    with pytest.raises(FlopsError, match="Two of the files"):
        folder.add(tmp_path / "data", "t", files)


@pytest.mark.parametrize("tag", ["../up", "a/b", "", ".hidden", "x" * 64])
def test_check_tag(tag: str) -> None:
    with pytest.raises(ValueError, match="no tag"):
        folder.check_tag(tag)
