"""Upstreams: `base` says what one is, `registry` lists the kinds, one file each."""
