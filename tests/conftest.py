import pytest
import torch


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Whatever a test draws, it draws the same every time."""
    torch.manual_seed(0)
