"""Which route answers, and what is remembered to decide it."""
