"""`python -m sam_jax`, the same as the `sam-jax` command."""

from sam_jax.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
