"""Fewer weights: zeros anywhere, or a smaller shape; every way judged as a file of the same bits."""
