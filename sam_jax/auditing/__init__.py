"""The audit from end to end, and its result."""
