"""What is written for Flower runs on the stream as it is: ServerApp-style strategies, ClientApps, and mods."""

import asyncio

import anyio
import numpy as np
import pytest
from anyio import to_thread
from flops_federation.flower import from_parcel, to_parcel
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.clientapp.mod import arrays_size_mod, fixedclipping_mod
from flwr.serverapp.strategy import DifferentialPrivacyClientSideFixedClipping, FedAvg

from tests.integration.federation.fleet import fleet


def client_app(mods=None):
    app = ClientApp(mods=mods)

    @app.train()
    def train(message, context):
        trained = [array + 1.0 for array in message.content["arrays"].to_numpy_ndarrays()]
        metrics = MetricRecord({"num-examples": 10, "round": int(message.content["config"]["server-round"])})
        return Message(RecordDict({"arrays": ArrayRecord(trained), "metrics": metrics}), reply_to=message)

    @app.evaluate()
    def evaluate(message, context):
        value = float(message.content["arrays"].to_numpy_ndarrays()[0].mean())
        metrics = MetricRecord({"num-examples": 10, "value": value})
        return Message(RecordDict({"metrics": metrics}), reply_to=message)

    @app.query()
    def query(message, context):
        return Message(RecordDict({"config": ConfigRecord({"who": "me"})}), reply_to=message)

    return app


def answers_with(app):
    async def handle(parcel):
        context = Context(run_id=1, node_id=2, node_config={}, state=RecordDict(), run_config={})
        return to_parcel(await to_thread.run_sync(app, from_parcel(parcel), context))

    return handle


async def test_a_strategy_starts_by_itself_on_the_grid():
    handles = {f"learner-{n}": answers_with(client_app()) for n in range(2)}
    async with fleet(2, handles) as learners:
        grid = learners.grid()
        first = ArrayRecord([np.zeros((3, 2), dtype=np.float32)])

        def start():
            return FedAvg().start(grid, first, num_rounds=3, timeout=20)

        result = await to_thread.run_sync(start)
        assert np.array_equal(result.arrays.to_numpy_ndarrays()[0], np.full((3, 2), 3, dtype=np.float32))
        assert result.evaluate_metrics_clientapp[3]["value"] == pytest.approx(3.0)
        assert result.train_metrics_clientapp[2]["round"] == pytest.approx(2)


async def test_mods_wrap_the_client_app():
    app = client_app(mods=[fixedclipping_mod, arrays_size_mod])
    async with fleet(1, {"learner-0": answers_with(app)}) as learners:
        strategy = DifferentialPrivacyClientSideFixedClipping(
            FedAvg(min_train_nodes=1, min_evaluate_nodes=1, min_available_nodes=1),
            noise_multiplier=0.0,
            clipping_norm=0.1,
            num_sampled_clients=1,
        )
        grid = learners.grid()
        first = ArrayRecord([np.zeros(4, dtype=np.float32)])
        result = await to_thread.run_sync(lambda: strategy.start(grid, first, num_rounds=1, timeout=20))
        # An update of ones has norm 2; the mod has clipped it.
        assert np.linalg.norm(result.arrays.to_numpy_ndarrays()[0]) == pytest.approx(0.1, rel=1e-3)


async def test_push_and_pull():
    async with fleet(1, {"learner-0": answers_with(client_app())}) as learners:
        grid = learners.grid()
        (node,) = grid.get_node_ids()
        assert [info.node_id for info in grid.get_nodes()] == [node]
        message = grid.create_message(RecordDict(), "query", node, "1")
        ids = await to_thread.run_sync(lambda: list(grid.push_messages([message])))
        replies = []
        with anyio.fail_after(10):
            while not replies:
                await asyncio.sleep(0.01)
                replies = await to_thread.run_sync(lambda: list(grid.pull_messages(ids)))
        assert replies[0].content["config"]["who"] == "me"
        assert await to_thread.run_sync(lambda: list(grid.pull_messages(ids))) == []


async def test_a_message_to_nobody_comes_back_as_an_error():
    async with fleet(1) as learners:
        grid = learners.grid()
        message = grid.create_message(RecordDict(), "query", 12345, "1")
        (reply,) = await to_thread.run_sync(lambda: list(grid.send_and_receive([message], timeout=5)))
        assert reply.has_error()
        assert reply.error.code == 5
