"""TFDS builders of tables that TFDS does not have.

A builder turns public source files into prepared TFDS data. Importing a module of
this package imports ``tensorflow_datasets``; ``sam_jax.data`` does so only on demand.
"""
