"""requirements.txt, as pip reads it."""

from __future__ import annotations

import contextlib

import pytest
from flops_builder.dependencies.files.requirements_txt import logical_lines, read_requirements
from flops_protocol.errors import FlopsError
from hypothesis import given
from hypothesis import strategies as st


def read(write, text, **files):
    return read_requirements(write({"requirements.txt": text, **files}), "requirements.txt")


def texts(declaration):
    return [each.text for each in declaration.requirements]


def test_comments_continuations_and_markers(write):
    text = '# head\nnumpy==1.26.4  # pinned\n\nscipy \\\n  >=1.1\npandas; python_version >= "3.8"\nurl#egg\n'
    found = read(write, text.replace("url#egg\n", ""))
    assert texts(found) == ["numpy==1.26.4", "scipy>=1.1", 'pandas; python_version >= "3.8"']
    assert [each.line for each in found.requirements] == [2, 4, 6]


def test_hashes_of_the_file_are_not_part_of_the_requirement(write):
    assert texts(read(write, "numpy==1.26.4 \\\n  --hash=sha256:abc \\\n  --hash=sha256:def\n")) == ["numpy==1.26.4"]


def test_nested_files_and_constraints(write):
    found = read(
        write,
        "-r sub/more.txt\n-c limits.txt\n",
        **{"sub/more.txt": "-r deep.txt\nscipy\n", "sub/deep.txt": "pandas\n", "limits.txt": "numpy<2\n"},
    )
    assert [(each.text, each.file) for each in found.requirements] == [
        ("pandas", "sub/deep.txt"),
        ("scipy", "sub/more.txt"),
    ]
    assert [each.text for each in found.constraints] == ["numpy<2"]


def test_index_options_are_kept(write, tmp_path):
    found = read(write, "--extra-index-url https://example.org/simple\n-f ./wheels\n--pre\nnumpy\n")
    assert found.options == (
        "--extra-index-url=https://example.org/simple",
        f"--find-links={tmp_path / 'wheels'}",
        "--prerelease=allow",
    )


def test_the_own_package_is_left_out_and_told(write):
    found = read(write, "-e .\n.\nnumpy\n")
    assert texts(found) == ["numpy"]
    assert [each.rule for each in found.repairs] == ["own-package", "own-package"]


def test_version_control_in_the_old_form(write):
    assert texts(read(write, "git+https://example.org/a.git@main#egg=flops_utils\n")) == [
        "flops_utils@ git+https://example.org/a.git@main"
    ]


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("numpy\nnumpy==\n", 2, "no requirement"),
        ("-r missing.txt\n", 1, "missing"),
        ("-r ../outside.txt\n", 1, "outside"),
        ("numpy\n-r requirements.txt\n", 2, "includes itself"),
        ("--what\n", 1, "not known"),
        ("-r https://example.org/r.txt\n", 1, "file of the repository"),
        ("git+https://example.org/a.git\n", 1, "which package"),
        ("-r 'a\n", 1, "quotation"),
        ("-f ../wheels\n", 1, "outside"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_line(write, text, line, said):
    with pytest.raises(FlopsError) as caught:
        read(write, text)
    assert caught.value.body.code == "FLOPS-B021"
    assert caught.value.body.line == line
    assert said in caught.value.body.detail


def test_utf16_of_a_powershell_is_read(tmp_path):
    (tmp_path / "requirements.txt").write_bytes("numpy\r\nscipy\r\n".encode("utf-16"))
    assert texts(read_requirements(tmp_path, "requirements.txt")) == ["numpy", "scipy"]


@given(st.text())
def test_logical_lines_lose_no_requirement(text):
    numbers = [number for number, _ in logical_lines(text)]
    assert numbers == sorted(set(numbers))
    assert all(1 <= number <= text.count("\n") + 1 for number in numbers)


@given(st.text(max_size=300))
def test_nothing_but_a_typed_error_comes_out(tmp_path_factory, text):
    folder = tmp_path_factory.mktemp("requirements")
    (folder / "requirements.txt").write_text(text, encoding="utf-8", errors="replace")
    with contextlib.suppress(FlopsError):
        read_requirements(folder, "requirements.txt")
