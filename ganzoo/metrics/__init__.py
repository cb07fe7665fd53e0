"""Numbers that say how fakes compare with reals, each with its protocol: what is looked at, how, and of how many."""
