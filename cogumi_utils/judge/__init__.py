"""Verdicts with intervals: grading, the sandbox, the claims ledger."""
