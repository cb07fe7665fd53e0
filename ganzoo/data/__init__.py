"""Data sets: what they say of themselves, how they are decoded once, and how batches are drawn."""
