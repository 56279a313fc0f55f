"""The life of a process around its work."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap

import pytest
from flops_protocol.errors import FlopsError
from flops_protocol.process.start import FAILED, MISCONFIGURED, serve

SERVICES = ["manager", "observer", "aggregator", "learner", "builder"]


@pytest.mark.parametrize("service", SERVICES)
def test_a_wrong_setting_ends_the_process_with_its_name(service):
    environment = os.environ | {
        "FLOPS_PROJECT": "p-1",
        "FLOPS_INSTANCE": "i-1",
        "FLOPS_CREDENTIAL_FILE": "",
        "FLOPS_STATE_DIR": "/tmp",
        "FLOPS_RECONCILE_SECONDS": "often",
        "FLOPS_LOG_LINES": "many",
        "FLOPS_PORT": "none",
        "FLOPS_WORKER_LIVES": "nine",
        "FLOPS_SMOKE_SECONDS": "short",
    }
    wrong = {"manager": "RECONCILE_SECONDS", "observer": "LOG_LINES", "aggregator": "PORT", "learner": "WORKER_LIVES"}
    command = [sys.executable, "-m", f"flops_{service}"]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30)
    assert ended.returncode == MISCONFIGURED
    assert f"FLOPS_{wrong.get(service, 'SMOKE_SECONDS')}: " in ended.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_asks_the_work_to_end(number):
    text = """
        from flops_protocol.process.start import serve

        async def work(stop):
            print("at work", flush=True)
            await stop.wait()
            print("goodbye", flush=True)

        serve(work)
    """
    command = [sys.executable, "-c", textwrap.dedent(text)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "at work\n"
        process.send_signal(number)
        assert process.stdout.read() == "goodbye\n"
    assert process.returncode == 0


def test_a_typed_error_is_told_and_ends_the_process(capfd):
    async def work(_stop):
        raise FlopsError("FLOPS-P006", "nobody answers at mqtt://nowhere")

    with pytest.raises(SystemExit) as ended:
        serve(work)
    assert ended.value.code == FAILED
    assert "nobody answers at mqtt://nowhere" in "".join(capfd.readouterr())
