"""The contract between compiler, simulators, hardware and driver. Standard library only."""

from falconet.isa.arch import ISA_VERSION, PRESETS, Arch, preset
from falconet.isa.boards import BOARDS, Board, Host, board, clock_divisors
from falconet.isa.container import Program
from falconet.isa.errors import FalconetError, near
from falconet.isa.fields import (
    INSTRUCTION_BITS,
    Engine,
    Field,
    Instruction,
    decode,
    instruction_classes,
)
from falconet.isa.instructions import (
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
from falconet.isa.paths import build_folder, cache_folder, made, output_folder
from falconet.isa.registers import (
    MAGIC,
    REGISTERS,
    Control,
    ErrorCode,
    Register,
    Status,
    register,
)
from falconet.isa.rounding import output_stage, pack_pair, round_half_even_shift, unpack_pair

__all__ = [
    "BOARDS", "INSTRUCTION_BITS", "ISA_VERSION", "MAGIC", "PRESETS", "REGISTERS", "Arch", "Board",
    "Control", "Dst", "Elementwise", "End", "Engine", "ErrorCode", "FalconetError", "Field", "Host",
    "Instruction", "Load", "LoadImage", "Mac", "Mark", "Program", "Register", "Scan", "Segment",
    "Src", "Status", "Store", "Suppress", "Suppression", "Window",
    "board", "build_folder", "cache_folder", "clock_divisors", "decode", "instruction_classes",
    "made", "near", "output_folder", "output_stage", "pack_pair", "preset", "register",
    "round_half_even_shift", "unpack_pair",
]
