"""`make run-local`: a small real model on this machine, and the gateway in front of it, in the foreground.

    port ─▶ model server (.venv-local) ─▶ healthy ─▶ gateway (.venv, HAECHI_LOCAL=1) ─▶ a signal, or either ends ─▶ both end

config.yaml says where its provider `local` is. Where that port is taken, the model gets another one and the gateway a copy of
the configuration that says so, in the data folder. Ctrl-C and SIGTERM go to the gateway, which finishes its answers first;
the model ends after it. Both are told by process id, and by the kernel should this process be killed.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
PYTHON = ROOT / ".venv-local/bin/python"
GATEWAY = ROOT / ".venv/bin/haechi"
WEIGHTS = ROOT / ".cache/models"

PORT = 8089
#: Where config.yaml's provider `local` is.
ADDRESS = f"http://127.0.0.1:{PORT}/v1"
LOAD_SECONDS = 180.0


class CannotStart(Exception):
    """Why there is no model server, and what to do."""


def say(text: str) -> None:
    print(f"· {text}", file=sys.stderr, flush=True)


def choose_port(wanted: int) -> int:
    """`wanted` where nobody listens on it, otherwise any that is free."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError:
            probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def configuration(given: Path, data: Path, port: int) -> Path:
    """The configuration itself, or a copy in which the provider is on another port and files are named in full."""
    text = given.read_text(encoding="utf-8")
    if ADDRESS not in text:
        raise CannotStart(
            f"{given} has no provider at {ADDRESS}: nothing would ask the model. See config.yaml, `local`."
        )
    if port == PORT:
        return given
    text = text.replace(ADDRESS, f"http://127.0.0.1:{port}/v1")
    folder = given.resolve().parent
    text = re.sub(
        r"^(\s+(?:ca_file|client_cert):\s+)([\w./-]+)",
        lambda found: found[0] if found[2] == "null" else f"{found[1]}{folder / found[2]}",
        text,
        flags=re.M,
    )
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    copy = data / "config.run-local.yaml"
    copy.write_text(text, encoding="utf-8")
    return copy


def start(command: list[str], env: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
    """In a session of its own, so that a terminal's Ctrl-C reaches it through us alone, and once."""
    tied = ["setpriv", "--pdeathsig", "TERM", "--", *command]
    return subprocess.Popen(tied, cwd=Path.cwd(), env=env, start_new_session=True)


def healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def wait_until_healthy(model: subprocess.Popen[bytes], port: int) -> None:
    """Show that something happens: a dot a second."""
    began = told = time.monotonic()
    while not healthy(port):
        now = time.monotonic()
        if model.poll() is not None:
            raise CannotStart(f"the model server ended with status {model.returncode}")
        if now - began > LOAD_SECONDS:
            raise CannotStart(f"the model server was not ready after {LOAD_SECONDS:.0f} seconds")
        if now - told >= 1:
            told = now
            print(".", end="", file=sys.stderr, flush=True)
        time.sleep(0.1)
    if told != began:
        print(file=sys.stderr)


def end(child: subprocess.Popen[bytes], seconds: float) -> None:
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(seconds)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def main() -> int:
    data = Path(os.environ.get("HAECHI_DATA") or "data")
    given = Path(os.environ.get("HAECHI_CONFIG") or "config.yaml")
    port = choose_port(PORT)
    if port != PORT:
        say(f"port {PORT} is taken; the model gets {port}")
    children: list[subprocess.Popen[bytes]] = []
    asked: list[int] = []

    def pass_on(number: int, _: object) -> None:
        """To the gateway, which drains; while there is only the model, to that."""
        asked.append(number)
        children[-1].send_signal(signal.SIGHUP if number == signal.SIGHUP else signal.SIGTERM)

    try:
        config = configuration(given, data, port)
        say("starting Gemma 3 270M on this machine (weights: Gemma Terms of Use, deploy/local/NOTICE)")
        model = start([str(PYTHON), str(HERE / "serve_model.py"), "--port", str(port), "--folder", str(WEIGHTS)])
        children.append(model)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, pass_on)
        wait_until_healthy(model, port)
        env = {**os.environ, "HAECHI_LOCAL": "1", "HAECHI_CONFIG": str(config)}
        gateway = start([str(GATEWAY), "serve"], env)
        children.append(gateway)
        signal.signal(signal.SIGHUP, pass_on)
        while gateway.poll() is None:
            if model.poll() is not None and not asked:
                say(f"the model server ended with status {model.returncode}; ending the gateway")
                asked.append(signal.SIGTERM)
                gateway.terminate()
            time.sleep(0.2)
        return gateway.returncode if gateway.returncode >= 0 else 128 - gateway.returncode
    except (CannotStart, OSError) as why:
        if not asked:
            say(str(why))
        return 128 + asked[-1] if asked else 1
    finally:
        # The gateway finishes its answers first (limits.drain_seconds); the model has nothing left to do by then.
        for child, patience in reversed(list(zip(children, (5.0, 90.0), strict=False))):
            end(child, patience)


if __name__ == "__main__":
    sys.exit(main())
