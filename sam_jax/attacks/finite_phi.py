"""Infinite phi in finite places, so that no entry spoils the arithmetic of the others.

phi is infinite where a probability was rounded to 0 or 1 before its logit was taken.
The largest finite phi of a model is then about where rounding begins.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from sam_jax.types import Signals

LARGEST_PHI = 1e18
"""From here on phi counts as infinite: its square is near the largest float32."""


def with_finite_phi(signals: Signals) -> Signals:
    """Returns signals whose infinite phi are the largest (or least) finite ones.

    The median over models of each model's largest finite phi takes the place of +inf,
    or the example's largest where that is higher: ties stay at the top, and one
    outlier, infinite or not, moves no other example. Likewise for -inf. Modified
    entropies, of which no statistics are made, are the largest finite one.
    """
    phi = jnp.asarray(signals.phi)
    top = _typical_largest(phi)
    bottom = -_typical_largest(-phi)
    phi = jnp.where(phi >= LARGEST_PHI, top, phi)
    phi = jnp.where(phi <= -LARGEST_PHI, bottom, phi)
    modified = jnp.asarray(signals.modified_entropy)
    largest = jnp.max(jnp.where(jnp.isfinite(modified), modified, 0))
    return signals._replace(
        phi=phi,
        modified_entropy=jnp.where(jnp.isposinf(modified), largest, modified),
        keep=jnp.asarray(signals.keep, jnp.bool_),
    )


def _typical_largest(phi: Float[Array, "m n q"]) -> Float[Array, "1 n q"]:
    """The median model's largest finite phi, or the example's where higher."""
    finite = jnp.where(jnp.abs(phi) < LARGEST_PHI, phi, -jnp.inf)
    of_models = jnp.max(finite, axis=(1, 2))
    known = jnp.where(jnp.isfinite(of_models), of_models, jnp.nan)
    # Where no model has a finite phi, 1 keeps at least the signs.
    typical = jnp.nan_to_num(jnp.nanmedian(known), nan=1.0)
    return jnp.maximum(typical, jnp.max(finite, axis=0, keepdims=True))
