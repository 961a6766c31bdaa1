"""What a replay keeps of the forward solve for its backward pass, and where."""

from __future__ import annotations

from symadj.grad.stores.base import Kept, Store
from symadj.grad.stores.options import StoreOptions
from symadj.grad.stores.places import Blocks, Disk, Here, Host, Place
from symadj.grad.stores.revolve import Revolve
from symadj.grad.stores.stages import Stages
from symadj.grad.stores.steps import Steps

__all__ = [
    "Blocks",
    "Disk",
    "Here",
    "Host",
    "Kept",
    "Place",
    "Revolve",
    "Stages",
    "Steps",
    "Store",
    "StoreOptions",
]
