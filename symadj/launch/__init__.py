"""Jobs: which are done, and how the others are started."""
