"""Code that fails while it trains: typed, with its line, told at once; and the others go on where that is enough."""

import pytest

from tests.integration.training import code
from tests.integration.training.stage import spec_of, staged

pytestmark = pytest.mark.timeout(120)
FIRST = code.FIRST_LEARNER
FAULTS = [
    pytest.param(code.in_fit('raise ValueError("no")', when=FIRST), "FLOPS-T007", True, id="raises"),
    pytest.param(code.in_fit("return None", when=FIRST), "FLOPS-T003", True, id="fit-returns-none"),
    pytest.param(code.in_evaluate("return 1.0, 2.0", when=FIRST), "FLOPS-T004", True, id="evaluate-returns-pair"),
    pytest.param(
        code.in_fit("self.weights = self.weights[:1]", "return 1", when=FIRST), "FLOPS-T005", True, id="shape"
    ),
    pytest.param(
        code.in_fit("self.weights = self.weights * np.nan", when=FIRST), "FLOPS-T006", True, id="parameter-nan"
    ),
    pytest.param(code.in_evaluate("return np.nan, 0.5, 3", when=FIRST), "FLOPS-T006", True, id="loss-nan"),
    pytest.param(code.in_fit("import os", "os._exit(3)", when=FIRST), "FLOPS-T009", False, id="exits"),
    pytest.param(code.in_fit("import ctypes", "ctypes.string_at(0)", when=FIRST), "FLOPS-T009", False, id="segfaults"),
    pytest.param(
        code.in_fit("blocks = []", "while True:", "    blocks.append(np.ones(4_000_000))", when=FIRST),
        "FLOPS-T010",
        False,
        id="eats-memory",
    ),
]


@pytest.mark.parametrize(("text", "expected", "alive"), FAULTS)
async def test_one_learner_fails_and_the_other_goes_on(tmp_path, text, expected, alive):
    spec = spec_of(min_available_clients=2, sla={"resource_constraints": {"memory": 1024}})
    async with staged(tmp_path, text, spec=spec) as stage:
        stage.start_all()
        end = await stage.ended()
        assert end.state == "done", stage.story()
        await stage.until(lambda: len(stage.rounds) == 3)
        assert ("node-1-1", expected) in stage.codes, stage.story()
        report = next(report for _, report in stage.errors if report.error.code == expected)
        assert report.fatal is False
        if "_exit" not in text and expected != "FLOPS-T010":
            # Where the process is simply gone, nobody knows the line.
            assert report.error.file == "model_manager.py"
            assert report.error.line is not None
        first = stage.rounds[0][1]
        assert [(failure.learner, failure.error.code) for failure in first.failures] == [("node-1-1", expected)]
        assert first.evaluated == (
            ["node-1-2"] if not alive or "evaluate" in text.split(FIRST)[0][-200:] else first.evaluated
        )
        assert "node-1-2" in first.trained
        if not alive:
            # The worker was started once more; the code did the same again, so the learner gave up.
            await stage.until(
                lambda: stage.learner["node-1-1"][-1].state in {"failed", "done", "loading-data", "joined"}
            )


async def test_a_worker_that_dies_is_started_once_more_and_then_given_up(tmp_path):
    text = code.in_fit("import os", "os._exit(3)", when=code.FIRST_LEARNER)
    spec = spec_of(min_available_clients=2, training_rounds=20)
    text = text.replace("for _ in range(50):", "import time; time.sleep(0.4)\n        for _ in range(50):")
    async with staged(tmp_path, text, spec=spec) as stage:
        stage.start_all()
        end = await stage.ended(60)
        assert end.state == "done", stage.story()
        states = [status.state.value for status in stage.learner["node-1-1"]]
        assert states.count("joined") == 2, states
        assert states[-1] == "failed"
        assert stage.learner["node-1-1"][-1].error.code == "FLOPS-T009"
        await stage.until(lambda: len(stage.rounds) == 20)
        assert sum(bool(report.failures) for _, report in stage.rounds) == 2


async def test_code_that_hangs_costs_one_deadline(tmp_path):
    text = code.in_fit("import time", "time.sleep(600)", when=code.FIRST_LEARNER)
    spec = spec_of(min_available_clients=2, training_rounds=2)
    async with staged(tmp_path, text, spec=spec, round_seconds=4) as stage:
        stage.start_all()
        end = await stage.ended()
        assert end.state == "done", stage.story()
        await stage.until(lambda: len(stage.rounds) == 2)
        report = next(report for _, report in stage.errors if report.error.code == "FLOPS-T008")
        assert report.instance == "node-1-1", "the learner's own deadline is first, and names the line"
        assert report.error.file == "model_manager.py"
        assert stage.rounds[0][1].seconds < 6


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (code.in_fit('raise ValueError("no")'), "FLOPS-T007"),
        (code.in_evaluate("return float('nan'), 0.5, 3"), "FLOPS-T006"),
        (code.in_load('raise KeyError("image")'), "FLOPS-T001"),
    ],
    ids=["fit-raises", "loss-nan", "data-refused"],
)
async def test_when_all_fail_alike_the_project_tells_their_error(tmp_path, text, expected):
    async with staged(tmp_path, text, spec=spec_of(min_available_clients=2)) as stage:
        stage.start_all()
        end = await stage.ended(20)
        assert end.state == "failed", stage.story()
        assert end.error.code == expected
        assert end.error.file == "model_manager.py"
        assert end.error.line is not None
        assert "node-1-" in end.error.detail


async def test_no_rows_for_the_tags(tmp_path):
    async with staged(tmp_path, spec=spec_of(min_available_clients=2, data_tags=["circle"])) as stage:
        stage.start_all()
        end = await stage.ended(20)
        assert end.error.code == "FLOPS-T002", stage.story()


async def test_code_that_cannot_be_constructed_fails_with_its_line(tmp_path):
    text = code.PLAIN.replace("self.weights = np.zeros(2)", "self.weights = np.zeros(None, None, None)")
    async with staged(tmp_path, text, spec=spec_of(min_available_clients=2)) as stage:
        stage.start_all()
        end = await stage.ended(20)
        assert end.error.code == "FLOPS-T007", stage.story()
        assert end.error.file == "model_manager.py"


async def test_what_the_code_prints_is_heard(tmp_path):
    text = code.in_fit('print("fitting", len(self.x))')
    async with staged(tmp_path, text, spec=spec_of(min_available_clients=2)) as stage:
        stage.start_all()
        await stage.ended()
        await stage.until(lambda: ("node-1-1", "code", "fitting 51") in stage.lines)
        await stage.until(lambda: any(role == "aggregator" and stream == "mesh" for role, stream, _ in stage.lines))


@pytest.mark.parametrize(
    ("sla", "detail"),
    [
        ({"strategy": {"name": "FedWhatever"}}, "FedTrimmedAvg"),
        ({"strategy": {"name": "FedAdam", "arguments": {"eta": "fast"}}}, "eta is 'fast', not a number"),
        ({"strategy": {"name": "FedAvg", "arguments": {"min_train_nodes": 2}}}, "training_configuration says it"),
        ({"federation": "superlink"}, "superlink"),
    ],
    ids=["name", "type", "ours", "superlink"],
)
async def test_a_strategy_that_cannot_be_used_is_refused_before_anyone_waits(tmp_path, sla, detail):
    async with staged(tmp_path, spec=spec_of(sla=sla)) as stage:
        stage.start("aggregator", "aggregator")
        end = await stage.ended(20)
        assert end.error.code == "FLOPS-T014", stage.story()
        assert detail in end.error.detail


async def test_hierarchical_is_trained_as_classic(tmp_path):
    async with staged(tmp_path, spec=spec_of(min_available_clients=2, mode="hierarchical")) as stage:
        stage.start_all()
        assert (await stage.ended()).state == "done", stage.story()


async def test_a_training_over_tls(tmp_path):
    encrypted = {"FLOPS_TLS": "true"}
    async with staged(tmp_path, spec=spec_of(min_available_clients=2), environment=encrypted) as stage:
        stage.start_all()
        assert (await stage.ended()).state == "done", stage.story()
        told = [status.endpoint for status in stage.aggregator if status.endpoint is not None]
        assert told[0].certificate.startswith("-----BEGIN CERTIFICATE-----")
