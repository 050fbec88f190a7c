"""Notices a dissatisfied user from what was said last: a fine-tuned teacher, a small student that decides, a judge."""
