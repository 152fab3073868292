"""The members of the SAM family: settings, formulas and sources.

``w`` are the weights, ``g`` the gradient there, ``epsilon`` the ascent, ``g_p`` the
gradient at ``w + epsilon``, ``d`` what the base optimizer receives; norms run over all
parameters. The formulas are computed in ``sam_jax.optimizers.ascent``.
"""

import dataclasses
from typing import TypeAlias

from jax.typing import ArrayLike

from sam_jax import _checks


@dataclasses.dataclass(frozen=True)
class SAM:
    """Sharpness-aware minimization: ``epsilon = rho g / |g|``, ``d = g_p``.

    References:
        Foret et al., "Sharpness-Aware Minimization for Efficiently Improving
        Generalization", 2021, https://arxiv.org/abs/2010.01412, algorithm 1.
    """


@dataclasses.dataclass(frozen=True)
class USAM:
    """SAM without the normalisation: ``epsilon = rho g``, ``d = g_p``.

    References:
        Andriushchenko and Flammarion, "Towards Understanding Sharpness-Aware
        Minimization", 2022, https://arxiv.org/abs/2206.06232.
    """


@dataclasses.dataclass(frozen=True)
class ASAM:
    """Adaptive SAM: ``epsilon = rho T^2 g / |T g|`` with ``T = |w| + eta``.

    Attributes:
        eta: Added to ``|w|``, so that weights at 0 move as well.
        scale_biases: Whether biases are scaled like the other weights. Off in the
            authors' code, which takes ``T = 1`` there. A bias is a leaf named
            ``bias`` or ``b``; leaves without a name count as weights.

    References:
        Kwon et al., "ASAM: Adaptive Sharpness-Aware Minimization for Scale-Invariant
        Learning of Deep Neural Networks", 2021, https://arxiv.org/abs/2102.11600,
        equation 6 and algorithm 1.
    """

    eta: ArrayLike = 0.01
    scale_biases: bool = False

    def __post_init__(self):
        _checks.non_negative(eta=self.eta)


@dataclasses.dataclass(frozen=True)
class GSAM:
    """Surrogate gap minimization: SAM's ascent, and a part of the descent removed.

    ``d = g_p - alpha (g - (g . u) u)`` with ``u = g_p / |g_p|``; or, decomposing the
    perturbed gradient, ``d = g + alpha (g_p - (g_p . u) u)`` with ``u = g / |g|``.

    Attributes:
        alpha: Weight of the orthogonal part.
        decompose: ``"clean"`` (the paper) or ``"perturbed"`` (the alternative in the
            authors' code).

    References:
        Zhuang et al., "Surrogate Gap Minimization Improves Sharpness-Aware Training",
        2022, https://arxiv.org/abs/2203.08065, algorithm 1.
    """

    alpha: ArrayLike = 0.4
    decompose: str = "clean"

    def __post_init__(self):
        _checks.non_negative(alpha=self.alpha)
        _checks.one_of({"clean": None, "perturbed": None}, decompose=self.decompose)


@dataclasses.dataclass(frozen=True)
class LookSAM:
    """SAM on every ``period``-th step; its orthogonal part is reused in between.

    A SAM step keeps ``g_v = g_p - (g_p . u) u`` with ``u = g / |g|``; the other steps
    take ``d = g + alpha (|g| / |g_v|) g_v`` and need no second gradient.

    Attributes:
        period: Steps from one SAM step to the next (k); 1 is SAM.
        alpha: Weight of the reused part.
        per_tensor: Whether projections and norms run over each tensor alone, as in
            public codes, instead of over all parameters, as in the paper.

    References:
        Liu et al., "Towards Efficient and Scalable Sharpness-Aware Minimization",
        2022, https://arxiv.org/abs/2203.02714, algorithm 1.
    """

    period: int = 5
    alpha: ArrayLike = 0.7
    per_tensor: bool = False

    def __post_init__(self):
        _checks.at_least(1, period=self.period)
        _checks.non_negative(alpha=self.alpha)


@dataclasses.dataclass(frozen=True)
class FriendlySAM:
    """Climbs along the gradient less its running mean: ``epsilon || g - sigma m``.

    ``m_t = decay m_{t-1} + (1 - decay) g_t``. In the authors' code ``m_0 = g_0``, the
    first step climbs along ``g_0`` and the others subtract ``m_{t-1}``; in the paper
    ``m_{-1} = 0`` and each step subtracts ``m_t``. ``d = g_p`` in both.

    Attributes:
        sigma: Share of the running mean that is removed; 0 is SAM.
        decay: ``lambda`` in the paper.
        form: ``"authors"`` (the code) or ``"paper"``.

    References:
        Li et al., "Friendly Sharpness-Aware Minimization", 2024,
        https://arxiv.org/abs/2403.12350, algorithm 1.
    """

    sigma: ArrayLike = 1.0
    decay: ArrayLike = 0.6
    form: str = "authors"

    def __post_init__(self):
        _checks.non_negative(sigma=self.sigma)
        _checks.in_unit_interval(decay=self.decay)
        _checks.one_of({"authors": None, "paper": None}, form=self.form)


@dataclasses.dataclass(frozen=True)
class GNP:
    """Gradient norm penalty: SAM's ascent, ``d = (1 - alpha) g + alpha g_p``.

    Attributes:
        alpha: Weight of the perturbed gradient, in [0, 1]; 1 is SAM.

    References:
        Zhao et al., "Penalizing Gradient Norm for Efficiently Improving
        Generalization in Deep Learning", 2022, https://arxiv.org/abs/2202.03599,
        algorithm 1.
    """

    alpha: ArrayLike = 0.8

    def __post_init__(self):
        _checks.in_unit_interval(alpha=self.alpha)


@dataclasses.dataclass(frozen=True)
class MSAM:
    """m-SAM: the batch in equal groups, each climbing by itself; ``d`` is their mean.

    Attributes:
        num_groups: Number of groups that split the batch; 1 is SAM.

    References:
        Foret et al., "Sharpness-Aware Minimization for Efficiently Improving
        Generalization", 2021, https://arxiv.org/abs/2010.01412, section 4.1.
    """

    num_groups: int = 8

    def __post_init__(self):
        _checks.at_least(1, num_groups=self.num_groups)


@dataclasses.dataclass(frozen=True)
class RandomSAM:
    """A control: a random step of SAM's length, ``epsilon = rho z / |z|``, ``d = g_p``.

    ``z`` is standard normal. With ``per_filter`` each filter of ``z`` (all axes but
    the last; a whole vector where there is one axis) is first given the norm of the
    same filter of the weights; the length over all parameters stays ``rho``.

    Attributes:
        per_filter: Whether the noise follows the filter norms.
        seed: Of the noise, where ``update`` is not handed a key.

    References:
        Li et al., "Visualizing the Loss Landscape of Neural Nets", 2018,
        https://arxiv.org/abs/1712.09913, section 4 (filter normalisation).
    """

    per_filter: bool = False
    seed: ArrayLike = 0


Method: TypeAlias = (
    SAM | USAM | ASAM | GSAM | LookSAM | FriendlySAM | GNP | MSAM | RandomSAM
)
