"""The benchmark of the exponents at a toy size: it runs, what it compares agrees, it can fail."""

import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parent.parent
sys.path.append(str(ROOT))  # benchmarks/ is part of the repository, not of the package

from benchmarks.peak import peak  # noqa: E402


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_the_peak_is_a_rate_that_a_machine_can_have(dtype: torch.dtype) -> None:
    assert 1e8 < peak(dtype, sizes=(64, 256), rounds=3) < 1e15
