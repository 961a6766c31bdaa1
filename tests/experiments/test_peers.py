"""The measurement beside other software: its rows, its ratios, its figure."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

import peers
from harness import main
from harness.command import APPS
from harness.results import FILE
from peers_figure import figure_of
from symadj.bench.cases import groups
from symadj.config.bench import bench_settings
from symadj.report.names import MISSING

LABELS = {"toy": 0.3, "GAS": 0.6}


def runs() -> pd.DataFrame:
    """Two problems: symplectic at 0.3 and 0.6 of the adjoint's time, one of the peers failed."""
    rows = []
    for data, share in LABELS.items():
        for grad, time, memory in (
            ("symplectic", share, 2.0),
            ("torchdiffeq adjoint, autograd trace", 1.0, 30.0),
            ("diffrax", 0.2, 1.0),
            ("diffrax, autograd trace", 0.1, 1.0),
            ("symplectic_compiled", 0.08, 1.0),
            ("torchdiffeq, autograd trace", 0.9, 40.0),
        ):
            failed = data == "GAS" and grad == "torchdiffeq, autograd trace"
            rows.append(
                {
                    "data.name": data,
                    "grad": grad,
                    "status": "oom" if failed else "ok",
                    "seconds.iteration.median": time,
                    "memory.peak_bytes": memory * 2**20,
                }
            )
    return pd.DataFrame(rows)


def test_ratios_say_what_was_aimed_at_and_what_was_missed() -> None:
    table = peers.ratios(runs(), list(LABELS), peers.TARGETS)
    time = table.loc["time: symplectic to torchdiffeq adjoint, autograd"]
    assert list(time) == ["0.3 (0.35)", "0.6 (0.45: missed)"]
    # The faster one of diffrax's rows is below the line.
    compiled = table.loc["time: symplectic_compiled to the faster row of diffrax"]
    assert list(compiled) == ["0.8 (1)"] * 2
    # A row that failed, and one that is not there, have no ratio.
    assert list(table.loc["memory: symplectic to torchdiffeq, autograd"]) == [
        "0.05 (0.08)",
        MISSING,
    ]
    assert set(table.loc["time: symplectic_stages to symplectic"]) == {MISSING}


def test_the_fastest_of_several_rows_is_the_one_whose_memory_counts() -> None:
    rows = runs().replace({"grad": {"diffrax": "torchdiffeq", "symplectic_compiled": "aca"}})
    fast = rows.loc[(rows["data.name"] == "toy") & (rows["grad"] == "symplectic")].copy()
    fast["grad"], fast["seconds.iteration.median"] = "symplectic_stages", 0.22
    fast["memory.peak_bytes"] = 0.25 * 2**20
    table = peers.ratios(
        pd.concat([rows, fast], ignore_index=True).replace({"data.name": {"toy": "conv"}}),
        ["conv", "GAS"],
        peers.USER_TARGETS,
    )
    assert list(table["conv"]) == ["1.1 (1.3)", "0.25 (0.1: missed)", *[MISSING] * 4]
    assert list(table["GAS"])[:2] == ["3", "2"]


def test_a_row_with_settings_of_its_own_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    changes = ["grad=symplectic", "solver.rtol=1e-2"]
    monkeypatch.setattr(peers, "OWN", peers.OWN._replace(more={"symplectic_loose": changes}))
    (command, *_) = peers.smoke(None).commands  # pyright: ignore[reportArgumentType]
    config = APPS["bench"].configuration(command.full_overrides(Path("out")))
    (group,) = groups(config, bench_settings(config))
    (loose,) = [case for case in group.cases if case.label == "symplectic_loose"]
    assert loose.config["solver"]["rtol"] == 1e-2
    assert "symplectic_loose" in peers.order()


def test_compiled_rows_compile() -> None:
    (command, *_) = peers.smoke(None).commands  # pyright: ignore[reportArgumentType]
    config = APPS["bench"].configuration(command.full_overrides(Path("out")))
    (group,) = groups(config, bench_settings(config))
    compiled = {case.label for case in group.cases if case.config["solver"]["compile"]}
    assert compiled == {"symplectic_compiled", "symplectic_stages_compiled"}


@pytest.mark.heavy
def test_tables_and_a_figure_of_every_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    pytest.importorskip("torchdiffeq")
    monkeypatch.setenv("SYMADJ_DATA", str(tmp_path / "data"))
    # Compilers would take seconds for each row.
    few = peers.Rows(("symplectic",), {}, ("torchdiffeq",))
    for kind in ("OWN", "USER"):
        monkeypatch.setattr(peers, kind, few)
    monkeypatch.setattr(peers, "IMPLICIT", few._replace(packages=()))
    out = tmp_path / "out"
    assert main(peers.EXPERIMENT, ["--preset", "smoke", "--out", str(out)]) == 0
    names = {path.name for path in out.iterdir()}
    assert {"toy.md", "kdv.md", "ratios.md", "peers.png"} <= names
    assert {"ratios_users.md", "profile_users.md", "peers_users.png"} <= names
    assert {f"{name}.md" for name in peers.USERS} <= names
    conv = (out / "conv.md").read_text()
    assert "| torchdiffeq adjoint |" in conv
    assert "autograd |" not in conv
    assert "times 1, so" in conv
    toy, kdv = ((out / f"{name}.md").read_text() for name in ("toy", "kdv"))
    assert "| torchdiffeq adjoint, autograd |" in toy
    assert "dopri8 in its place" in kdv
    assert "steps" in toy
    cells = json.loads((out / FILE).read_text())["cells"]
    assert {cell["record"]["status"] for cell in cells} == {"ok"}
    capsys.readouterr()
    assert main(peers.EXPERIMENT, ["--preset", "smoke", "--out", str(out), "--dry-run"]) == 0
    assert "nothing is left to run" in capsys.readouterr().out


def test_problems_below_each_other_share_their_rows() -> None:
    frame = pd.concat([runs().replace({"toy": a, "GAS": b}) for a, b in ("AB", "CD")])
    for quartile in ("q1", "q3"):
        frame[f"seconds.iteration.{quartile}"] = frame["seconds.iteration.median"]
    frame["failure"] = ""
    figure = figure_of(frame, ["A", "B", "C", "D"], ["diffrax", "symplectic", "other"], across=3)
    panels = [ax for ax in figure.axes if ax.get_visible()]
    assert len(panels) == 8
    assert [ax.get_title(loc="left") or ax.get_title() for ax in panels[:3]] == ["A", "B", "C"]
    labels = [label.get_text() for label in panels[0].get_yticklabels()]
    assert labels == ["diffrax", "symplectic"]
