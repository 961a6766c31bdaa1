"""Searches: jobs whose settings an Optuna study chooses, from the results of those before."""
