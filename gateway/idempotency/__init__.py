"""Requests under an `Idempotency-Key`: the first is executed, whoever repeats it is told what came of the first.

repeats.py   what a repeated request means · tables.py, store.py   the rows that remember
"""
