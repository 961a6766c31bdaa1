"""Measures gradient methods side by side: memory, seconds, evaluations, gradient errors."""
