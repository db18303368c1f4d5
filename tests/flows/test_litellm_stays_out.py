"""A gateway none of whose models runs through litellm serves without it: seconds of start and a sixth of a gigabyte unspent.

What a process has imported cannot be asked from outside; which compiled libraries it has mapped can, and litellm brings one
that nobody else here does.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from flows.harness import Gateway

BROUGHT_ALONG = "/fastuuid/"


def mapped(pid: int | str) -> str:
    return Path(f"/proc/{pid}/maps").read_text()


def test_litellm_leaves_this_trace() -> None:
    """So that its absence below means something."""
    program = "import litellm\nprint(open('/proc/self/maps').read())"
    env = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=env)
    assert BROUGHT_ALONG in ran.stdout


def test_a_serving_gateway_never_imported_it(gateway: Gateway) -> None:
    assert gateway.chat().status == 200
    assert gateway.chat(stream=True).status == 200
    maps = mapped(gateway.process.pid)
    assert "/orjson/" in maps
    assert BROUGHT_ALONG not in maps
