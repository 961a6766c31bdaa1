"""Other software on the same problem: the same weights, noise, tolerances and threads."""
