"""The ways of guiding, a file each."""

from __future__ import annotations

from symadj.guide.ways.base import Watch, Way
from symadj.guide.ways.source import Source
from symadj.guide.ways.step import Step
from symadj.guide.ways.weights import Weights

__all__ = ["Source", "Step", "Watch", "Way", "Weights"]
