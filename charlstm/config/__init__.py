"""Settings: each defined once, with its default, range and help; presets and YAML files."""
