"""Confidences that mean what they say, and what to do with them."""
