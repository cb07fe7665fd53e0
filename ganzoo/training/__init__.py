"""The trainer: phases, micro-batches, gradients and time. It knows no GAN."""
