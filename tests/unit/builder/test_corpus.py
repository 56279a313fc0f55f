"""Every repository of the corpus gets the plan, or the error, that a user would want (tests/corpus/README.md)."""

from __future__ import annotations

import shutil
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from flops_builder.dependencies.guest import WHERE
from flops_builder.plan import Plan, make_plan
from flops_builder.source.checkout import Checkout
from flops_protocol.errors import FlopsError
from flops_protocol.messages.project import ProjectSpec
from flops_protocol.sla import Sla

CORPUS = Path(__file__).parent.parent.parent / "corpus"
CASES = sorted(path.parent.name for path in CORPUS.glob("*/expected.toml"))


def expected(case: str) -> dict[str, Any]:
    """What is wanted of a case."""
    return tomllib.loads((CORPUS / case / "expected.toml").read_text())


def plan_of(case: str, folder: Path) -> Plan:
    """The plan for a case, in a folder of its own.

    :raises FlopsError: when there is none
    """
    wanted = expected(case)
    tree = folder / "repository"
    shutil.copytree(CORPUS / case / "repo", tree, symlinks=True)
    code = tree / wanted.get("subdir", "")
    for file in (CORPUS / "_base").iterdir() if wanted.get("base", True) else ():
        if not any((root / file.name).exists() for root in (code, code / "src")):
            shutil.copyfile(file, code / file.name)
    sla = {"ml_repo_url": str(tree), "ml_model_flavor": "sklearn"}
    if "strategy" in wanted:
        sla["strategy"] = {"name": wanted["strategy"]}
    spec = ProjectSpec(
        project="corpus-1",
        sla=Sla.model_validate(sla),
        repository_url=str(tree),
        commit="0" * 40,
        submitted_at=datetime.now(UTC),
    )
    checkout = Checkout(tree=tree, code=code, files=1, bytes=1, notices=[])
    channels = wanted.get("channels", False)
    return make_plan(spec, checkout, wanted.get("pythons", ["3.11"]), "2.28", channels=channels)


def test_there_are_enough_cases():
    assert len(CASES) >= 40


@pytest.mark.parametrize("case", CASES)
def test_the_plan_is_what_a_user_would_want(case, tmp_path):
    wanted = expected(case)
    assert ("plan" in wanted) != ("error" in wanted)
    if "error" in wanted:
        with pytest.raises(FlopsError) as caught:
            plan_of(case, tmp_path)
        body = caught.value.body
        found = {"code": body.code, "file": body.file, "line": body.line}
        assert found == {"file": None, "line": None} | {k: v for k, v in wanted["error"].items() if k != "detail"}
        assert wanted["error"].get("detail", "") in body.detail
        return
    plan, told = plan_of(case, tmp_path), wanted["plan"]
    needs = {each.after for each in plan.repairs if each.rule == "guest-needs"}
    assert plan.declaration.file == told["file"]
    assert plan.python == told["python"]
    assert sorted(each.text for each in plan.requirements if each.file != WHERE) == told["requirements"]
    assert sorted(plan.declaration.ignored) == told.get("ignored", [])
    assert sorted({each.rule for each in plan.repairs} - {"guest-needs"}) == told.get("repairs", [])
    if "options" in told:
        assert list(plan.declaration.options) == told["options"]
    for text in told.get("warnings", []):
        assert any(text in warning for warning in plan.warnings), plan.warnings
    assert (
        None if plan.conda is None or not plan.conda.because else sorted(each.text for each in plan.conda.specs)
    ) == (sorted(told["conda"]) if "conda" in told else None)
    if "guest" in told:
        assert sorted(needs - {"numpy>=1.21"}) == told["guest"]
