"""Integration: the field, the stepping loop, step control, the public calls."""
