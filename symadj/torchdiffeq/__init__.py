"""torchdiffeq's calls over symadj's engine: change the import, keep the program.

    from symadj.torchdiffeq import odeint, odeint_adjoint

Names, arguments, defaults and what they mean are those of torchdiffeq; one argument is new,
`gradient=`, which takes symadj's methods: `odeint_adjoint(..., gradient="symplectic")` is exact at
the memory of the adjoint method. `docs/torchdiffeq.md` has the names side by side and all that
differs. Beware of "rk4", which is Kutta's 3/8 rule here as in torchdiffeq (symadj's own name is
rk38), not the classical method that `symadj.odeint(method="rk4")` is.
"""

from __future__ import annotations

from symadj.torchdiffeq.adjoint import odeint_adjoint
from symadj.torchdiffeq.calls import odeint, odeint_event
from symadj.torchdiffeq.dense import odeint_dense
from symadj.torchdiffeq.methods import METHODS

__all__ = ["METHODS", "odeint", "odeint_adjoint", "odeint_dense", "odeint_event"]
