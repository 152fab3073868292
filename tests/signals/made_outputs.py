"""Outputs of made models: trained, saturated, untrained; and what to call them."""

import numpy as np

TRAINED = ("trained", "overfit", "saturated", "imbalanced")
UNTRAINED = ("untrained", "constant", "wide")
BOOST = {"trained": 4.0, "overfit": 2.0, "saturated": 30.0, "imbalanced": 2.0}
LEAK = {"trained": 2.0, "overfit": 8.0, "saturated": 5.0, "imbalanced": 2.0}


def balanced_keep(rng, num_models, num_examples, num_population=0):
    ranks = rng.random((num_models, num_examples)).argsort(axis=0).argsort(axis=0)
    return np.pad(ranks < num_models // 2, ((0, 0), (0, num_population)))


def make_outputs(
    family, seed, num_models=8, num_examples=240, num_classes=10, num_population=40
):
    """Returns logits [M, N, C], labels [N] and keep [M, N] of one family of models."""
    rng = np.random.default_rng(seed)
    keep = balanced_keep(rng, num_models, num_examples, num_population)
    total = num_examples + num_population
    prior = np.full(num_classes, 1 / num_classes)
    if family == "imbalanced":
        prior = prior + np.where(np.arange(num_classes) == 0, 1.0, 0.0)
        prior = prior / prior.sum()
    labels = rng.choice(num_classes, total, p=prior)
    if family in TRAINED:
        logits = rng.normal(size=(num_models, total, num_classes))
        hardness = rng.normal(0, 1.5, total)
        logits[:, np.arange(total), labels] += BOOST[family] + hardness
        logits[:, np.arange(total), labels] += LEAK[family] * keep
        return logits, labels, keep
    # A random linear network on clustered inputs: as good as its luck.
    x = rng.normal(0, 1.5, (num_classes, 8))[labels] + rng.normal(size=(total, 8))
    scale = {"untrained": 0.3, "constant": 0.0, "wide": 3.0}[family]
    weights = rng.normal(0, scale, (num_models, 8, num_classes))
    bias = rng.normal(size=(num_models, 1, num_classes))
    return x[None] @ weights + bias, labels, keep


def log_softmax(logits):
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def phi_of(logits, labels):
    """log(p / (1 - p)) of the label, in float64."""
    of_label = logits[:, np.arange(len(labels)), labels]
    others = logits.copy()
    others[:, np.arange(len(labels)), labels] = -np.inf
    top = others.max(axis=-1)
    return of_label - top - np.log(np.exp(others - top[..., None]).sum(axis=-1))
