"""The catalogue of errors and its pages: each has the other."""

import re
from pathlib import Path

import pytest
from flops_protocol.errors import CATALOGUE, ErrorBody, FlopsError

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "errors"


def test_every_code_has_a_page_and_every_page_a_code() -> None:
    pages = {path.stem for path in FOLDER.glob("FLOPS-*.md")}
    missing = sorted(CATALOGUE.keys() - pages)
    assert not missing, f"no page in docs/errors for {len(missing)} codes: {', '.join(missing)}"
    assert not pages - CATALOGUE.keys()


@pytest.mark.parametrize("page", sorted(FOLDER.glob("FLOPS-*.md")), ids=lambda path: path.stem)
def test_a_page_says_what_happened_and_what_to_do(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    code = page.stem
    assert text.splitlines()[0] == f"# {code}: {CATALOGUE[code].title}"
    headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert headings[:2] == ["Cause", "What to do"]
    cause, cure = text.split("\n## ")[1:3]
    assert len(cause.split()) >= 10
    assert len(cure.split()) >= 5
    assert "```" in text, "an example of the output is missing"
    assert code in text.split("\n", 1)[1], "the example does not show the error"


@pytest.mark.parametrize("code", sorted(CATALOGUE))
def test_an_error_has_a_title_and_a_next_step(code: str) -> None:
    error = FlopsError(code, "detail", file="model_manager.py", line=3)
    assert error.body.title == CATALOGUE[code].title
    assert error.body.hint.endswith(".")
    assert str(error) == f"{code} {error.body.title}: model_manager.py:3: detail"


def test_an_error_of_tomorrow_is_passed_on() -> None:
    body = ErrorBody(code="FLOPS-T999", title="New", detail="d", hint="h")
    error = FlopsError.from_body(body)
    assert error.body == body
    assert str(error) == "FLOPS-T999 New: d"


def test_a_code_that_is_not_in_the_catalogue_cannot_be_raised() -> None:
    with pytest.raises(KeyError):
        FlopsError("FLOPS-T999", "detail")
