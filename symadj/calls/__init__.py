"""The public calls, above the gradient methods and the engine."""
