from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from symadj.errors import InputError
from symadj.run.configs import compose, resolved, run_settings
from symadj.run.parts import Parts, build_parts, model_arguments

SMALL = ("data=mass_spring", "data.samples=4")


def parts_of(*overrides: str) -> Parts:
    config = resolved(compose("train", overrides))
    return build_parts(config, run_settings(config))


def test_data_tell_a_model_their_dimension_and_what_else_they_offer() -> None:
    assert model_arguments(SimpleNamespace(dim=7)) == {"dim": 7}
    known = SimpleNamespace(dim=7, model_arguments=lambda: {"dim": 7, "dx": 0.1})
    assert model_arguments(known) == {"dim": 7, "dx": 0.1}


def test_a_model_on_a_grid_gets_spacing_and_structure_from_its_data(tmp_path: Path) -> None:
    kdv = ("data=kdv", "data.trajectories=2", "data.steps=3", f"data.data_dir={tmp_path}")
    model = parts_of(*kdv, "model=energy_conv", "task=physics").model
    assert (model.dx, model.structure) == (0.2, "skew")
    given = ("model.structure=dissipative", "model.dx=0.1")
    model = parts_of(*kdv, "model=energy_conv", "task=physics", *given).model
    assert (model.dx, model.structure) == (0.1, "dissipative")


def test_a_flow_of_images_gets_their_shape_from_its_data() -> None:
    model = parts_of("model=conv_cnf", "model.hidden=[2]").model
    assert (model.height, model.width, model.scales) == (8, 8, 2)
    given = parts_of("model=conv_cnf", "model.hidden=[2]", "model.image_shape=[4,4]")
    with pytest.raises(InputError, match=r"\[B, 16\] is needed"):
        given.model(given.data.val[:2], given.integrator)


def test_the_horizon_of_the_task_is_that_of_the_data() -> None:
    parts = parts_of(*SMALL, "model=hnn", "task=physics", "task.horizon=4")
    assert parts.data.horizon == 4


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("task=physics",), r"task=physics learns from trajectories.*digits.*data=kdv"),
        ((*SMALL, "model=cnf"), r"normalizing flow.*model=energy_conv"),
        (
            (*SMALL, "model=cnf", "task=density"),
            r"task=density learns from points.*Take task=physics",
        ),
        (("model=conv_cnf", "data=toy2d"), r"hold no images.*data=mnist5k"),
        (("model=conv_cnf", *SMALL), r"hold no images.*data=mnist5k"),
        (("model=conv_cnf", "model.scales=5"), r"8x8.*allowed: 1 to 4"),
        (("model=hnn",), r"HNN has none.*model=cnf"),
        ((*SMALL, "model=energy_conv", "task=physics"), r"distance of its points"),
        (
            (*SMALL, "model=hnn", "task=physics", "solver.grid=[0,0.1,0.2]"),
            r"solver\.grid fits the training windows only",
        ),
        (
            (*SMALL, "model=hnn", "task=physics", "data.horizon=2"),
            r"task\.horizon=1 and data\.horizon=2 differ",
        ),
        ((*SMALL, "model=hnn", "task=physics", "task.horizon=100"), r"allowed: 1 to 99"),
    ],
)
def test_parts_that_do_not_fit_are_refused(overrides: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        parts_of(*overrides)
