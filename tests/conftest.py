import importlib.machinery
import importlib.util
import os
import sys

import pytest
import torch

if path := os.environ.get("POLYFIELD_TEST_CORE"):  # another build of the extension: test_sanitizers.py
    loader = importlib.machinery.ExtensionFileLoader("polyfield._core", path)
    extension = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    loader.exec_module(extension)
    sys.modules[loader.name] = extension


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Whatever a test draws, it draws the same every time."""
    torch.manual_seed(0)
