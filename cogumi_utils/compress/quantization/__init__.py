"""Fewer bits for each weight, in checkpoints that transformers reads."""
