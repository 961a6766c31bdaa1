"""The devices that a test runs on: the CPU, and CUDA where there is one."""

from __future__ import annotations

import pytest
import torch

_ABSENT = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def needs_cuda(test):
    """Marks a test as one for a GPU, skipped with a reason where there is none."""
    return pytest.mark.gpu(_ABSENT(test))


CUDA = pytest.param("cuda", marks=(pytest.mark.gpu, _ABSENT))
DEVICES = ["cpu", CUDA]
