"""What is generated is committed as it is generated, and valid."""

import json
from pathlib import Path
from typing import Any

import pytest
from flops_protocol.channels import CHANNELS
from flops_protocol.schemas import documents
from flops_protocol.schemas.__main__ import main
from jsonschema import Draft202012Validator

ROOT = Path(__file__).resolve().parents[2]
ASYNCAPI = "protocol/schemas/v1/asyncapi.json"


def test_what_is_committed_is_what_would_be_generated(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check", str(ROOT)]) == 0, capsys.readouterr().err


def test_the_command_writes_what_it_checks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check", str(tmp_path)]) == 1
    assert f"{ASYNCAPI} is out of date" in capsys.readouterr().err
    assert main([str(tmp_path)]) == 0
    assert main(["--check", str(tmp_path)]) == 0
    stray = tmp_path / "protocol/schemas/v1/flops.gone.v1.json"
    stray.write_text("{}")
    changed = tmp_path / "docs/protocol.md"
    changed.write_text("by hand")
    capsys.readouterr()
    assert main(["--check", str(tmp_path)]) == 1
    told = capsys.readouterr().err
    assert "flops.gone.v1.json" in told
    assert "docs/protocol.md" in told
    assert main([str(tmp_path)]) == 0
    assert not stray.exists()
    assert main(["--check", str(tmp_path)]) == 0


@pytest.mark.parametrize("kind", sorted({channel.type for channel in CHANNELS}))
def test_every_message_has_a_valid_schema(kind: str) -> None:
    schema = json.loads((ROOT / f"protocol/schemas/v1/{kind}.json").read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)
    assert schema["$id"] == f"urn:flops:schema:{kind}"
    assert schema["properties"]["type"]["const"] == kind
    assert schema["description"]


def test_the_asyncapi_document_is_whole() -> None:
    document = json.loads(documents()[ASYNCAPI])
    assert document["asyncapi"] == "3.0.0"
    assert len(document["channels"]) == len(CHANNELS)
    for channel in CHANNELS:
        described = document["channels"][channel.name]
        assert described["address"] == f"flops/v1/{channel.pattern}"
        assert set(described.get("parameters", {})) == set(channel.parameters)
        sent = document["operations"][f"send-{channel.name}"]["bindings"]["mqtt"]
        assert (sent["qos"], sent["retain"], sent.get("messageExpiryInterval")) == (
            channel.qos,
            channel.retain,
            channel.expiry,
        )
    for reference in references(document):
        if reference.startswith("#/"):
            target: Any = document
            for level in reference[2:].split("/"):
                target = target[level.replace("~1", "/").replace("~0", "~")]
        else:
            assert (ROOT / "protocol/schemas/v1" / reference).is_file()


def references(node: Any) -> list[str]:
    if isinstance(node, dict):
        own = [node["$ref"]] if "$ref" in node else []
        return own + [found for member in node.values() for found in references(member)]
    return [found for member in node for found in references(member)] if isinstance(node, list) else []


def test_the_page_names_every_channel_and_every_message() -> None:
    page = (ROOT / "docs/protocol.md").read_text(encoding="utf-8")
    for channel in CHANNELS:
        assert f"| `{channel.pattern}` |" in page
        assert f"\n### {channel.type}\n" in page
