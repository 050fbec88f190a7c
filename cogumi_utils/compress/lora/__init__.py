"""A trained adapter made sparse, coded in four bits, and packed into one small file."""
