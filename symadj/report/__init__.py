"""Tables and plots of runs: records in, DataFrame out; DataFrame in, Figure out."""
