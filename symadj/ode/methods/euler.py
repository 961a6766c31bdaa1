"""Euler's method: order 1, one stage.

L. Euler, Institutionum calculi integralis, 1768. For teaching and for checks; every other method
buys more accuracy per evaluation.
"""

from __future__ import annotations

from symadj.ode.methods.tableau import ButcherTableau

EULER = ButcherTableau(name="euler", order=1, a=((),), b=(1.0,), c=(0.0,))
