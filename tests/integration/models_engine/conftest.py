"""Models are loaded on one thread: several test runs share the machine."""

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """torch's threads wait for each other by spinning, which takes the processor from other test runs."""
    torch.set_num_threads(1)
