"""Access rules from the registry."""

import pytest
from flops_protocol.access import AccessRule, access_rules
from flops_protocol.channels import CHANNELS, ROLES


def filters(role: str, action: str, **ids: str) -> list[str]:
    return [rule.filter for rule in access_rules(role, **ids) if rule.action == action]


def test_a_learner_writes_under_its_own_name_and_reads_what_it_needs() -> None:
    ids = {"project": "p", "learner": "node-1", "service": "projects-p-learner-node-1"}
    assert filters("learner", "publish", **ids) == [
        "flops/v1/dead-letter/projects-p-learner-node-1",
        "flops/v1/projects/p/learner/node-1/errors",
        "flops/v1/projects/p/learner/node-1/log",
        "flops/v1/projects/p/learner/node-1/status",
    ]
    assert filters("learner", "subscribe", **ids) == [
        "flops/v1/projects/p/aggregator/status",
        "flops/v1/projects/p/manager/commands/learner",
        "flops/v1/projects/p/manager/spec",
    ]


def test_a_client_reads_its_own_inbox_only_and_writes_requests_only() -> None:
    assert "flops/v1/inbox/cli-1/+" in filters("client", "subscribe", client="cli-1")
    assert "flops/v1/inbox/+/+" not in filters("client", "subscribe", client="cli-1")
    assert all(topic.startswith("flops/v1/requests/") for topic in filters("client", "publish", client="cli-1"))


def test_a_service_answers_everybody_and_speaks_for_itself() -> None:
    rules = filters("manager", "publish", instance="main", service="manager-main", client="manager-main")
    assert "flops/v1/inbox/+/+" in rules
    assert "flops/v1/services/manager/main/status" in rules
    assert not any("/observer/" in topic or "/requests/" in topic for topic in rules)


def test_the_observer_asks_for_what_it_missed_and_for_nothing_else() -> None:
    asked = [topic for topic in filters("observer", "publish") if "/requests/" in topic]
    assert asked == ["flops/v1/requests/manager/replay"]


def test_every_channel_is_written_and_read_by_somebody() -> None:
    rules = {rule for role in ROLES for rule in access_rules(role)}
    for channel in CHANNELS:
        if "kind" not in channel.parameters:
            assert AccessRule("publish", channel.filter()) in rules
        assert AccessRule("subscribe", channel.filter()) in rules


def test_a_role_that_does_not_exist_has_no_rules() -> None:
    with pytest.raises(ValueError, match="guest is no role"):
        access_rules("guest")
