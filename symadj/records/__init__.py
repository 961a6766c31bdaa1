"""Records of runs: what is written down, how runs end, where."""
