"""Solves in which every sample of a batch has its own steps."""
