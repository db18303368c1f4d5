"""Bytes of a file → the text in it, or the reason why nobody can vouch for it.

    bytes ─▶ (a site's own inspector) ─▶ a child process with limits ─▶ Extracted | Uninspectable
                                          sniff ─▶ one reader per format

Only the text ever leaves this package: what is scanned is what is sent, and the bytes are forgotten. Whatever cannot be read
whole is refused with a reason a person can act on.
"""
