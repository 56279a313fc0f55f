"""The model is saved by MLflow with the packages it was trained with, and predicts when somebody else loads it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from flops_mlrepo.host import DataSource, WorkerError, WorkerFault

EXAMPLES = Path(__file__).parent.parent.parent.parent / "examples"

pytestmark = pytest.mark.timeout(600)

PREDICT = """
import json, sys
sys.path[:0] = sys.argv[2:]
import mlflow, numpy as np
model = mlflow.pyfunc.load_model(sys.argv[1])
spec = model.metadata.signature.inputs.inputs[0]
rows = np.zeros([2 if length == -1 else length for length in spec.shape], spec.type)
print(json.dumps(np.asarray(model.predict(rows)).tolist()))
"""


@pytest.fixture
def tracking(environments, mlenv):
    """MLflow behind it."""
    return environments.make("mlflow-skinny==3.17.2", "pandas", "skops", behind=mlenv)


def predict(model: Path, *folders: Path) -> object:
    """What the saved model predicts for two rows of zeros, in a fresh process with these environments."""
    command = [sys.executable, "-I", "-S", "-c", PREDICT, str(model), *map(str, folders)]
    environment = {"PATH": os.environ["PATH"], "HOME": str(model.parent), "MLFLOW_DISABLE_TELEMETRY": "true"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def shapes(saved: dict[str, object]) -> list[tuple[str, list[int]]]:
    """Dtype and shape of what goes in and what comes out."""
    signature = saved["signature"]
    specs = [json.loads(signature[name])[0]["tensor-spec"] for name in ("inputs", "outputs")]
    return [(spec["dtype"], spec["shape"]) for spec in specs]


async def test_scikit_learn_is_saved_read_back_and_predicts(open_fixture, mlenv, tracking, tmp_path):
    assert not (tracking / "sklearn").exists()
    coefficients = np.zeros((10, 64))
    intercepts = np.zeros(10)
    intercepts[7] = 1.0
    async with open_fixture(EXAMPLES / "digits-sklearn", mlenv=mlenv, guest=None) as worker:
        await worker.construct(120)
        rehearsed = await worker.rehearse_saving("sklearn", tracking, 240)
        saved = await worker.save_model(tmp_path / "model", "sklearn", tracking, 240, [coefficients, intercepts])
    assert rehearsed == saved
    assert shapes(saved) == [("float64", [-1, 64]), ("int64", [-1])]
    assert saved["signature_from"] == "the shape of coef_"
    assert saved["serialization"] == "skops"
    versions = dict(line.split("==") for line in saved["requirements"])
    assert {"scikit-learn", "numpy", "mlflow-skinny", "skops"} <= set(versions)
    assert predict(tmp_path / "model", mlenv, tracking) == [7, 7]


async def test_a_class_of_the_users_own_is_saved_with_its_code(open_fixture, mlenv, tracking, tmp_path):
    async with open_fixture(EXAMPLES / "digits-numpy", mlenv=mlenv, guest=None) as worker:
        await worker.construct(120)
        parameters = await worker.get_parameters(30)
        parameters[3][4] = 100
        saved = await worker.save_model(tmp_path / "model", "sklearn", tracking, 240, parameters)
    assert shapes(saved) == [("float64", [-1, 64]), ("int64", [-1])]
    assert saved["serialization"] == "cloudpickle"
    assert (tmp_path / "model" / "code" / "network.py").is_file()
    assert predict(tmp_path / "model", mlenv, tracking) == [4, 4]


async def test_the_repositorys_own_example_wins(open_fixture, mlenv, tracking, tmp_path):
    async with open_fixture("with_input_example", mlenv=mlenv, guest=None) as worker:
        await worker.construct(120)
        saved = await worker.save_model(tmp_path / "model", "sklearn", tracking, 240)
    assert shapes(saved) == [("float32", [-1, 4, 2]), ("float32", [-1, 4, 2])]
    assert saved["signature_from"] == "get_input_example()"


async def test_mlflow_is_out_of_reach_of_the_code_until_a_model_is_saved(open_fixture, mlenv, tmp_path):
    async with open_fixture("with_input_example", mlenv=mlenv, guest=None) as worker:
        await worker.construct(120)
        with pytest.raises(WorkerError, match="No module named 'mlflow'") as caught:
            await worker.save_model(tmp_path / "model", "sklearn", None, 60)
        assert (await worker.evaluate(30)).loss == 0.5
    assert caught.value.kind is WorkerFault.SAVE


async def test_a_model_of_another_flavor_is_refused(open_fixture, mlenv, tracking, tmp_path):
    async with open_fixture("with_input_example", mlenv=mlenv, guest=None) as worker:
        await worker.construct(120)
        with pytest.raises(WorkerError, match=r"flavor pytorch failed: .*No module named 'torch'") as caught:
            await worker.save_model(tmp_path / "model", "pytorch", tracking, 240)
    assert caught.value.kind is WorkerFault.SAVE
    assert not (tmp_path / "model").exists()


def torch_wheel() -> Path | None:
    """A PyTorch wheel in a folder that pip looks into; the index has only ones with gigabytes of CUDA."""
    folders = [Path(text) for text in os.environ.get("PIP_FIND_LINKS", "").split() if Path(text).is_dir()]
    tag = f"-cp{sys.version_info[0]}{sys.version_info[1]}-"
    wheels = [wheel for folder in folders for wheel in sorted(folder.glob("torch-*.whl")) if tag in wheel.name]
    return wheels[0] if wheels else None


@pytest.mark.skipif(torch_wheel() is None, reason="no PyTorch wheel without CUDA in a folder of PIP_FIND_LINKS")
async def test_pytorch_trains_is_saved_read_back_and_predicts(open_fixture, environments, digits_data, tmp_path):
    wheel = torch_wheel()
    version = wheel.name.split("-")[1]
    mlenv = environments.make(f"torch=={version}", "numpy", "pyarrow", "pillow", find_links=str(wheel.parent))
    tracking = environments.make("mlflow-skinny==3.17.2", "pandas", behind=mlenv)
    data = DataSource(digits_data, ["digits"])
    async with open_fixture("torch_digits", mlenv=mlenv, guest=None, data=data) as worker:
        await worker.smoke(240)
        assert await worker.load_data(120) == 1797
        parameters = await worker.get_parameters(30)
        counter = next(index for index, array in enumerate(parameters) if array.dtype == np.int64)
        for _ in range(3):
            trained = (await worker.train(parameters, 120)).parameters
            # A strategy's average of a counter is a float; the code gets whole numbers all the same.
            parameters = [*trained]
            parameters[counter] = trained[counter].astype(np.float64)
        assert trained[counter] == 3 * 29
        assert (await worker.evaluate(60, parameters)).accuracy > 0.8
        saved = await worker.save_model(tmp_path / "model", "pytorch", tracking, 240, parameters)
    assert shapes(saved) == [("float32", [-1, 1, 8, 8]), ("float32", [-1, 10])]
    assert np.shape(predict(tmp_path / "model", mlenv, tracking)) == (2, 10)
