"""What a process that reads strangers' files may do: a little memory, a little time, no network, no files of ours.

Called in the child before it has read a byte. The limits hold for whatever it starts (text recognition) as well.

    rlimits    address space, CPU seconds, no core dump, no file written, few handles
    prctl      dies with its parent, no new privileges, nobody may look into it
    seccomp    no socket, no io_uring (which could open one), no looking into other processes
    landlock   reads the interpreter, libraries and fonts, and nothing else: not the data folder, where the keys are

Where the kernel is too old for the last two, the rest still holds; `raise_fence` says which of them stand.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import resource
import signal
import struct
import sys
from collections.abc import Iterable
from pathlib import Path

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 1, 4, 22, 38
_SECCOMP_MODE_FILTER = 2

# Numbers of system calls: asm/unistd_64.h and asm-generic/unistd.h.
_CALLS = {
    "x86_64": (0xC000003E, (41, 42, 49, 101, 310, 311, 425)),
    "aarch64": (0xC00000B7, (198, 203, 200, 117, 270, 271, 425)),
}  # socket connect bind ptrace process_vm_readv process_vm_writev io_uring_setup

_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_FIRST_ABI = (1 << 13) - 1  # every right of the first version

#: The gateway's own modules, and not the folder they lie in: a checkout keeps its data there.
_OURS = str(Path(__file__).resolve().parent.parent)
#: What programs need to run at all. /proc and /sys are not among them.
_SYSTEM = (
    "/usr",
    "/lib",
    "/lib64",
    "/bin",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/etc/fonts",
    "/dev/null",
    "/dev/urandom",
)


def raise_fence(memory: int, seconds: int) -> frozenset[str]:
    """Limit this process: `memory` bytes of address space, `seconds` of CPU. Returns which of seccomp, landlock hold."""
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return frozenset()
    standing = {"landlock"} if _landlock(libc, [*_SYSTEM, sys.prefix, sys.base_prefix, _OURS]) else set()
    return frozenset(standing | ({"seccomp"} if _seccomp(libc) else set()))


def _seccomp(libc: ctypes.CDLL) -> bool:
    """Each listed call fails with EPERM; a call in another architecture's numbering kills."""
    known = _CALLS.get(platform.machine())
    if known is None:
        return False
    architecture, calls = known

    def step(code: int, yes: int, no: int, value: int) -> bytes:
        return struct.pack("<HBBI", code, yes, no, value)

    load, equal, give = 0x20, 0x15, 0x06
    allow, kill, refuse = 0x7FFF0000, 0x80000000, 0x00050000 | errno.EPERM
    program = [step(load, 0, 0, 4), step(equal, 1, 0, architecture), step(give, 0, 0, kill), step(load, 0, 0, 0)]
    # x32 calls carry this bit and would slip past the numbers below.
    if architecture == _CALLS["x86_64"][0]:
        program += [step(0x35, 0, 1, 0x40000000), step(give, 0, 0, kill)]
    program += [step(equal, len(calls) - index, 0, number) for index, number in enumerate(calls)]
    program += [step(give, 0, 0, allow), step(give, 0, 0, refuse)]
    code = ctypes.create_string_buffer(b"".join(program))
    filter_ = ctypes.create_string_buffer(struct.pack("@HxxxxxxQ", len(program), ctypes.addressof(code)))
    return bool(libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(filter_), 0, 0) == 0)


def _landlock(libc: ctypes.CDLL, readable: Iterable[str]) -> bool:
    """Nothing can be opened but what lies under `readable`. linux/landlock.h, first version."""
    attributes = ctypes.create_string_buffer(struct.pack("@Q", _FIRST_ABI), 8)
    rules = libc.syscall(_LANDLOCK_CREATE, ctypes.byref(attributes), 8, 0)
    if rules < 0:
        return False
    for path in {os.path.realpath(path) for path in readable if path}:
        try:
            handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            continue
        allowed = _READ_FILE | (_READ_DIR | _EXECUTE if os.path.isdir(path) else 0)
        if path.startswith("/dev/null"):
            allowed |= _WRITE_FILE
        rule = ctypes.create_string_buffer(struct.pack("=Qi", allowed, handle), 12)
        libc.syscall(_LANDLOCK_ADD, rules, 1, ctypes.byref(rule), 0)
        os.close(handle)
    restricted = libc.syscall(_LANDLOCK_RESTRICT, rules, 0) == 0
    os.close(rules)
    return bool(restricted)
