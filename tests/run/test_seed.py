from __future__ import annotations

import io
import random

import numpy as np
import torch

from symadj.run.seed import own_randomness, random_state, restore_random_state, seed_everything


def draw() -> tuple[float, float, float]:
    from_numpy = np.random.standard_normal()  # noqa: NPY002
    return random.gauss(0, 1), float(from_numpy), float(torch.randn(()))


def test_one_seed_sets_all_generators() -> None:
    seed_everything(3)
    first = draw()
    seed_everything(3)
    assert draw() == first
    seed_everything(4)
    assert all(a != b for a, b in zip(draw(), first, strict=True))


def test_states_survive_a_safe_load() -> None:
    seed_everything(0)
    draw()  # leaves half a pair of normals in Python's and NumPy's generators
    file = io.BytesIO()
    torch.save(random_state(), file)
    expected = [draw() for _ in range(3)]
    file.seek(0)
    restore_random_state(torch.load(file, weights_only=True))
    assert [draw() for _ in range(3)] == expected


def test_own_randomness_repeats_inside_and_leaves_no_trace_outside() -> None:
    seed_everything(0)
    expected = [draw(), draw()]
    seed_everything(0)
    inside = []
    outside = [draw()]
    for _ in range(2):
        with own_randomness(9):
            inside.append(draw())
    outside.append(draw())
    assert inside[0] == inside[1]
    assert outside == expected
