"""Why a bitstream is refused, or what loading it did to the system: ``load.py BIT`` as JSON.

The machine itself is left out.
"""

import json
import sys

from pynq import Clocks, Overlay
from pynq.pl_server.device import Device
from pynq.pl_server.embedded_device import EmbeddedDevice

import falconet.runtime  # noqa: F401  makes the simulated board known
from falconet.isa import FalconetError

device = Device.active_device
type(device).download = lambda self, bitstream, parser=None: self.post_download(
    bitstream, parser, self.name)
try:
    overlay = Overlay(sys.argv[1])
except FalconetError as e:
    json.dump({"refused": str(e)}, sys.stdout)
    sys.exit()
EmbeddedDevice.set_axi_port_width(device, overlay.parser)
json.dump({
    "mhz": Clocks.fclk0_mhz, "arch": device.arch, "board": device.board.name,
    "fpd_slcr": device.read_registers(0xFD61_5000, 4)[1] & 3,
    "hp": [device.read_registers(a, 4)[0] & 3 for a in
           (0xFD38_0000, 0xFD38_0014, 0xFD39_0000, 0xFD39_0014)],
}, sys.stdout)
