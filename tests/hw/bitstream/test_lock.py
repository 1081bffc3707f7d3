"""One build at a time in a folder."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from falconet.isa import FalconetError, board
from falconet_hw.build.bitstream.__main__ import make


def test_a_second_build_in_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "falconet.bit").write_bytes(b"of the first")
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        with pytest.raises(FalconetError, match=r"another build is at work in this folder; wait"):
            make(board("pynq-z2"), "vivado", "netlist", tmp_path)
    finally:
        os.close(folder)
    assert (tmp_path / "falconet.bit").read_bytes() == b"of the first"
