"""Vector-Jacobian products of the built-in fields, written out by hand."""
