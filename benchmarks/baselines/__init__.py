"""Plain steps to hold ganzoo's against: each file is what a user of torch would write, and needs nothing of ganzoo.

Their parameters have the shapes of ganzoo's, so that weights can be copied and outputs compared. `Training(...)` builds
networks and optimizers; `step(real)` takes images [N, C, H, W] in [-1, 1], plays one round (n_D = 1) and returns what it
would log. `bare` is the exception: a loop by hand over ganzoo's own networks, which shows what the trainer costs.
"""
