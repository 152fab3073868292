"""Programs that maintainers run once: makers of the embedded data sets."""
