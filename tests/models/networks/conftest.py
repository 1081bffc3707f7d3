"""Brevitas warns of itself when it is imported; ``make check`` takes warnings for errors."""

import warnings

import pytest
import torch

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import brevitas.export
    import brevitas.nn
    import brevitas.quant  # noqa: F401


@pytest.fixture(autouse=True)
def one_thread():
    """Small layers gain nothing from more, and threads that wait for each other lose."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
