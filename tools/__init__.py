"""Programs for maintainers: makers of the embedded data sets, checks of pages."""
