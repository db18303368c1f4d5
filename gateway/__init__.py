"""Speaks HTTP and to providers; composes `billing` and `policies`. Start reading at `exchange.py`."""
