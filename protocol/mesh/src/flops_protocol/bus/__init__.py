"""The bus: typed publish, subscribe and request over the channels of the registry."""

from flops_protocol.bus.interface import Bus as Bus
from flops_protocol.bus.interface import Handler as Handler
from flops_protocol.bus.interface import Identity as Identity
from flops_protocol.bus.interface import Outgoing as Outgoing
from flops_protocol.bus.interface import Received as Received
from flops_protocol.bus.interface import Testament as Testament
