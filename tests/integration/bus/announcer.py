"""A service of its own process with a last will: `python announcer.py URL`. Says `up`, and stays."""

import sys
from datetime import UTC, datetime

import anyio
from flops_protocol.bus import Identity, Testament
from flops_protocol.bus.mqtt import MqttBus
from flops_protocol.channels import SERVICE_STATUS
from flops_protocol.messages.mesh import ServiceStatus


def status(state: str) -> ServiceStatus:
    return ServiceStatus.model_validate(
        {"kind": "manager", "instance": "main", "state": state, "since": datetime.now(UTC), "version": "0"}
    )


async def main(url: str) -> None:
    testament = Testament(SERVICE_STATUS, status("lost"), {"kind": "manager", "instance": "main"}, delay_seconds=2)
    bus = MqttBus(url, Identity("manager", "main"), testament=testament)
    async with anyio.create_task_group() as group:
        await group.start(bus.run)
        await bus.publish(SERVICE_STATUS, status("up"), kind="manager", instance="main")
        await anyio.sleep_forever()


if __name__ == "__main__":
    anyio.run(main, sys.argv[1])
