"""The residual field: the identity taken off, and the trace lower by the dimension."""

from __future__ import annotations

import torch

from symadj.models import divergence
from symadj.models.mlp import MLP
from symadj.models.residual import Residual

DOUBLE = torch.float64
T = torch.tensor(0.4, dtype=DOUBLE)


def test_the_field_is_f_minus_z_and_the_trace_lower_by_d() -> None:
    network, z = MLP(3, (8, 8)).to(DOUBLE), torch.randn(6, 3, dtype=DOUBLE)
    signs = torch.randn(6, 3, dtype=DOUBLE).sign()
    f, trace = divergence.exact(network, T, z)
    _, estimate = divergence.hutchinson(network, T, z, signs)
    ours = Residual(network)
    torch.testing.assert_close(ours(T, z), f - z, rtol=0, atol=1e-14)
    for found, expected in (
        (divergence.exact(ours, T, z), trace - 3),
        (divergence.hutchinson(ours, T, z, signs), estimate - 3),
    ):
        torch.testing.assert_close(found[0], f - z, rtol=0, atol=1e-12)
        torch.testing.assert_close(found[1], expected, rtol=0, atol=1e-12)
