"""What the experiments share: cells that are run once, records, tables, figures, a command line."""

from harness.cell import Cell, Preset
from harness.main import Experiment, main
from harness.results import Drawn, Results, Sheet

__all__ = ["Cell", "Drawn", "Experiment", "Preset", "Results", "Sheet", "main"]
