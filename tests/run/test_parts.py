from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from symadj.config.build import build
from symadj.config.compose import compose, run_settings
from symadj.config.schema import DTYPES
from symadj.errors import InputError
from symadj.run.parts import Parts, build_parts
from tests.standins import Cloud

SMALL = ("data=mass_spring", "data.samples=4")


def parts_of(*overrides: str) -> Parts:
    config = compose("train", overrides)
    return build_parts(config, run_settings(config))


def test_data_tell_a_model_their_dimension_where_they_say_no_more(tmp_path: Path) -> None:
    assert Cloud(dim=7).model_arguments() == {"dim": 7}


def test_a_task_that_lacks_what_tasks_have_is_refused_with_what_to_derive_it_from() -> None:
    config = {**compose("train", ()), "task": {"_target_": "tests.standins.Cloud"}}
    with pytest.raises(InputError, match=r"task\._target_=.*is no task: derive it from symadj"):
        build_parts(config, run_settings(config))


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


@pytest.mark.parametrize("kind", ["csv", "npy"])
def test_a_run_in_float64_sees_a_table_to_its_last_digit(kind: str, tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(1e4, 1.0, size=(40, 2))
    path = tmp_path / f"table.{kind}"
    if kind == "npy":
        np.save(path, values)
    else:
        path.write_text("a,b\n" + "".join(f"{a!r},{b!r}\n" for a, b in values.tolist()))
    table = ("data=csv", f"data.path={path}", "train.batch_size=4")
    data = parts_of(*table, "dtype=float64").data
    seen = torch.cat([data.train, data.val, data.test]) * data.std + data.mean
    found = np.sort(seen.numpy(), axis=0)
    np.testing.assert_allclose(found, np.sort(values, axis=0), rtol=1e-15)
    single = parts_of(*table).data
    assert single.train.dtype == torch.float32
    assert torch.equal(single.train, data.train.float())


@pytest.mark.parametrize("data", ["mixture", "digits"])
def test_a_run_in_float64_draws_batches_that_float32_cannot_hold(data: str) -> None:
    batches = [
        parts.place(parts.data.sample_batch(8, torch.Generator().manual_seed(0)))
        for parts in (parts_of(f"data={data}", f"dtype={dtype}") for dtype in DTYPES)
    ]
    assert torch.equal(batches[0], batches[1].float())
    assert not torch.equal(batches[0].double(), batches[1])


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


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("model.hidden=[1000000000]",), r"parameters .*model\.hidden=\[10{9}\]\)"),
        (("data=toy2d", "train.batch_size=1000000000"), r"train\.batch_size=10{9}: a step"),
        (("data=toy2d", "data.size=1000000000000"), r"data\.size=10{12}: three sets"),
        (("data=mixture", "data.dim=1000000"), r"data\.dim=1000000, data\.modes=5"),
        (("data=two_body", "data.samples=1000000000000"), r"data\.samples=10{12}"),
        (("data=kdv", "data.steps=1000000000000"), r"data\.steps=10{12}"),
    ],
)
def test_what_fits_into_no_memory_is_refused_before_it_is_made(
    overrides: tuple[str, ...], message: str
) -> None:
    with pytest.raises(InputError, match=rf"{message}.* of memory or more, and .* can be had"):
        parts_of(*overrides)


def test_looking_at_the_size_of_a_model_draws_no_random_numbers() -> None:
    config = compose("train", ["data=toy2d", "data.size=10", "train.batch_size=5"])
    settings = run_settings(config)
    torch.manual_seed(0)
    parts = build_parts(config, settings)
    torch.manual_seed(0)
    alone = build(config["model"], "model", offered={"dim": 2})
    for ours, other in zip(parts.model.parameters(), alone.parameters(), strict=True):
        assert torch.equal(ours, other)


def test_a_batch_has_no_more_rows_than_it_is_drawn_from() -> None:
    with pytest.raises(InputError, match=r"train\.batch_size=1440, and digits has 1439 training"):
        parts_of("train.batch_size=1440")
    parts_of("train.batch_size=1439")
    # Points made afresh, and windows of which each comes once, are no such case.
    parts_of("data=toy2d", "data.size=10", "train.batch_size=11")
    parts_of("data=mass_spring", "data.samples=4", "train.batch_size=100000")


def test_a_solve_that_objects_names_the_solver_s_setting() -> None:
    parts = parts_of("data=toy2d", "data.size=10", "train.batch_size=5", "solver.grid=[0,0.5]")
    t = torch.tensor([0.0, 1.0])
    with pytest.raises(InputError, match=r"^solver\.grid="):
        parts.integrator.solve(lambda t, y: -y, torch.ones(2), t)
