"""Samples of a velocity field steered by exact gradients through its solver (docs/guidance.md)."""

from __future__ import annotations

from symadj.guide.sampler import Guided, Sampler
from symadj.guide.ways import Source, Step, Way, Weights

__all__ = ["Guided", "Sampler", "Source", "Step", "Way", "Weights"]
