"""Adversarial losses. r = D(x), f = D(G(z)) are logits, sp(t) = log(1 + e^t); D and G minimise theirs.

Each returns one value a logit; the match takes the mean. -log sigmoid(t) is written sp(-t): log(sigmoid(t)) overflows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from torch import Tensor
from torch.nn.functional import relu, softplus

from ganzoo.interfaces import DataSpec, Loss, Score, batch_mean

Real = Callable[[], Score]


class Minimax(Loss):
    """L_D = E sp(-r) + E sp(f), L_G = -L_D: the zero-sum game of Goodfellow et al. 2014, equation 1.

    G's gradient is -sigmoid(f) and vanishes once D is sure; `non-saturating` is the form that most mean by "the GAN loss".
    L_G keeps its term on the reals, at the price of a pass of D without gradients: in an unrolled game D's weights, and so
    D's output on the reals, depend on G.
    """

    def d(self, real: Score, fake: Score) -> Tensor:
        return softplus(-real.logits) + softplus(fake.logits)

    def g(self, fake: Score, real: Real) -> Tensor:
        return -self.d(real(), fake)


class NonSaturating(Loss):
    """L_D = E sp(-r) + E sp(f), L_G = E sp(-f) (Goodfellow et al. 2014, section 3), also called logistic.

    At balance r = f = 0: L_D = 2 log 2, L_G = log 2.
    """

    def d(self, real: Score, fake: Score) -> Tensor:
        return softplus(-real.logits) + softplus(fake.logits)

    def g(self, fake: Score, real: Real) -> Tensor:
        return softplus(-fake.logits)


class Hinge(Loss):
    """L_D = E max(0, 1 - r) + E max(0, 1 + f), L_G = -E f (Lim and Ye 2017).

    G's is not hinged: it would stop learning at f > 1. L_D = 2 exactly means that D says 0 everywhere.
    """

    def d(self, real: Score, fake: Score) -> Tensor:
        return relu(1 - real.logits) + relu(1 + fake.logits)

    def g(self, fake: Score, real: Real) -> Tensor:
        return -fake.logits


class LeastSquares(Loss):
    """L_D = 1/2 E (r - real)^2 + 1/2 E (f - fake)^2, L_G = 1/2 E (f - goal)^2 (Mao et al. 2017, equation 2), no sigmoid.

    With real - fake = 2 (goal - fake) and goal - fake = 1 (the coding 1, -1, 0) G minimises a Pearson chi-square divergence.
    The halves count against other terms: a paper that squares plainly has twice this L_G.

    Options:
        real: D's target for reals (the paper's b)
        fake: D's target for fakes (a)
        goal: what G wants D to say of fakes (c)
    """

    def __init__(self, data: DataSpec, *, real: float = 1.0, fake: float = 0.0, goal: float = 1.0) -> None:
        super().__init__(data)
        if real == fake:
            raise ValueError(f"D needs two targets to tell reals from fakes, got real={real} and fake={fake}")
        self.real, self.fake, self.goal = real, fake, goal

    def d(self, real: Score, fake: Score) -> Tensor:
        return ((real.logits - self.real).square() + (fake.logits - self.fake).square()) / 2

    def g(self, fake: Score, real: Real) -> Tensor:
        return (fake.logits - self.goal).square() / 2

    def verdict(self, score: Score) -> Tensor:
        middle = (self.real + self.fake) / 2  # where D cannot tell
        return (score.per_sample() - len(score.heads()) * middle) * (self.real - self.fake)


class Wasserstein(Loss):
    """L_D = E f - E r, L_G = -L_D (Arjovsky et al. 2017, equation 2): G's loss is D's estimate of the Wasserstein-1 distance.

    Only with a Lipschitz constraint on D: `gradient-penalty`, `weight-clip`, `spectral-norm`. The paper writes L_G = -E f;
    the term on the reals costs a pass of D without gradients and adds none, except in an unrolled game, where without it G
    is drawn to 0 and not to the data.
    """

    relative = True

    def d(self, real: Score, fake: Score) -> Tensor:
        return fake.logits - real.logits

    def g(self, fake: Score, real: Real) -> Tensor:
        return -self.d(real(), fake)


class Relativistic(Loss):
    """L_D = E sp(-(r_i - f_i)), L_G = E sp(-(f_i - r_i)) (Jolicoeur-Martineau 2019, RpGAN; the loss of R3GAN).

    Pairs are the i-th real and the i-th fake, which share their condition. Both losses are log 2 at balance. Only
    differences matter: D's level is free, so D's mean output on the reals alone means nothing.
    """

    relative = True

    def d(self, real: Score, fake: Score) -> Tensor:
        return softplus(fake.logits - real.logits)

    def g(self, fake: Score, real: Real) -> Tensor:
        return softplus(real().logits - fake.logits)


class RelativisticAverage(Loss):
    """L_D = E h(m_f - r) + E h(f - m_r), L_G = E h(m_r - f) + E h(r - m_f) (Jolicoeur-Martineau 2019, RaGAN).

    m_r = E r and m_f = E f are the means over the batch, every place of a map included, and over the ranks that share it. Both
    carry gradient. At balance both losses are 2 log 2, or 2 in the hinge form. Only differences matter, as in `relativistic`.

    Options:
        form: "logistic", h(t) = sp(t); "hinge", h(t) = max(0, 1 + t)
        esrgan: as in the ESRGAN authors' library (BasicSR, esrgan_model.py): both losses are halved, and in D's the means are
            constants
    """

    relative = True

    def __init__(self, data: DataSpec, *, form: Literal["logistic", "hinge"] = "logistic", esrgan: bool = False) -> None:
        super().__init__(data)
        self.hinged, self.esrgan = form == "hinge", esrgan

    def d(self, real: Score, fake: Score) -> Tensor:
        r, f = real.logits, fake.logits
        return self._both(r, f, r.detach(), f.detach()) if self.esrgan else self._both(r, f, r, f)

    def g(self, fake: Score, real: Real) -> Tensor:
        r, f = real().logits, fake.logits
        return self._both(f, r, f, r)

    def _both(self, up: Tensor, down: Tensor, of_up: Tensor, of_down: Tensor) -> Tensor:
        """Raise `up` above the mean of `of_down`, lower `down` below that of `of_up`."""
        value = self._h(batch_mean(of_down.mean()) - up) + self._h(down - batch_mean(of_up.mean()))
        return value / 2 if self.esrgan else value

    def _h(self, t: Tensor) -> Tensor:
        return relu(1 + t) if self.hinged else softplus(t)
