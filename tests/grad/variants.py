"""The gradient methods with every way of keeping what their backward pass needs."""

from __future__ import annotations

import pytest

from symadj import GRADIENTS
from symadj.grad import ACA, Symplectic

KEEPING = [
    pytest.param(Symplectic(store="stages"), id="symplectic-stages"),
    pytest.param(Symplectic(store="revolve", slots=2), id="symplectic-revolve"),
    pytest.param(Symplectic(stages_at_once=3), id="symplectic-3-at-once"),
    pytest.param(Symplectic("revolve", slots=2, stages_at_once=99), id="symplectic-all-at-once"),
    pytest.param(ACA(store="revolve", slots=3), id="aca-revolve"),
]
OFFLOADED = [
    pytest.param(Symplectic(offload="disk"), id="symplectic-disk"),
    pytest.param(Symplectic(store="stages", offload="disk"), id="stages-disk"),
    pytest.param(Symplectic(store="revolve", slots=3, offload="disk"), id="revolve-disk"),
    pytest.param(Symplectic(store="stages", offload="cpu"), id="stages-cpu"),
]
# One needs a solver whose steps can be taken back; its tests are in test_reversible.py.
GENERAL = {name: method for name, method in GRADIENTS.items() if name != "reversible"}
EXACT = [name for name, method in GENERAL.items() if method.exact]
EXACT_WAYS = [*EXACT, *KEEPING]
ALL_EXACT_WAYS = [*EXACT_WAYS, *OFFLOADED]
