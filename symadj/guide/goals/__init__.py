"""The goals that samples are guided to, a file each."""

from __future__ import annotations

from symadj.guide.goals.base import Goal, Subject
from symadj.guide.goals.classify import Classify
from symadj.guide.goals.deblur import Deblur
from symadj.guide.goals.function import Function
from symadj.guide.goals.inpaint import Inpaint
from symadj.guide.goals.superres import SuperRes
from symadj.guide.goals.target import Target

__all__ = [
    "Classify",
    "Deblur",
    "Function",
    "Goal",
    "Inpaint",
    "Subject",
    "SuperRes",
    "Target",
]
