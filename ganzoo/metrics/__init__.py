"""How samples compare with the data: the metrics, and the networks that they look through."""
