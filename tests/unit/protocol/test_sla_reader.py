"""Reading SLAs: what people have is taken, what is wrong is named."""

import json
from typing import Any

import pytest
from flops_protocol.envelope import MAX_BYTES
from flops_protocol.sla import ModelFlavor, PostTrainingStep, Sla
from flops_protocol.sla_reader import SlaError, read_sla
from hypothesis import given
from hypothesis import strategies as st

SMALLEST = {"ml_repo_url": "https://example.org/repo.git", "ml_model_flavor": "sklearn"}

IN_THE_STYLE_OF_THE_MANUAL = """\
{
  % Written by hand, with "quotes", commas, and } in a comment.
  "verbose": true, % default=false, optional
  "customerID": "Admin",
  "ml_repo_url": "https://example.org/repo.git", // the % in "https://" is none
  "ml_model_flavor": "pytorch",
  "use_devel_base_images": true, # no longer needed
  "supported_platforms": ["linux/amd64", "linux/arm64",], % default=["linux/amd64"]
  /* everything
     about training */
  "training_configuration": {
      "mode": "hierarchical", % default="classic", optional
      "data_tags": ["mnist % # // tag"],
      "training_cycles": 10,
      "training_rounds": 5,
      "min_available_clients":3,
      "min_fit_clients": 3,
      "min_evaluate_clients": 3 % the last one
  },
  "post_training_steps": ["build_image_for_trained_model", "deploy_trained_model_image"],
  "resource_constraints": {
      "memory": 250, % in MB
      "vcpus": 1,
      "storage": 25 % in MB
  },
}
% the end
"""


def mistakes_of(document: dict[str, Any] | str) -> dict[str, tuple[str, str]]:
    with pytest.raises(SlaError) as caught:
        read_sla(document if isinstance(document, str) else json.dumps(document))
    assert caught.value.body.code == "FLOPS-S002"
    for mistake in caught.value.mistakes:
        assert mistake.path in caught.value.body.detail
    return {mistake.path: (mistake.found, mistake.allowed) for mistake in caught.value.mistakes}


def test_a_document_in_the_style_of_the_manual_is_read() -> None:
    sla, notices = read_sla(IN_THE_STYLE_OF_THE_MANUAL)
    assert sla.verbose
    assert sla.customer_id == "Admin"
    assert sla.ml_repo_url == "https://example.org/repo.git"
    assert sla.ml_model_flavor is ModelFlavor.PYTORCH
    assert sla.supported_platforms == ["linux/amd64", "linux/arm64"]
    assert sla.training_configuration.data_tags == ["mnist % # // tag"]
    assert sla.training_configuration.min_available_clients == 3
    assert sla.post_training_steps == [PostTrainingStep.BUILD_IMAGE, PostTrainingStep.DEPLOY_IMAGE]
    assert sla.resource_constraints.storage == 25
    assert sla.resource_constraints.memory_limit_bytes == 1_024_000_000
    assert len(notices) == 3
    assert "use_devel_base_images" in notices[0]
    assert "hierarchical" in notices[1]
    assert "training_cycles (10)" in notices[1]
    assert "resource_constraints.memory (250 MB)" in notices[2]


def test_the_smallest_document_gets_the_defaults_of_the_manual() -> None:
    sla, notices = read_sla(json.dumps(SMALLEST))
    assert sla.customer_id == "Admin"
    assert sla.supported_platforms == ["linux/amd64"]
    assert sla.training_configuration.training_rounds == 3
    assert sla.training_configuration.min_fit_clients == 1
    assert notices == ["data_tags is empty: no node has data for this project."]


@pytest.mark.parametrize("key", ["customerID", "customer_id"])
def test_the_customer_is_known_by_both_names(key: str) -> None:
    assert read_sla(json.dumps(SMALLEST | {key: "me"}))[0].customer_id == "me"


def test_a_byte_order_mark_is_no_mistake() -> None:
    assert read_sla("\ufeff" + json.dumps(SMALLEST))[0].ml_repo_url == SMALLEST["ml_repo_url"]


@pytest.mark.parametrize(
    ("text", "line", "column", "word"),
    [
        ('{\n  "a": 1,\n  "training_cycles: 1, % default=1\n  "b": 2\n}', 3, 3, '"training_cycles: 1'),
        ('{"a": 1\n "b": 2}', 2, 2, "end of line 1"),
        ('{"a": 1 "b": 2}', 1, 9, "comma or a closing bracket"),
        ('{"a": [1,,2]}', 1, 10, "value"),
        ('{"a": [,]}', 1, 8, "value"),
        ("{a: 1}", 1, 2, "double quotes"),
        ("{'a': 1}", 1, 2, "double quotes"),
        ('{"a": True}', 1, 7, "True"),
        ('{"a": 1}}', 1, 9, "ended before"),
        ('{"a": 1', 1, 8, "ends too early"),
        ('{"a": 1 /* x\n}', 1, 9, "comment is not closed"),
        ('{"a": "\\x"}', 1, 8, "escape"),
        ("", 1, 1, "empty"),
        ("% only a comment", 1, 17, "empty"),
    ],
)
def test_what_is_not_json_is_told_with_line_and_column(text: str, line: int, column: int, word: str) -> None:
    with pytest.raises(SlaError) as caught:
        read_sla(text)
    body = caught.value.body
    assert body.code == "FLOPS-S001"
    assert body.line == line
    assert body.detail.startswith(f"line {line}, column {column}: ")
    assert word in body.detail
    assert caught.value.mistakes == []


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a": ' + "9" * 5000 + "}"])
def test_what_python_cannot_read_is_not_json_either(text: str) -> None:
    with pytest.raises(SlaError, match="FLOPS-S001"):
        read_sla(text)


def test_every_mistake_is_named_at_once() -> None:
    found = mistakes_of(
        """{
        "ml_repo_url": "u", "ml_repo_url": "z",
        "verbose": "yes",
        "customerID": "a", "customer_id": "b",
        "training_configuration": {
            "min_fit_client": 3, "training_rounds": 0, "mode": "x", "data_tags": "mnist", "min_fit_clients": 2.5
        },
        "supported_platforms": [],
        "strategy": {"arguments": {"x": NaN, "y": [1e999]}},
        "deadlines": {"round": -1, "building": "soon"},
        "resource_constraints": null,
        "Verbose": true,
        "post_training_steps": ["deploy"],
        "not an identifier": 1,
        "ml_repo_ref": "\\ud800"
        }"""
    )
    assert found.keys() == {
        "$.ml_model_flavor",
        "$.ml_repo_url",
        "$.verbose",
        "$.customer_id",
        "$.training_configuration.min_fit_client",
        "$.training_configuration.training_rounds",
        "$.training_configuration.mode",
        "$.training_configuration.data_tags",
        "$.training_configuration.min_fit_clients",
        "$.supported_platforms",
        "$.strategy.arguments.x",
        "$.strategy.arguments.y[0]",
        "$.deadlines.round",
        "$.deadlines.building",
        "$.resource_constraints",
        "$.Verbose",
        "$.post_training_steps[0]",
        '$["not an identifier"]',
        "$.ml_repo_ref",
    }
    assert found["$.ml_model_flavor"] == ("nothing", 'one of "sklearn", "pytorch", "tensorflow", "keras"')
    assert found["$.ml_repo_url"] == ("the key more than once", "each key once")
    assert found["$.training_configuration.training_rounds"] == ("0", "a whole number from 1 up to 100000")
    assert found["$.training_configuration.mode"] == ('"x"', 'one of "classic", "hierarchical"')
    assert found["$.training_configuration.min_fit_client"][1].startswith("min_fit_clients, or another of: mode, ")
    assert found["$.Verbose"][1].startswith("verbose, ")
    assert found["$.supported_platforms"] == ("[]", 'a list, at least 1, each one of "linux/amd64", "linux/arm64"')
    assert found["$.deadlines.round"] == ("-1", "a number above 0 up to 604800")
    assert found["$.verbose"] == ('"yes"', "true or false")


@pytest.mark.parametrize("value", ["3", 3.5, True, None, [3], {}])
def test_numbers_are_numbers(value: Any) -> None:
    found = mistakes_of(SMALLEST | {"training_configuration": {"training_rounds": value}})
    assert found.keys() == {"$.training_configuration.training_rounds"}


def test_a_number_that_no_message_can_carry_is_a_mistake() -> None:
    found = mistakes_of(SMALLEST | {"strategy": {"arguments": {"least": -(2**63), "more": 2**63, "deep": [10**30]}}})
    assert found.keys() == {"$.strategy.arguments.more", "$.strategy.arguments.deep[0]"}


@pytest.mark.parametrize("document", ["[]", "3", '"text"', "null", "NaN"])
def test_a_document_that_is_no_object_is_a_mistake(document: str) -> None:
    assert mistakes_of(document).keys() == {"$"}


def test_an_endless_list_of_mistakes_still_fits_into_a_message() -> None:
    found = mistakes_of(SMALLEST | {f"{index}{'x' * 1000}": 1 for index in range(1000)})
    assert "900 more mistakes" in str(found)
    assert len(str(found)) < MAX_BYTES / 4


@pytest.mark.parametrize(
    ("key", "value", "word"),
    [
        ("training_configuration", {"data_tags": ["a"], "training_cycles": 2}, "training_cycles has no effect"),
        ("training_configuration", {"data_tags": ["a"], "min_fit_clients": 2}, "min_fit_clients (2) is above"),
        (
            "training_configuration",
            {"data_tags": ["a"], "min_evaluate_clients": 2},
            "min_evaluate_clients (2) is above",
        ),
        ("post_training_steps", ["deploy_trained_model_image"], "needs build_image_for_trained_model"),
    ],
)
def test_what_has_another_effect_than_expected_is_taken_with_a_notice(key: str, value: Any, word: str) -> None:
    _, notices = read_sla(json.dumps(SMALLEST | {key: value}))
    assert any(word in notice for notice in notices)


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    with pytest.raises(SlaError):
        read_sla(text)


SPACE = st.sampled_from(
    ["", " ", "\n", "\t", '% a, } "comment\n', "// a ] comment\n", "# [1,\n", '/* "x" */', "/*\n*/"]
)


@given(st.lists(SPACE, min_size=40, max_size=40), st.booleans())
def test_comments_and_trailing_commas_change_nothing(spaces: list[str], trailing: bool) -> None:
    parts = ["{", '"ml_repo_url"', ":", '"a%b//c#d/*e*/"', ",", '"ml_model_flavor"', ":", '"keras"', ",",
             '"training_configuration"', ":", "{", '"data_tags"', ":", "[", '"a\\"%"', ",", '"b"', *([","] * trailing),
             "]", *([","] * trailing), "}", *([","] * trailing), "}"]  # fmt: skip
    text = "".join(f"{space}{part}" for space, part in zip(spaces, [*parts, ""], strict=False))
    sla, _ = read_sla(text)
    assert sla.ml_repo_url == "a%b//c#d/*e*/"
    assert sla.training_configuration.data_tags == ['a"%', "b"]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from([*Sla.model_fields, "customerID"]) | st.text(), inner, max_size=5)
        ),
        max_leaves=20,
    )
)
def test_any_json_is_read_or_refused(value: Any) -> None:
    try:
        read_sla(json.dumps(value))
    except SlaError as error:
        assert error.mistakes  # noqa: PT017 - either outcome is right


def test_what_nobody_could_run_is_told_before_anything_is_built() -> None:
    wishes = {"strategy": {"name": "FedAverage"}, "federation": "superlink"}
    with pytest.raises(SlaError) as caught:
        read_sla(json.dumps({"ml_repo_url": "/r", "ml_model_flavor": "sklearn"} | wishes))
    told = {mistake.path: mistake for mistake in caught.value.mistakes}
    assert told.keys() == {"$.federation", "$.strategy.name"}
    assert told["$.strategy.name"].found == '"FedAverage"'
    assert told["$.strategy.name"].allowed.startswith("FedAvg, or another of:")
