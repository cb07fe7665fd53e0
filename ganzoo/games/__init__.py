"""Games: who plays whom, in which order. `match` is one generator against one discriminator; `adversarial` has one match."""
