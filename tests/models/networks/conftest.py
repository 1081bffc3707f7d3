"""Shared by the tests of networks."""

import pytest


@pytest.fixture(autouse=True)
def one_thread():
    """Small layers gain nothing from more, and threads that wait for each other lose."""
    import torch  # not here yet if only 'make sim' has been run

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
