"""The trainer: phases, micro-batches, gradients and time. It knows no GAN."""

import os


def launched() -> bool:
    """Whether torchrun started this process. Torch-free."""
    return "TORCHELASTIC_RUN_ID" in os.environ
