"""Small files and what they cost."""
