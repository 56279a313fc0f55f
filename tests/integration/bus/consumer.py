"""A service of its own process that may be killed at any time: `python consumer.py URL FILE [SECONDS]`.

Appends the number of every message that it handled to FILE, after it worked on it for a while.
"""

import os
import sys
from pathlib import Path

import anyio
from flops_protocol.bus import Identity, Received
from flops_protocol.bus.mqtt import MqttBus
from flops_protocol.channels import TIMELINE
from flops_protocol.messages.observer import TimelineEntry


async def main(url: str, path: Path, seconds: float) -> None:
    bus = MqttBus(url, Identity("manager", "consumer"), session_seconds=300)
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    async def work(received: Received[TimelineEntry]) -> None:
        await anyio.sleep(seconds)
        os.write(file, f"{received.message.position}\n".encode())

    bus.on(TIMELINE, work)
    await bus.run()


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], Path(sys.argv[2]), float(sys.argv[3]))
