"""Networks by name; each factory is ``name(num_classes, **settings) -> Model``."""

from collections.abc import Callable

from sam_jax.models.cnn import cnn as cnn
from sam_jax.models.linen import from_linen as from_linen
from sam_jax.models.mlp import mlp as mlp
from sam_jax.types import Model

MODELS: dict[str, Callable[..., Model]] = {
    "cnn": cnn,
    "mlp": mlp,
}
