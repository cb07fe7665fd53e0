"""Experiments that anybody can run again: `ganzoo bench`."""
