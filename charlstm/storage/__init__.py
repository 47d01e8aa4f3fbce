"""A run as a value and as one file."""
