"""The `sam-jax` command."""
