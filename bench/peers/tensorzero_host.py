"""Runs TensorZero's HTTP gateway out of its wheel and writes its port to a file. bench/targets.py starts it."""

import signal
import sys
from pathlib import Path
from urllib.parse import urlsplit

from tensorzero import tensorzero

# Private in the wheel, and the only way to its HTTP gateway without a container: the same server as the released image.
gateway = tensorzero._start_http_gateway(
    config_file=sys.argv[1], clickhouse_url=None, postgres_url=None, valkey_url=None, async_setup=False
)
port = urlsplit(gateway.base_url).port
scratch = Path(sys.argv[2]).with_suffix(".new")
scratch.write_text(str(port))
scratch.rename(sys.argv[2])
signal.pause()
