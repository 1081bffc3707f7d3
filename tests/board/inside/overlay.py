"""A day with the simulated board, told as JSON: ``overlay.py PROGRAM INPUTS.npz``.

Where it runs, falconet.bit and falconet.hwh lie.
"""

import json
import sys

import numpy as np
from pynq import MMIO, Clocks, Overlay, allocate

from falconet.isa import FalconetError, Program
from falconet.runtime.boards import open_board
from falconet_sim.rtl.board import BASE

told = {}


def refused(action):
    try:
        action()
    except (FalconetError, RuntimeError) as e:
        return str(e)
    return "nothing was refused"


told["too early"] = refused(lambda: allocate(16))

overlay = Overlay("falconet.bit")
told["loaded"] = overlay.is_loaded()
told["attributes"] = [n for n in dir(overlay) if n == "falconet"]
told["id"] = int(overlay.falconet.register_map.ID)
told["status"] = int(overlay.falconet.register_map.STATUS.BUSY)
told["mhz"] = [Clocks.fclk0_mhz]
Clocks.fclk0_mhz = 100
told["mhz"].append(Clocks.fclk0_mhz)

# Buffers: what the machine sees is the memory, what the processor sees may be its cache.
machine = overlay.device.machine


def memory(buffer):
    at = buffer.physical_address - BASE
    return machine.ddr[at : at + buffer.nbytes].tolist()


buffer, plain = allocate((4, 4), "u1", cacheable=1), allocate(16, np.uint8)
told["places"] = [buffer.physical_address, plain.physical_address]
buffer[:] = plain[:] = 7
told["before flush"] = [memory(buffer), memory(plain)]
buffer[1].flush()
told["a row flushed"] = memory(buffer)
buffer.flush()
told["flushed"] = memory(buffer)
at = buffer.physical_address - BASE
machine.ddr[at : at + 16] = 9
told["before invalidate"] = buffer.tolist()
buffer[2:].invalidate()
told["half invalidated"] = buffer.tolist()
told["in use"] = [len(machine.buffers)]
buffer.freebuffer()
with plain:
    pass
told["in use"].append(len(machine.buffers))
del buffer, plain

# A network, as on a board.
program = Program.load(sys.argv[1])
inputs = dict(np.load(sys.argv[2]))
with open_board(overlay) as board:
    board.load(program)
    results = [board.run(inputs)]
    done = board.read("STATUS")
    Overlay("falconet.bit")  # loaded again: memory stays, the machine forgets
    told["done"] = [done, board.read("STATUS")]
    results.append(board.run(inputs))
    told["told"] = [board.arch.name, board.name]
told["in use"].append(len(machine.buffers))
told["cycles"] = [r.cycles for r in results]
np.savez("outputs.npz", **{f"{i}.{n}": v for i, r in enumerate(results)
                           for n, v in r.outputs.items()})

told["nowhere"] = refused(lambda: MMIO(0x4000_0000, 4096).read(0))
json.dump(told, sys.stdout)
