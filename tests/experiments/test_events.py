"""The examples with events learn a little in two iterations, and are drawn again from records."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

import events
from harness.at_once import main
from harness.results import FILE
from symadj.report.frames import where


def test_the_smallest_preset_runs_and_redraws(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(events.EXPERIMENT, ["--preset", "smoke", "--out", str(tmp_path)]) == 0
    points = pd.DataFrame(json.loads((tmp_path / FILE).read_text())["points"])
    first, second, _ = where(points, points["what"] == "k")["value"]
    assert first == 1.0
    # The slope of ((k - 1/2) / (k + 1/2))^2 at 1 is 8/27, and the learning rate 1/2.
    assert second == pytest.approx(1 - 4 / 27, abs=1e-9)
    ways = where(points, points["what"] == "cart")
    assert set(ways["case"]) == {"before", "learnt"}
    before = where(ways, ways["case"] == "before")[["x", "y"]].to_numpy()[-1]
    assert before == pytest.approx([(1 - 0.5) / (1 + 0.5), 0.0], abs=1e-9)
    balls = where(points, points["what"] == "ball")
    assert float(balls["y"].min()) > -1e-9
    figure = (tmp_path / "events.png").read_bytes()
    capsys.readouterr()
    assert main(events.EXPERIMENT, ["--redraw", "--out", str(tmp_path)]) == 0
    assert (tmp_path / "events.png").read_bytes() == figure
