"""Rows of a benchmark are overrides behind the command's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from symadj.bench.cases import groups
from symadj.config import rows
from symadj.config.bench import OWN, bench_settings, compose_bench
from symadj.config.compose import compose
from symadj.errors import InputError
from tests.bench.small import small


def cases(*overrides: str, extra: Path | None = None) -> dict[str, Any]:
    """The configuration of every row of a benchmark of one group, by its label."""
    config = compose_bench(overrides, extra)
    (group,) = groups(config, bench_settings(config))
    return {case.label: case.config for case in group.cases}


@pytest.mark.parametrize("command", [(), ("experiment=gas_sized", "data.dim=4", "seed=3")])
@pytest.mark.parametrize(
    ("lists", "row"),
    [
        ("grads=[aca]", ("grad=aca",)),
        ("grads=[adjoint] solvers=[tsit5]", ("solver=tsit5", "grad=adjoint")),
        ("grads=[symplectic] solver=rk4 steps=[3]", ("solver=rk4", "solver.num_steps=3")),
        ("grads=[symplectic] batch=[7] solver.rtol=1e-2", ("train.batch_size=7",)),
        (
            "grads=[] rows={it:['grad=aca','grad.store=revolve','grad.slots=9','compile=true']}",
            ("grad=aca", "grad.store=revolve", "grad.slots=9", "compile=true"),
        ),
    ],
)
def test_a_row_is_what_the_command_with_its_overrides_composes_to(
    command: tuple[str, ...], lists: str, row: tuple[str, ...]
) -> None:
    own = [*command, *lists.split()]
    (found,) = cases(*own).values()
    plain = compose("bench", [*own, *row])
    assert found == {key: value for key, value in plain.items() if key not in OWN}


def test_the_solver_settings_hold_for_all_solvers() -> None:
    config = small("solvers=[bosh3,tsit5]", "solver=rk4", "solver.rtol=1e-3", "solver.num_steps=7")
    for group, name in zip(config["groups"], ("bosh3", "tsit5"), strict=True):
        node = group["changes"]["solver"]
        assert (node["method"], node["rtol"], node["num_steps"]) == (name, 1e-3, 7)


def test_the_solver_settings_of_an_experiment_hold_for_all_solvers() -> None:
    (config,) = cases("experiment=gas_sized", "solvers=[bosh3]", "grads=[aca]").values()
    assert (config["solver"]["method"], config["solver"]["rtol"]) == ("bosh3", 1e-6)


def test_the_settings_of_grad_hold_for_its_own_method_alone() -> None:
    found = cases("grads=[adjoint,aca]", "grad=adjoint", "grad.rtol=1e-2")
    assert found["adjoint"]["grad"]["rtol"] == 1e-2
    assert "rtol" not in found["aca"]["grad"]


def test_a_variant_of_a_method_keeps_its_own_settings() -> None:
    found = cases("grads=[symplectic,symplectic_stages]", "grad.offload=disk")
    assert found["symplectic"]["grad"]["offload"] == "disk"
    assert found["symplectic_stages"]["grad"]["store"] == "stages"
    assert found["symplectic_stages"]["grad"]["offload"] is None
    chosen = cases("grads=[symplectic,symplectic_stages]", "grad=symplectic_stages")
    assert chosen["symplectic"]["grad"]["store"] == "steps"
    assert chosen["symplectic_stages"]["grad"]["store"] == "stages"


def test_options_of_the_users_own_directory_can_be_named(tmp_path: Path) -> None:
    for group in ("grad", "solver"):
        (tmp_path / group).mkdir()
    (tmp_path / "grad" / "mine.yaml").write_text("_target_: symadj.grad.Adjoint\nrtol: 1e-2\n")
    text = "_target_: symadj.SolverSettings\nmethod: rk4\nnum_steps: 3\n"
    (tmp_path / "solver" / "thrice.yaml").write_text(text)
    found = cases("grads=[mine]", "solvers=[thrice]", "solver.rtol=1e-3", extra=tmp_path)
    assert found["mine"]["grad"]["rtol"] == 1e-2
    # It has no tolerance, so that of the command does not fit.
    assert found["mine"]["solver"] == {
        "_target_": "symadj.SolverSettings",
        "method": "rk4",
        "num_steps": 3,
    }


def test_an_option_that_refers_to_nothing_is_named_with_its_row(tmp_path: Path) -> None:
    (tmp_path / "grad").mkdir()
    (tmp_path / "grad" / "mine.yaml").write_text("_target_: symadj.grad.Adjoint\nrtol: ${none}\n")
    with pytest.raises(InputError, match=r"rows: mine: .*no such setting"):
        compose_bench(["grads=[mine]"], tmp_path)


def test_the_configuration_has_the_settings_of_every_row_and_no_other_sections() -> None:
    config = small("grads=[aca]", "rows={loose:['solver.rtol=1e-2']}", "solvers=[bosh3]")
    (group,) = config["groups"]
    assert set(group["changes"]) == {"solver"}
    assert set(group["rows"]["aca"]) == {"grad"}
    assert set(group["rows"]["loose"]) == {"solver"}
    assert group["rows"]["loose"]["solver"]["rtol"] == 1e-2
    assert group["rows"]["loose"]["solver"]["method"] == "bosh3"


def test_options_are_composed_once_however_many_rows_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = []
    plain = rows.composed

    def counted(*arguments: Any) -> Any:
        calls.append(arguments)
        return plain(*arguments)

    monkeypatch.setattr(rows, "composed", counted)
    rows._option.cache_clear()
    found = groups_of("grads=[aca,adjoint,backprop]", "solvers=[bosh3,tsit5]", "batch=[4,5,6]")
    assert sum(map(len, found)) == 18
    # The command's own, those of the three methods and two solvers.
    distinct = {tuple(arguments[1]) for arguments in calls}
    assert len(distinct) == 6
    assert len(calls) <= 1 + 3 + 2 * 3


def groups_of(*overrides: str) -> list[tuple[Any, ...]]:
    config = small(*overrides)
    return [group.cases for group in groups(config, bench_settings(config))]
