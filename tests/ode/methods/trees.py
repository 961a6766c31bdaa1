"""Rooted trees, and what they ask of a Runge-Kutta method's weights.

Hairer, Norsett, Wanner, Solving ODEs I, II.2: the method sum_i b_i k_i is of order p if and only if
sum_i b_i g_i(tree) = 1 / gamma(tree) for every rooted tree with at most p nodes.
"""

from __future__ import annotations

from functools import cache
from itertools import combinations_with_replacement

import numpy as np

from symadj.ode.methods.tableau import ButcherTableau


class Tree(tuple["Tree", ...]):
    """A root with these subtrees; equal however they are sorted, once `trees` has sorted them."""

    __slots__ = ()

    @property
    def nodes(self) -> int:
        """The number of nodes: the order of the condition."""
        return 1 + sum(child.nodes for child in self)

    @property
    def gamma(self) -> int:
        """The density."""
        return self.nodes * int(np.prod([child.gamma for child in self], dtype=int))


@cache
def trees(nodes: int) -> tuple[Tree, ...]:
    """All rooted trees with so many nodes."""
    return tuple(Tree(children) for children in _forests(nodes - 1, nodes - 1))


def trees_up_to(nodes: int) -> list[Tree]:
    """All rooted trees with at most so many nodes."""
    return [tree for n in range(1, nodes + 1) for tree in trees(n)]


def _forests(nodes: int, largest: int) -> list[tuple[Tree, ...]]:
    """All multisets of trees with so many nodes together and at most `largest` nodes each."""
    if nodes == 0:
        return [()]
    if largest == 0:
        return []
    return [
        (*front, *rest)
        for count in range(nodes // largest + 1)
        for front in combinations_with_replacement(trees(largest) if count else (), count)
        for rest in _forests(nodes - count * largest, largest - 1)
    ]


def stage_matrix(tableau: ButcherTableau) -> np.ndarray:
    """A over the extended stages."""
    matrix = np.zeros((len(tableau.rows),) * 2)
    for i, row in enumerate(tableau.rows):
        matrix[i, : len(row)] = row
    return matrix


def elementary_weights(tree: Tree, matrix: np.ndarray) -> np.ndarray:
    """g_i(tree) for every stage: the product over the subtrees of sum_j a_ij g_j(subtree)."""
    g = np.ones(len(matrix))
    for child in tree:
        g = g * (matrix @ elementary_weights(child, matrix))
    return g


def residual(weights: np.ndarray, tree: Tree, matrix: np.ndarray, target: float) -> float:
    """|sum_i w_i g_i(tree) - target| in units of the size of what is summed."""
    terms = weights * elementary_weights(tree, matrix)[: len(weights)]
    return abs(float(terms.sum()) - target) / max(1.0, float(np.abs(terms).max()))
