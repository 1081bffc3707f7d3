"""The contract between compiler, simulators, hardware and driver. Standard library only."""

from falconet.isa.errors import FalconetError, near
from falconet.isa.machine.arch import ISA_VERSION, PRESETS, Arch, preset
from falconet.isa.machine.boards import BOARDS, Board, Host, board, clock_divisors
from falconet.isa.machine.fields import (
    INSTRUCTION_BITS,
    Engine,
    Field,
    Instruction,
    decode,
    instruction_classes,
)
from falconet.isa.machine.instructions import (
    SEGMENT_GRAIN,
    SEGMENT_PAGE,
    Dst,
    Elementwise,
    End,
    Load,
    LoadImage,
    Mac,
    Mark,
    Scan,
    Segment,
    Src,
    Store,
    Suppress,
    Suppression,
    Window,
)
from falconet.isa.machine.registers import (
    MAGIC,
    REGISTERS,
    Control,
    ErrorCode,
    Register,
    Status,
    register,
)
from falconet.isa.machine.rounding import (
    output_stage,
    pack_pair,
    round_half_even_shift,
    unpack_pair,
)
from falconet.isa.paths import build_folder, cache_folder, made, output_folder
from falconet.isa.program.container import Program

__all__ = [
    "BOARDS", "INSTRUCTION_BITS", "ISA_VERSION", "MAGIC", "PRESETS", "REGISTERS",
    "SEGMENT_GRAIN", "SEGMENT_PAGE",
    "Arch", "Board", "Control", "Dst", "Elementwise", "End", "Engine", "ErrorCode", "FalconetError",
    "Field", "Host", "Instruction", "Load", "LoadImage", "Mac", "Mark", "Program", "Register",
    "Scan", "Segment", "Src", "Status", "Store", "Suppress", "Suppression", "Window",
    "board", "build_folder", "cache_folder", "clock_divisors", "decode", "instruction_classes",
    "made", "near", "output_folder", "output_stage", "pack_pair", "preset", "register",
    "round_half_even_shift", "unpack_pair",
]
