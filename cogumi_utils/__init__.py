"""Cogumi: the thin package behind the notebooks. Importing it does no work and loads no torch."""
