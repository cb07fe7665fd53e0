"""What `ganzoo new` writes: a working component of each kind, whose names are replaced, and the files around it.

The modules beside this one are read as text. They are real ones all the same, so that lint, types and tests hold for them.
"""
