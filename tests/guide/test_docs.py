"""The lines of docs/guidance.md run as they stand, on a network of somebody else's kind."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from symadj.config.compose import compose
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


def test_the_commands_of_the_page_compose() -> None:
    blocks = re.findall(r"```sh\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.S)
    lines = [line.split() for block in blocks for line in block.splitlines()]
    guided = [line[2:] for line in lines if line[0] == "symadj-guide"]
    trained = [line[1:] for line in lines if line[0] == "symadj-train"]
    assert len(guided) >= 3
    assert len(trained) >= 2
    for words in guided:
        own = [word for word in words if word.startswith(("goal", "way"))]
        assert compose("guide", own)["goal"]["_target_"].startswith("symadj.guide.goals.")
        compose("train", [word for word in words if word.startswith(("solver", "grad"))])
    for words in trained:
        compose("train", words)
