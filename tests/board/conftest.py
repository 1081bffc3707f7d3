"""Shared by the tests of the board: the helpers beside this file are importable."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))

from environments import RELEASES


@pytest.fixture(scope="session", params=sorted(RELEASES))
def release(request: pytest.FixtureRequest) -> str:
    """Each release of PYNQ, its environment made."""
    from environments import environment

    environment(request.param)
    return request.param
