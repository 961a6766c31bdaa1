"""Physical systems: trajectories generated here as published, and the user's own."""
