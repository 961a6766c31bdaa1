"""Gradient methods, by the names that `gradient=` takes."""

from __future__ import annotations

from symadj.errors import InputError, suggest
from symadj.grad.aca import ACA
from symadj.grad.adjoint import Adjoint
from symadj.grad.auto import Auto
from symadj.grad.backprop import Backprop
from symadj.grad.base import GradientMethod, ReplayMethod, StepwiseReplay
from symadj.grad.checkpoint import Checkpoint
from symadj.grad.reversible import Reversible
from symadj.grad.symplectic import Symplectic

GRADIENTS: dict[str, type[GradientMethod]] = {
    method.name: method for method in (Backprop, Checkpoint, ACA, Adjoint, Symplectic, Reversible)
}


def gradient_named(gradient: str | GradientMethod) -> GradientMethod:
    """The gradient method of this name, or the object itself.

    Raises:
        InputError: no such name; the message has the nearest one.
    """
    if isinstance(gradient, GradientMethod):
        return gradient
    if gradient == Auto.name:
        raise InputError(
            'gradient="auto" needs the memory that it may take: give symadj.grad.Auto("64MiB").'
        )
    if gradient not in GRADIENTS:
        raise InputError(f"unknown gradient method {gradient!r}.{suggest(gradient, GRADIENTS)}")
    return GRADIENTS[gradient]()


__all__ = [
    "ACA",
    "GRADIENTS",
    "Adjoint",
    "Auto",
    "Backprop",
    "Checkpoint",
    "GradientMethod",
    "ReplayMethod",
    "Reversible",
    "StepwiseReplay",
    "Symplectic",
    "gradient_named",
]
