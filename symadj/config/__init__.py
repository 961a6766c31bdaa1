"""Configurations: composed, checked, built; the only user of Hydra and OmegaConf."""
