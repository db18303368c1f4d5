"""Quantities and money. Never sees prompt text or HTTP, imports neither `gateway` nor `policies`."""
