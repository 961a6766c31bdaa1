"""Figures that show a run, a flow or a physical system; one style for all of them."""
