"""Collocation methods: Gauss's and Radau's, of every order from 1 to 6 that is asked for.

E. Hairer, G. Wanner: "Solving Ordinary Differential Equations II", IV.5 and IV.8.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.polynomial import Polynomial

from symadj.ode.methods.implicit_tableau import ImplicitTableau, with_start
from symadj.ode.methods.tableau import Row


def collocation(
    name: str, order: int, nodes: Sequence[float], filter: float | None = None
) -> ImplicitTableau:
    """The collocation method of these nodes.

    With l_j the Lagrange polynomial that is 1 at c_j and 0 at the other nodes,

        b_j(theta) = integral of l_j from 0 to theta,    a_ij = b_j(c_i),    b_j = b_j(1).

    Args:
        name: as in `method=`.
        order: twice the number of nodes for Gauss's, one less for Radau's.
        nodes: c_i, ascending.
        filter: g of an error estimate: that of the quadrature with the nodes 0 and c_i whose weight
            at 0 is g, and which is exact for polynomials below the degree s; None: no estimate.
    """
    integrals = [_lagrange(nodes, j).integ() for j in range(len(nodes))]
    rows = [tuple(float(p(c)) for p in integrals) for c in nodes]
    b = tuple(float(p(1.0)) for p in integrals)
    b_err: Row | None = None
    if filter is not None:
        powers = np.arange(len(nodes))
        moments = 1 / (1 + powers) - filter * (powers == 0)
        lower = np.linalg.solve(np.power.outer(np.array(nodes), powers).T, moments)
        b_err = (-filter, *map(float, np.array(b) - lower))
    return ImplicitTableau(
        name=name,
        order=order,
        a=with_start(rows),
        b=(0.0, *b),
        c=(0.0, *nodes),
        b_err=b_err,
        error_order=None if b_err is None else len(nodes) + 1,
        dense_b=(
            (),
            *(tuple(map(float, p.coef[1:])) for p in integrals),
            *(() if nodes[-1] == 1 else ((),)),
        ),
        filter=filter,
    )


def _lagrange(nodes: Sequence[float], j: int) -> Polynomial:
    others = [c for i, c in enumerate(nodes) if i != j]
    product = Polynomial.fromroots(others) if others else Polynomial([1.0])
    return product / product(nodes[j])


IMPLICIT_EULER = collocation("implicit_euler", 1, (1.0,))
IMPLICIT_MIDPOINT = collocation("implicit_midpoint", 2, (0.5,))
GAUSS4 = collocation("gauss4", 4, (0.5 - 3**0.5 / 6, 0.5 + 3**0.5 / 6))
GAUSS6 = collocation("gauss6", 6, (0.5 - 15**0.5 / 10, 0.5, 0.5 + 15**0.5 / 10))
# As large as A's eigenvalues, which are complex.
RADAU3 = collocation("radau3", 3, (1 / 3, 1.0), filter=6**-0.5)
# A's real eigenvalue, as Hairer and Wanner take it: the estimate needs no factorisation of its own.
RADAU5 = collocation(
    "radau5",
    5,
    ((4 - 6**0.5) / 10, (4 + 6**0.5) / 10, 1.0),
    filter=1 / (3 + 3 ** (2 / 3) - 3 ** (1 / 3)),
)
