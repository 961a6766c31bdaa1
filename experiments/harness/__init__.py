"""What the experiments share: commands, each run once, records, tables, figures, a command line."""

from harness.command import Command, Preset
from harness.main import Experiment, main
from harness.results import Drawn, Results, Sheet

__all__ = ["Command", "Drawn", "Experiment", "Preset", "Results", "Sheet", "main"]
