"""The lines of docs/guidance.md run as they stand, on a network of somebody else's kind."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from symadj.guide import Guided

PAGE = Path(__file__).parents[2] / "docs" / "guidance.md"


class Network(nn.Module):
    """Takes x first, then a time for each sample, and answers with an object."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Conv2d(2, 8, 3, padding=1), nn.Conv2d(8, 1, 3, padding=1)

    def forward(self, x: Tensor, t: Tensor) -> SimpleNamespace:
        assert t.shape == (len(x),)
        times = t.reshape(-1, 1, 1, 1).expand(-1, 1, *x.shape[2:])
        return SimpleNamespace(sample=self.last(torch.tanh(self.first(torch.cat([x, times], 1)))))


def test_fifteen_lines_wrap_a_network_and_guide_it() -> None:
    [code] = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.S)
    lines = [line for line in code.splitlines() if line.strip()]
    assert len(lines) <= 15
    names: dict[str, Any] = {"network": Network()}
    torch.manual_seed(1)
    exec(code, names)
    guided, loss = names["guided"], names["loss"]
    assert isinstance(guided, Guided)
    assert torch.equal(loss(guided.x1), guided.losses)
    before = loss(names["sampler"].sample(torch.randn(4, 1, 8, 8)))
    assert guided.losses.max() < 1e-4 < before.mean()
