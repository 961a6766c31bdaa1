from __future__ import annotations

from pathlib import Path

import pytest

from symadj.cli.report import main
from tests.report.runs import record, straight, write_run


def cells(line: str) -> list[str]:
    """The texts of a line of a Markdown table."""
    return [text.strip() for text in line.strip("|").split("|")]


def test_the_default_table_is_printed_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = tmp_path / "runs"
    for seed, nll in enumerate((1.0, 1.2)):
        write_run(runs / f"a{seed}", seed=seed, metrics={"test/nll": nll})
    write_run(runs / "b", grad="backprop", status="oom")
    monkeypatch.chdir(tmp_path)
    assert main(["runs"]) == 0
    out = capsys.readouterr().out
    head, _, backprop, symplectic = (cells(line) for line in out.splitlines()[:4])
    units = ["digits: nll (nats)", "digits: memory (MiB)", "digits: time (s/iteration)"]
    assert head == ["grad", *units]
    assert backprop == ["backprop", "OOM", "OOM", "OOM"]
    assert symplectic[:2] == ["symplectic", "**1.10 ± 0.14 (n=2)**"]
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


def test_files_are_written_where_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path / "a", straight(9, 1.0))
    out = tmp_path / "out"
    assert main([str(tmp_path / "a"), "--out", str(out), "--title", "My title"]) == 0
    stems = ("memory_time", "frontier", "loss_iteration", "loss_time", "evaluations")
    figures = {f"{stem}.{kind}" for stem in stems for kind in ("png", "pdf")}
    assert {path.name for path in out.iterdir()} == figures | {"table.csv", "table.md", "table.tex"}
    assert r"\caption{My title}" in (out / "table.tex").read_text()
    assert (out / "table.md").read_text() in capsys.readouterr().out


def test_plots_can_be_left_out(tmp_path: Path) -> None:
    write_run(tmp_path / "a")
    assert main([str(tmp_path / "a"), "--out", str(tmp_path / "out"), "--no-plots"]) == 0
    assert len(list((tmp_path / "out").iterdir())) == 3


def test_skipped_files_are_named_and_told_by_the_exit_status(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path / "good")
    write_run(tmp_path / "bad").write_text("{")
    assert main([str(tmp_path)]) == 1
    captured = capsys.readouterr()
    assert "1 (n=1)" in captured.out
    assert captured.err.count("bad/record.json") == 1


def test_a_bad_history_is_told_by_the_exit_status_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Without costs there is nothing else to draw.
    path = write_run(tmp_path / "a", memory=None, seconds={})
    path.with_name("history.csv").write_text("nonsense")
    assert main([str(tmp_path / "a"), "--out", str(tmp_path / "out")]) == 1
    assert "history.csv" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing"], "no file or directory"),
        (["empty"], "no record"),
        (["bad"], "no record"),
        (["runs", "--rows", "gradd"], "Did you mean 'grad'"),
        (["runs", "--cells", ""], "at least one name"),
        (["runs", "--where", "grad"], "NAME=VALUE"),
        (["runs", "--where", "grad=aca"], "grad is one of symplectic"),
        (["runs", "--out", "file"], "cannot be written"),
    ],
)
def test_bad_usage_ends_with_status_2_and_says_why(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "runs" / "a")
    write_run(tmp_path / "bad").write_text("{")
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


def test_usage_errors_of_the_parser_have_status_2() -> None:
    with pytest.raises(SystemExit) as stop:
        main([])
    assert stop.value.code == 2


def test_conditions_choose_runs_and_numbers_match_in_any_writing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path / "a")
    config = record()["config"]
    config["solver"]["rtol"] = 0.1
    write_run(tmp_path / "b", config=config, metrics={"test/nll": 5.0})
    assert main([str(tmp_path), "--where", "config.solver.rtol=1e-5", "--cells", "nll"]) == 0
    assert cells(capsys.readouterr().out.splitlines()[2]) == ["symplectic", "1 (n=1)"]


def test_rows_of_data_need_no_columns_of_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path / "a")
    assert main([str(tmp_path), "--rows", "data", "--cells", "nll,seed"]) == 0
    assert "| data   | nll (nats) | seed |" in capsys.readouterr().out


def test_a_mean_over_more_than_seeds_comes_with_a_caution(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = record(seed=1)["config"]
    config["solver"]["rtol"] = 0.1
    write_run(tmp_path / "a")
    write_run(tmp_path / "b", seed=1, config=config)
    main([str(tmp_path)])
    assert "Caution: runs of one cell differ in config.solver.rtol" in capsys.readouterr().out


def test_a_retried_run_counts_once_and_the_table_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path / "a", status="interrupted", finished=None)
    write_run(tmp_path / "b")
    assert main([str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "1 (n=1)" in out
    assert "Left out, since run again (the last success counts): 1." in out


def test_help_names_what_can_be_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    out = capsys.readouterr().out
    for word in ("gradient_error", "config.solver.rtol", "--mark-best", "Exit status"):
        assert word in out
