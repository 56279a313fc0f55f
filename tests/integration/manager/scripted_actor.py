"""An actor that speaks the protocol and does nothing else: builder, aggregator or learner, by `FLOPS_ROLE`.

A light process (paho and the standard library), so that a test may run many. What it shall do badly stands in the SLA
of its project, in `strategy.arguments.script`, by role:

* `die`: where it kills itself, each time it gets there, `times` times in all (its state folder counts): `start`,
  `ready`, `working`, or a round's number
* `fail`: the error that it reports instead of working
* `hang`: it gets its command, and does nothing
* `only`: learners that this is about; all, if it is not given
* `stubborn`: SIGTERM does not impress it
* `rounds_seconds`: how long a round takes
* `untracked`: the aggregator says that MLflow has not taken everything
* `forecast`: what the builder of a plan finds

The builder of a plan (`FLOPS_PLAN`) does as the builder would, with what the plan's command says.
"""

import json
import os
import signal
import sys
import threading
import time
import traceback
import uuid
from datetime import UTC, datetime
from pathlib import Path

import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

ROLE = os.environ["FLOPS_ROLE"]
PLAN = os.environ.get("FLOPS_PLAN")
PROJECT = PLAN or os.environ["FLOPS_PROJECT"]
ROOT = f"flops/v1/plans/{PLAN}" if PLAN else f"flops/v1/projects/{PROJECT}"
INSTANCE = os.environ["FLOPS_INSTANCE"]
STATE = Path(os.environ["FLOPS_STATE_DIR"])
TYPES = {
    "builder": "flops.plan" if PLAN else "flops.build",
    "aggregator": "flops.aggregator",
    "learner": "flops.learner",
}
EPOCH = time.time_ns() // 1_000_000


class Actor:
    def __init__(self):
        self.host, _, port = os.environ["FLOPS_BROKER"].removeprefix("mqtt://").partition(":")
        self.port = int(port)
        self.sequences = {}
        self.wake = threading.Condition()
        self.spec = None
        self.command = None
        self.peer = {}
        self.learners = {}
        self.script = {}
        self.stopped = False
        self.since = now()
        self.name = f"learner/{INSTANCE}" if ROLE == "learner" else ROLE
        self.base = {"plan": PLAN} if PLAN else {"project": PROJECT}
        if ROLE == "learner":
            self.base |= {"learner": INSTANCE, "node": os.environ["FLOPS_NODE"]}
        else:
            self.base |= {"instance": INSTANCE}
        self.client = paho.Client(
            paho.CallbackAPIVersion.VERSION2, f"projects-{PROJECT}-{ROLE}-{INSTANCE}", protocol=paho.MQTTv5
        )
        self.published = set()
        self.client.on_message = self.on_message
        self.client.on_publish = self.on_publish
        self.client.on_connect = self.on_connect
        self.last = None

    def connect(self):
        properties = Properties(PacketTypes.WILLMESSAGE)
        properties.WillDelayInterval = 1
        topic = self.topic("status")
        will = self.base | {"state": "lost", "since": now()}
        said = self.envelope(topic, f"{TYPES[ROLE]}.status.v1", will)
        self.client.will_set(topic, said, 1, not PLAN, properties)
        expiry = Properties(PacketTypes.CONNECT)
        expiry.SessionExpiryInterval = 3
        self.client.connect(self.host, self.port, keepalive=10, properties=expiry)
        self.client.loop_start()

    def on_connect(self, client, *_):
        topics = ["manager/command"] if PLAN else [f"manager/commands/{ROLE}", "manager/spec"]
        topics += ["learner/+/status"] if ROLE == "aggregator" else ["aggregator/status"] if ROLE == "learner" else []
        client.subscribe([(f"{ROOT}/{topic}", 1) for topic in topics])
        if self.last is not None:
            client.publish(*self.last, 1, not PLAN)
        else:
            self.status("ready", wait=False)

    def topic(self, name):
        return f"{ROOT}/{self.name}/{name}"

    def envelope(self, topic, kind, data):
        self.sequences[topic] = self.sequences.get(topic, 0) + 1
        document = {
            "specversion": "1.0",
            "id": uuid.uuid4().hex,
            "source": f"projects/{PROJECT}/{ROLE}/{INSTANCE}",
            "type": kind,
            "subject": topic.removeprefix("flops/v1/"),
            "time": now(),
            "datacontenttype": "application/json",
            "dataschema": f"{kind}.json",
            "sequence": self.sequences[topic],
            "epoch": EPOCH,
            "data": data,
        }
        return json.dumps(document)

    def say(self, name, kind, data, retain=False, wait=True):
        topic = self.topic(name)
        payload = self.envelope(topic, kind, data)
        if retain:
            self.last = (topic, payload)
        sent = self.client.publish(topic, payload, 1, retain and not PLAN).mid
        if wait:  # Not in a callback: it runs in the thread that would bring the answer.
            with self.wake:
                self.wake.wait_for(lambda: sent in self.published)

    def on_publish(self, _client, _userdata, mid, *_):
        with self.wake:
            self.published.add(mid)
            self.wake.notify_all()

    def status(self, state, wait=True, **more):
        data = self.base | {"state": state, "since": self.since}
        if self.command is not None and not PLAN:
            data["command"] = self.command["command"]
        self.say("status", f"{TYPES[ROLE]}.status.v1", data | more, retain=True, wait=wait)

    def on_message(self, _client, _userdata, message):
        if not message.payload:
            return
        data = json.loads(message.payload)["data"]
        with self.wake:
            if PLAN:
                self.command = data
            if PLAN or message.topic.endswith("/manager/spec"):
                self.spec = data["spec"] if PLAN else data
                script = self.spec["sla"]["strategy"].get("arguments", {}).get("script", {}).get(ROLE, {})
                self.script = script if INSTANCE in script.get("only", [INSTANCE]) else {}
            elif message.topic.endswith("/aggregator/status"):
                self.peer = data
            elif "/learner/" in message.topic and message.topic.endswith("/status"):
                self.learners[data["learner"]] = data["state"]
            elif data["action"] == "stop":
                self.stopped = True
            elif ROLE != "learner" or any(a["learner"] == INSTANCE for a in data["assignments"]):
                self.command = data
            self.wake.notify_all()

    def until(self, condition):
        with self.wake:
            self.wake.wait_for(lambda: self.stopped or condition())
        if self.stopped:
            self.end()

    def end(self):
        if self.script.get("stubborn"):
            threading.Event().wait()
        self.client.disconnect()
        sys.stdout.flush()
        os._exit(0)

    def maybe_die(self, place):
        if str(self.script.get("die")) != str(place):
            return
        path = STATE / "deaths"
        deaths = len(path.read_text()) if path.exists() else 0
        if deaths < self.script.get("times", 1):
            path.write_text("x" * (deaths + 1))
            print(f"dies at {place}", flush=True)
            os.kill(os.getpid(), signal.SIGKILL)

    def run(self):
        print(f"{ROLE} {INSTANCE} starts", flush=True)
        with (STATE.parents[3] / "lives").open("a") as file:
            file.write(f"{PROJECT} {INSTANCE}\n")
        self.until(lambda: self.spec is not None and self.command is not None)
        self.maybe_die("ready")
        if self.script.get("hang"):
            self.until(lambda: False)
        if self.script.get("fail"):
            self.status("failed", error=self.script["fail"])
            self.until(lambda: False)
        getattr(self, ROLE)()
        self.until(lambda: False)

    def builder(self):
        if PLAN:
            self.status("planning")
            self.maybe_die("working")
            self.status("done", forecast=self.script.get("forecast", {}))
            return
        self.status("building")
        self.maybe_die("working")
        images = push(self.command)
        data = {"project": PROJECT, "images": images, "seconds": 0.1, "phase_seconds": {}, "bytes_pushed": 0}
        self.say("completed", "flops.build.completed.v1", data)
        self.status("succeeded", images=images, repairs=["mlflow was taken out of the learner"])

    def aggregator(self):
        training = self.spec["sla"]["training_configuration"]
        rounds = training["training_rounds"]
        self.status("waiting", endpoint={"host": "127.0.0.1", "port": 4})
        states = {"joined", "training"}

        def enough():
            return sum(state in states for state in self.learners.values()) >= training["min_available_clients"]

        path = STATE / "checkpoint"
        done = int(path.read_text()) if path.exists() else 0
        if done == 0:
            self.until(enough)
        joined = sorted(name for name, state in self.learners.items() if state in states)
        self.status("training", round=done, rounds=rounds, joined=joined)
        for number in range(done + 1, rounds + 1):
            self.maybe_die(number)
            with self.wake:
                self.wake.wait_for(lambda: self.stopped, self.script.get("rounds_seconds", 0.05))
            if self.stopped:
                self.end()
            report = {
                "project": PROJECT, "round": number, "rounds": rounds, "metrics": metrics(number), "trained": joined,
                "evaluated": joined, "samples": 10, "best": True, "seconds": 0.05,
            }  # fmt: skip
            self.say("rounds", "flops.round.v1", report)
            path.write_text(str(number))
        last = metrics(rounds)
        tracked = not self.script.get("untracked")
        self.status("done", round=rounds, rounds=rounds, joined=joined, best=last,
                    training={"rounds": rounds, "best": last, "last": last, "tracked": tracked})  # fmt: skip

    def learner(self):
        self.status("loading-data")
        self.maybe_die("working")
        self.until(lambda: self.peer.get("endpoint") or self.peer.get("state") == "training")
        self.status("joined", rows=10)
        self.until(lambda: self.peer.get("state") == "training")
        self.status("training", rows=10)
        self.maybe_die("training")
        self.until(lambda: self.peer.get("state") == "done")
        self.status("done", rows=10)


def metrics(number):
    return {"round": number, "loss": 1 / (number + 1), "accuracy": 1 - 1 / (number + 1)}


def now():
    return datetime.now(UTC).isoformat()


def push(command):
    """Names the images that lie in the registry already, under the source key that was asked for."""
    folder = Path(command["registry"].removeprefix("oci:"))
    images = json.loads((folder / "images.json").read_text())
    key = command["source_key"]
    images = images | {"image_key": key, "python": command["pythons"][0], "lock_digest": key, "lookup": "built"}
    for name in ("learner", "aggregator"):
        images[name] = images[name] | {"registry": command["registry"]}
    path = folder / "index.json"
    index = json.loads(path.read_text())
    annotations = {
        "mesh.flops.source-key": key,
        "mesh.flops.image-key": key,
        "mesh.flops.image-set": json.dumps(images),
    }
    entry = {
        "mediaType": "application/vnd.oci.image.index.v1+json", "digest": images["learner"]["digest"],
        "size": folder.joinpath("blobs", *images["learner"]["digest"].split(":")).stat().st_size,
        "annotations": annotations,
    }  # fmt: skip
    index["manifests"].append(entry)
    fresh = path.with_suffix(f".{os.getpid()}")
    fresh.write_text(json.dumps(index))
    fresh.replace(path)
    return images


if __name__ == "__main__":
    actor = Actor()

    def stop(*_):
        def wake():
            with actor.wake:
                actor.stopped = True
                actor.wake.notify_all()

        if not actor.script.get("stubborn"):
            threading.Thread(target=wake).start()

    signal.signal(signal.SIGTERM, stop)
    actor.connect()

    def run():
        try:
            actor.run()
        except Exception:  # noqa: BLE001 - the main thread only waits
            traceback.print_exc()
            os._exit(1)

    threading.Thread(target=run, daemon=True).start()
    while True:
        signal.pause()
