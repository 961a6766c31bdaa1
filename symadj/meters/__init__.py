"""What a training step costs: live bytes, peak memory, seconds."""
