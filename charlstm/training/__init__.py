"""The training loop, and the settings it should use."""
