"""Within v1, old and new understand each other, both ways: the comparator, and what was released."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flops_protocol.schemas.__main__ import main
from flops_protocol.schemas.compatibility import MEANING, NEITHER, NEW_WRITER, OLD_WRITER, breaks
from flops_protocol.schemas.messages import message_schemas
from flops_protocol.schemas.release import broken_promises, broken_since_releases, promise

ROOT = Path(__file__).resolve().parents[2]
COMMITTED = ROOT / "protocol/schemas/v1"
SCHEMAS = message_schemas()
STATUS = "flops.build.status.v1"

Schema = dict[str, Any]
Change = Callable[[Schema, Schema], None]


@pytest.mark.parametrize("kind", sorted(SCHEMAS))
def test_the_models_fit_the_committed_schemas_both_ways(kind: str) -> None:
    committed = json.loads((COMMITTED / f"{kind}.json").read_text(encoding="utf-8"))
    assert breaks(committed, SCHEMAS[kind]) == []


def test_every_release_still_holds() -> None:
    assert list((ROOT / "protocol/schemas/released").glob("*.json"))
    assert broken_since_releases(ROOT) == []


def rename(data: Schema, _: Schema) -> None:
    data["properties"]["made_at"] = data["properties"].pop("since")
    data["required"] = ["made_at" if name == "since" else name for name in data["required"]]


def forbid_one(data: Schema, root: Schema) -> None:
    root["$defs"]["ImageReference"]["properties"]["platforms"]["items"]["enum"].remove("linux/arm64")


def narrow_union(data: Schema, _: Schema) -> None:
    data["properties"]["command"] = {"type": "string"}


@pytest.mark.parametrize(
    ("change", "path", "direction"),
    [
        pytest.param(lambda data, _: data["properties"].pop("repairs"), "$.data.repairs", MEANING, id="field removed"),
        pytest.param(rename, "$.data.since", NEW_WRITER, id="field renamed: the old one"),
        pytest.param(rename, "$.data.made_at", OLD_WRITER, id="field renamed: the new one"),
        pytest.param(
            lambda data, _: (data["properties"].update(more={"type": "string"}), data["required"].append("more")),
            "$.data.more",
            OLD_WRITER,
            id="new required field",
        ),
        pytest.param(
            lambda data, _: data["required"].append("command"), "$.data.command", OLD_WRITER, id="became required"
        ),
        pytest.param(
            lambda data, _: data["required"].remove("state"), "$.data.state", NEW_WRITER, id="became optional"
        ),
        pytest.param(narrow_union, "$.data.command", OLD_WRITER, id="type narrowed: no null any more"),
        pytest.param(
            lambda data, _: data["properties"]["since"].update(type="integer"),
            "$.data.since",
            NEITHER,
            id="type changed",
        ),
        pytest.param(
            lambda data, _: data["properties"]["project"].update(maxLength=10),
            "$.data.project",
            OLD_WRITER,
            id="bound tightened",
        ),
        pytest.param(
            lambda data, _: data["properties"]["project"].update(maxLength=100),
            "$.data.project",
            NEW_WRITER,
            id="bound loosened",
        ),
        pytest.param(
            lambda data, _: data["properties"]["warnings"].update(minItems=1),
            "$.data.warnings",
            OLD_WRITER,
            id="new bound",
        ),
        pytest.param(
            lambda data, _: data["properties"]["project"].update(pattern="^x"),
            "$.data.project",
            NEITHER,
            id="pattern changed",
        ),
        pytest.param(
            lambda _, root: root["$defs"]["BuilderState"]["enum"].remove("lost"),
            "$.data.state",
            OLD_WRITER,
            id="enum value removed",
        ),
        pytest.param(
            lambda _, root: root["$defs"]["BuilderState"]["enum"].append("gone"),
            "$.data.state",
            NEW_WRITER,
            id="enum value added",
        ),
        pytest.param(forbid_one, "$.data.images.learner.platforms[]", OLD_WRITER, id="deep enum value removed"),
        pytest.param(
            lambda _, root: root["$defs"]["ErrorBody"]["properties"].pop("detail"),
            "$.data.error.detail",
            NEW_WRITER,
            id="field of a part removed",
        ),
        pytest.param(
            lambda data, _: data["properties"]["repairs"].update(default=["none"]),
            "$.data.repairs",
            MEANING,
            id="default changed",
        ),
        pytest.param(
            lambda data, _: data["properties"]["repairs"].update(items={"type": "integer"}),
            "$.data.repairs[]",
            NEITHER,
            id="items changed",
        ),
        pytest.param(
            lambda _, root: root["$defs"]["ErrorBody"]["properties"]["line"]["anyOf"][0].update(type="number"),
            "$.data.error.line",
            NEW_WRITER,
            id="type widened",
        ),
        pytest.param(
            lambda _, root: root["properties"]["epoch"].update(type="string"), "$.epoch", NEITHER, id="epoch a string"
        ),
        pytest.param(
            lambda _, root: root["properties"]["type"].update(const="flops.other.v1"),
            "$.type",
            NEITHER,
            id="const changed",
        ),
    ],
)
def test_a_breaking_change_is_red(change: Change, path: str, direction: str) -> None:
    old = SCHEMAS[STATUS]
    new = copy.deepcopy(old)
    change(new["$defs"]["BuilderStatus"], new)
    found = breaks(old, new)
    assert any(line.startswith(f"{path}: ") and line.endswith(direction) for line in found), found


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(
            lambda data, _: data["properties"].update(more={"type": "string", "default": "x"}), id="new optional field"
        ),
        pytest.param(
            lambda _, root: root["$defs"]["ErrorBody"]["properties"].update(url={"type": "string"}),
            id="new optional field in a part",
        ),
        pytest.param(lambda data, root: data.update(description="better words", title="x"), id="words"),
        pytest.param(
            lambda data, root: (
                root["$defs"].update(Renamed=root["$defs"].pop("BuilderState")),
                data["properties"].update(state={"$ref": "#/$defs/Renamed"}),
            ),
            id="another name for a part",
        ),
    ],
)
def test_a_harmless_change_is_green(change: Change) -> None:
    old = SCHEMAS[STATUS]
    new = copy.deepcopy(old)
    change(new["$defs"]["BuilderStatus"], new)
    assert new != old
    assert breaks(old, new) == []


def test_a_schema_that_contains_itself_is_compared() -> None:
    def tree(leaf: str) -> Schema:
        node = {"type": "object", "properties": {"left": {"$ref": "#/$defs/Node"}, "leaf": {"type": leaf}}}
        return {"$defs": {"Node": node}, "properties": {"root": {"$ref": "#/$defs/Node"}}}

    assert breaks(tree("string"), tree("string")) == []
    assert len(breaks(tree("string"), tree("integer"))) == 1


@pytest.mark.parametrize(
    ("key", "value"),
    [("address", "flops/v1/elsewhere"), ("writer", "observer"), ("qos", 0), ("retain", False), ("type", "flops.x.v1")],
)
def test_a_channel_that_changed_is_red(key: str, value: object) -> None:
    new = promise()
    new["channels"]["builder-status"][key] = value
    assert broken_promises(promise(), new) == [
        f"channel builder-status: {key} {promise()['channels']['builder-status'][key]} became {value}"
    ]


def test_what_is_gone_is_red_and_what_is_new_is_green() -> None:
    less, more = promise(), promise()
    del less["channels"]["builder-log"], less["schemas"]["flops.log.v1"]
    assert broken_promises(more, less) == ["channel builder-log is gone", "message flops.log.v1 is gone"]
    assert broken_promises(less, more) == []


def test_nothing_is_generated_over_a_broken_promise(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--freeze", "1.2.3", str(tmp_path)]) == 0
    assert main([str(tmp_path)]) == 0
    kept = tmp_path / "protocol/schemas/released/1.2.3.json"
    old = json.loads(kept.read_text(encoding="utf-8"))
    old["schemas"][STATUS]["$defs"]["BuilderStatus"]["properties"]["weight"] = {"type": "number"}
    kept.write_text(json.dumps(old), encoding="utf-8")
    for arguments in ([], ["--check"], ["--freeze", "1.2.4"]):
        assert main([*arguments, str(tmp_path)]) == 1
        assert f"1.2.3: {STATUS} $.data.weight: the field is gone" in capsys.readouterr().err
