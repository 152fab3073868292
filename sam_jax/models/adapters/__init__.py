"""Models of other libraries as pairs of pure functions, each imported when called."""

from sam_jax.models.adapters.equinox import from_equinox as from_equinox
from sam_jax.models.adapters.haiku import from_haiku as from_haiku
from sam_jax.models.adapters.linen import from_linen as from_linen
from sam_jax.models.adapters.nnx import from_nnx as from_nnx
from sam_jax.models.adapters.stax import from_stax as from_stax
