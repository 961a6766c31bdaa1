"""Every yaml of every group composes, and what it describes can be made."""

from __future__ import annotations

import dataclasses
import inspect

import pytest

from symadj.calls.integrator import Integrator
from symadj.config import (
    bench,  # noqa: F401  (its settings are known to the composer from then on)
    groups,
)
from symadj.config.build import build, locate
from symadj.config.compose import compose
from symadj.config.compose import run_settings as typed
from symadj.config.groups import (
    GUIDE_GROUPS,
    config_dir,
    description,
    group_options,
    option_settings,
)
from symadj.config.schema import Config
from symadj.errors import InputError
from symadj.grad import GRADIENTS
from symadj.ode.methods import SOLVERS
from symadj.ode.settings import SolverSettings

OPTIONS = [(group, option) for group, names in group_options().items() for option in names]
FIXED_STEPS = [name for name, solver in SOLVERS.items() if solver.error_order is None]
GIVEN = {"grad.memory": "64MiB"}
RUN_GROUPS = (
    *("data", "model", "task", "solver", "grad", "optim", "measure", "train", "experiment"),
)


def composed(group: str, option: str) -> Config:
    overrides = [f"{group}={option}"]
    for name, value in option_settings(group, option).items():
        if value == "???":
            overrides.append(f"{group}.{name}={GIVEN.get(f'{group}.{name}', 'given-by-the-user')}")
    if option in FIXED_STEPS:
        overrides.append("solver.num_steps=4")
    return compose("train", overrides)


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_option_composes_and_fits_its_constructor(group: str, option: str) -> None:
    if group not in RUN_GROUPS:
        pytest.skip("a group of another command")
    config = composed(group, option)
    typed(config)
    for name in ("data", "model", "task", "solver", "grad", "optim"):
        node = config[name]
        allowed = inspect.signature(locate(node["_target_"], name)).parameters
        assert {str(key) for key in node} - {"_target_"} <= set(allowed)


@pytest.mark.parametrize("option", [o for o in OPTIONS if o[0] in GUIDE_GROUPS])
def test_every_option_of_a_guiding_composes_and_fits_its_constructor(
    option: tuple[str, str],
) -> None:
    group, name = option
    given = [f"{group}.{key}=x" for key, v in option_settings(group, name).items() if v == "???"]
    node = compose("guide", [f"{group}={name}", *given])[group]
    allowed = inspect.signature(locate(node["_target_"], group)).parameters
    assert {str(key) for key in node} - {"_target_"} == set(allowed)


@pytest.mark.parametrize("override", ["goal=inpaint", "way.n=3", "goal.mask=left"])
@pytest.mark.parametrize("command", ["train", "bench"])
def test_goals_and_ways_belong_to_another_command(command: str, override: str) -> None:
    with pytest.raises(InputError, match="are settings of symadj-guide"):
        compose(command, [override])


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_option_says_what_it_is(group: str, option: str) -> None:
    text = description(group, option)
    assert 3 < len(text) < 120


@pytest.mark.parametrize("option", group_options()["solver"])
def test_every_solver_config_makes_its_solver(option: str) -> None:
    settings = build(composed("solver", option)["solver"], "solver")
    assert isinstance(settings, SolverSettings)
    assert settings.method == option
    in_code_only = {"norm", "interp", "entrywise", "perturb"}
    fields = {field.name for field in dataclasses.fields(SolverSettings)} - in_code_only
    assert {str(key) for key in composed("solver", option)["solver"]} == fields | {"_target_"}


def test_there_is_a_config_for_every_solver_and_every_gradient_method() -> None:
    assert group_options()["solver"] == sorted(SOLVERS)
    assert set(group_options()["grad"]) >= set(GRADIENTS)


@pytest.mark.parametrize("option", group_options()["grad"])
def test_every_gradient_config_makes_its_method(option: str) -> None:
    gradient = build(composed("grad", option)["grad"], "grad")
    # A variant's name begins with its method's: symplectic_stages.
    assert option == gradient.name or option.startswith(f"{gradient.name}_")
    assert Integrator(SolverSettings(), gradient).gradient is gradient


def test_the_defaults_are_those_that_the_documentation_names() -> None:
    config = compose("train")
    assert config["solver"]["method"] == "dopri5"
    assert config["grad"]["_target_"].endswith("Symplectic")
    assert config["data"]["_target_"].endswith("Digits")
    assert config["model"]["_target_"].endswith("CNF")
    assert config["task"]["_target_"].endswith("Density")
    assert config["train"]["max_seconds"] <= 180


PHYSICAL = {
    "kdv": "EnergyConv",
    "cahn_hilliard": "EnergyConv",
    "mass_spring": "HNN",
    "pendulum": "HNN",
    "double_pendulum": "HNN",
    "two_body": "HNN",
    "lorenz63": "NodeMLP",
    "robertson": "SystemConstants",
    "van_der_pol": "SystemConstants",
    "trajectories": "NodeMLP",
}


@pytest.mark.parametrize("command", ["train", "bench"])
@pytest.mark.parametrize(("data", "model"), PHYSICAL.items())
def test_physical_data_choose_a_task_and_a_model(data: str, model: str, command: str) -> None:
    config = groups.composed(command, [f"data={data}"])
    assert config.task._target_.endswith(".Physics")
    assert config.model._target_.endswith(f".{model}")


@pytest.mark.parametrize("command", ["train", "bench"])
def test_flow_matching_chooses_a_velocity_and_an_averaged_training(command: str) -> None:
    config = groups.composed(command, ["task=flow_matching"])
    assert config.model._target_.endswith(".VelocityMLP")
    assert config.train.ema == 0.995
    beaten = compose("train", ["model=velocity_unet", "task=flow_matching", "train.ema=null"])
    assert beaten["model"]["_target_"].endswith(".VelocityUNet")
    assert beaten["train"]["ema"] is None
    assert compose("train")["train"]["ema"] is None


def test_a_choice_of_the_user_or_of_an_experiment_beats_that_of_the_data() -> None:
    chosen = compose("train", ["model=node_mlp", "data=two_body", "task=density"])
    assert chosen["model"]["_target_"].endswith(".NodeMLP")
    assert chosen["task"]["_target_"].endswith(".Density")
    beaten = compose("train", ["experiment=kdv", "model=node_conv"])
    assert beaten["model"]["_target_"].endswith(".NodeConv")
    moved = compose("train", ["experiment=two_body", "data=lorenz63"])
    assert moved["model"]["_target_"].endswith(".HNN"), "the experiment's, whatever the data"


def test_an_experiment_says_only_what_differs() -> None:
    plain = compose("train")
    for name in group_options()["experiment"]:
        assert compose("train", [f"experiment={name}"]) != plain
        text = (config_dir() / "experiment" / f"{name}.yaml").read_text()
        assert text.startswith("# @package _global_\n")


def test_an_override_beats_an_experiment() -> None:
    assert compose("train", ["experiment=quick", "train.steps=2"])["train"]["steps"] == 2
