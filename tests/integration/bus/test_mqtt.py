"""The MQTT bus, on real brokers."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests import brokers
from tests.integration.bus.stage import MqttStage, mqtt_stage
from tests.integration.bus.suite import BusSuite


@pytest.mark.skipif(not brokers.available("mosquitto"), reason="Mosquitto is not installed")
class TestOnMosquitto(BusSuite):
    """Everything that a bus must do."""

    @pytest.fixture
    async def stage(self, tmp_path: Path) -> AsyncIterator[MqttStage]:
        async with mqtt_stage(tmp_path, "mosquitto") as stage:
            yield stage


class TestOnTheEmbeddedBroker(BusSuite):
    """The same, on the broker that comes by pip."""

    @pytest.fixture
    async def stage(self, tmp_path: Path) -> AsyncIterator[MqttStage]:
        async with mqtt_stage(tmp_path, "iotcore") as stage:
            yield stage
