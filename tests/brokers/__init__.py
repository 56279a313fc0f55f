"""Real brokers for the tests: a process of its own each, on a free port."""

from tests.brokers.process import Broker as Broker
from tests.brokers.process import available as available
from tests.brokers.process import run as run
from tests.brokers.proxy import FaultProxy as FaultProxy
from tests.brokers.proxy import proxied as proxied
