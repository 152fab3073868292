"""The training sets and keys of an audit: all that its seed decides."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Int

from sam_jax.data import canaries
from sam_jax.training import membership
from sam_jax.types import Dataset, Examples, Key


@dataclasses.dataclass(frozen=True)
class AuditPlan:
    """The columns, the mask and the keys of an audit.

    ``train_chunks`` with this key, mask and examples and the audit's settings trains
    the audit's models, now or again.

    Attributes:
        dataset: The data, with the canaries' wrong labels.
        keep: True where model m trains on column n: the pool first, then the test
            examples, which no model trains on.
        canaries: Columns of the canaries; empty without.
        train_key: Key of initial weights, batches, dropout and augmentation.
        query_key: Key of the augmented queries.
    """

    dataset: Dataset
    keep: Bool[np.ndarray, "m n"]
    canaries: Int[np.ndarray, " c"]
    train_key: Key
    query_key: Key

    def examples(self) -> Examples:
        """Returns the columns: the pool, then the test examples, on the device."""
        pool, test = self.dataset.train, self.dataset.test
        return Examples(
            jnp.asarray(np.concatenate([pool.x, test.x])),
            jnp.asarray(np.concatenate([pool.y, test.y])),
        )


def make_plan(
    dataset: Dataset, num_models: int, num_canaries: int = 0, seed: int = 0
) -> AuditPlan:
    """Returns the plan of an audit; the same arguments give the same plan.

    Args:
        dataset: Pool and test examples.
        num_models: Rows of the mask; each pool example is in exactly half of them.
        num_canaries: Pool examples to mislabel and give independent coins.
        seed: Of everything random.

    Raises:
        ArgumentError: If there are more canaries than examples in the pool.
    """
    keep_key, train_key, query_key = jax.random.split(jax.random.key(seed), 3)
    keep = membership.balanced_keep(keep_key, num_models, len(dataset.train.y))
    untrained = np.zeros((num_models, len(dataset.test.y)), np.bool_)
    keep = np.concatenate([keep, untrained], axis=1)
    columns = np.zeros(0, np.int64)
    if num_canaries:
        # From a new key: other columns are the same with and without canaries.
        plant_key, coin_key = jax.random.split(jax.random.fold_in(keep_key, 1))
        dataset, columns = canaries.plant(plant_key, dataset, num_canaries)
        keep = canaries.flip_coins(coin_key, keep, columns)
    return AuditPlan(dataset, keep, columns, train_key, query_key)
