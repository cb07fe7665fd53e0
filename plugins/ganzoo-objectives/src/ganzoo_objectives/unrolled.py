"""Unrolled GANs: G plays against the D of some steps later (Metz et al. 2017)."""

from __future__ import annotations

from typing import Literal

import torch

from ganzoo.interfaces import Critic, DataSpec, Play, Regularizer, in_full_precision


class Unrolled(Regularizer):
    """G minimises its loss at theta_k, D's weights after k steps of D's adversarial loss from where D is now.

    All k steps and the last pass see the same reals and fakes; D itself takes its ordinary step only. Second order: G's
    gradient includes (dL/dtheta_k)(dtheta_k/dG), at the memory and time of k + 1 passes; first order: theta_k is a constant.
    Steps are in fp32 and follow D's adversarial loss alone, without its penalties. The loss decides what G minimises
    at theta_k: `minimax` and `wasserstein` keep the term on the reals, which now depends on G; in the others there is none.

    Options:
        steps: k
        second_order: differentiate through the steps
        optimizer: "live", D's own rule from its moments and learning rate, read only; "sgd", plain gradient descent
        lr: step size of "sgd"
    """

    def __init__(
        self,
        data: DataSpec,
        *,
        steps: int = 5,
        second_order: bool = True,
        optimizer: Literal["live", "sgd"] = "live",
        lr: float | None = None,
    ) -> None:
        super().__init__(data)
        if steps < 1:
            raise ValueError(f"steps={steps} must be at least 1; leave unrolled out for none")
        if (optimizer == "sgd") != (lr is not None):
            raise ValueError(f"optimizer={optimizer} with lr={lr}: sgd needs an lr, live takes D's own")
        self.steps, self.second_order, self.lr = steps, second_order, lr

    def opponent(self, critic: Critic, play: Play) -> Critic:
        with in_full_precision(play.fake):  # G's pass comes first, in the precision of the phase; the play keeps it
            params = {name: p.detach().requires_grad_() for name, p in play.d_params().items()}
            state = None
            for _ in range(self.steps):
                loss = play.d_loss(critic.with_params(params))
                found = torch.autograd.grad(loss, list(params.values()), create_graph=self.second_order, allow_unused=True)
                # A parameter that the adversarial loss does not reach (a class head) stays, as in torch's optimizers.
                grads = {name: grad for name, grad in zip(params, found, strict=True) if grad is not None}
                reached = {name: params[name] for name in grads}
                if self.lr is None:
                    reached, state = play.d_step(reached, grads, state)
                else:
                    reached = {name: p - self.lr * grads[name] for name, p in reached.items()}
                if not self.second_order:
                    reached = {name: p.detach().requires_grad_() for name, p in reached.items()}
                params = {**params, **reached}
        return critic.with_params(params)
