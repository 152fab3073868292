"""Networks by name; each factory is ``name(num_classes, **settings) -> Model``.

All take ``dtype``, that of the computation; parameters and logits are float32.
"""

import functools
from collections.abc import Callable

from sam_jax.models.adapters import from_equinox as from_equinox
from sam_jax.models.adapters import from_haiku as from_haiku
from sam_jax.models.adapters import from_linen as from_linen
from sam_jax.models.adapters import from_nnx as from_nnx
from sam_jax.models.adapters import from_stax as from_stax
from sam_jax.models.cnn import cnn as cnn
from sam_jax.models.fast_cifar import fast_cifar as fast_cifar
from sam_jax.models.layers import compute_dtype as compute_dtype
from sam_jax.models.mlp import mlp as mlp
from sam_jax.models.mlp import mlp_tanh as mlp_tanh
from sam_jax.models.resnet import resnet18 as resnet18
from sam_jax.models.resnet import wide_resnet as wide_resnet
from sam_jax.models.vgg import vgg16 as vgg16
from sam_jax.types import Model

MODELS: dict[str, Callable[..., Model]] = {
    "cnn": cnn,
    "fast_cifar": fast_cifar,
    "mlp": mlp,
    "mlp_tanh": mlp_tanh,
    "resnet18": resnet18,
    "vgg16": vgg16,
    "wide_resnet": wide_resnet,
    "wide_resnet_16_4": functools.partial(wide_resnet, depth=16, widen_factor=4),
    "wide_resnet_28_10": functools.partial(wide_resnet, depth=28, widen_factor=10),
}
