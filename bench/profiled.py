"""Runs a module under cProfile, switched by signals: `python -m bench.profiled OUT gateway serve …`.

SIGUSR1 begins, SIGUSR2 ends and writes OUT, so that neither start-up nor warm-up is in the profile. Only the main thread, which
runs the event loop, is profiled: what other threads cost is told by the kernel (see bench.profile).
"""

from __future__ import annotations

import cProfile
import os
import runpy
import signal
import sys
from pathlib import Path


def main() -> None:
    out, module, *argv = sys.argv[1:]
    profile = cProfile.Profile()

    def begin(*_: object) -> None:
        profile.enable()

    def end(*_: object) -> None:
        profile.disable()
        scratch = f"{out}.{os.getpid()}"
        profile.dump_stats(scratch)
        Path(scratch).rename(out)

    signal.signal(signal.SIGUSR1, begin)
    signal.signal(signal.SIGUSR2, end)
    sys.argv = [module, *argv]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
