"""What the bench asks of the machine: cores, ports, processes, their CPU time and their memory. Linux only, by /proc."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import http.client
import os
import platform
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
WORK = ROOT / ".cache" / "bench"
CLOCK_TICK = os.sysconf("SC_CLK_TCK")


class BenchError(Exception):
    """The bench cannot go on; the text says what is missing."""


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """One bench at a time in a checkout: two would empty each other's folders and measure each other."""
    WORK.mkdir(parents=True, exist_ok=True)
    handle = os.open(WORK / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BenchError("another bench is running in this checkout") from None
        yield
    finally:
        os.close(handle)


# ---- cores ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Cores:
    """`target` carries the gateway and nothing else; `others` the upstream, the load and a database server."""

    target: frozenset[int]
    others: frozenset[int]

    @property
    def apart(self) -> bool:
        return self.target.isdisjoint(self.others)


def split_cores() -> Cores:
    """The last core for the target, the rest for everything else. With one core they share it, and the report says so."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) == 1:
        return Cores(frozenset(cores), frozenset(cores))
    return Cores(frozenset(cores[-1:]), frozenset(cores[:-1]))


@contextlib.contextmanager
def on(cores: frozenset[int]) -> Iterator[None]:
    """Children started inside inherit these cores, and so do theirs: the whole tree is pinned before its first thread."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def busy_seconds(cores: frozenset[int]) -> float:
    """How long these cores have been busy with anything at all, including what the host took."""
    total = 0
    for line in Path("/proc/stat").read_text().splitlines():
        name, *ticks = line.split()
        if name[:3] == "cpu" and name[3:].isdigit() and int(name[3:]) in cores:
            user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, ticks[:8])
            total += user + nice + system + irq + softirq + steal
    return total / CLOCK_TICK


def fsync_ms(folder: Path) -> float:
    """The median time of making 4 KB durable on this disk now: no durable ledger can answer faster than this."""
    file = folder / "fsync"
    times = []
    handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        for i in range(15):
            began = time.perf_counter()
            os.pwrite(handle, os.urandom(4096), i * 4096)
            os.fdatasync(handle)
            times.append((time.perf_counter() - began) * 1000)
    finally:
        os.close(handle)
        file.unlink()
    return sorted(times)[len(times) // 2]


# ---- processes ------------------------------------------------------------------------------------------------------


def start(
    argv: Sequence[str | Path],
    *,
    cores: frozenset[int],
    log: Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> subprocess.Popen[bytes]:
    """In a session of its own, so that a Ctrl-C reaches the bench first and the bench ends its children in order."""
    with log.open("ab") as out, on(cores):
        return subprocess.Popen(
            [str(a) for a in argv],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=None if env is None else dict(env),
            cwd=cwd,
            start_new_session=True,
        )


def stop(process: subprocess.Popen[bytes], *, how: signal.Signals = signal.SIGTERM, patience: float = 15) -> None:
    """Asks, waits, then insists; children that outlive their parent are ended too."""
    family = tree(process.pid)
    if process.poll() is None:
        process.send_signal(how)
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)
    for pid in family[1:]:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def kill_tree(process: subprocess.Popen[bytes]) -> None:
    """kill -9 for all of it, as a power cut would: nobody gets to say goodbye."""
    for pid in tree(process.pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait(5)


def tree(pid: int) -> list[int]:
    """The process and all its descendants, parents before children."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                children.setdefault(int(_stat(int(entry))[1]), []).append(int(entry))
    found = [pid]
    for parent in found:
        found.extend(children.get(parent, ()))
    return found


def cpu_seconds(pid: int) -> float:
    """CPU time of the whole tree so far: utime + stime of every process, and of children that were waited for.

    The kernel's per-process clock is the same sum at nanosecond grain; /proc/PID/stat, in ticks of 10 ms, is too coarse for
    a proxy that needs 30 µs a request.
    """
    total = 0.0
    for member in tree(pid):
        with contextlib.suppress(OSError):
            fields = _stat(member)
            try:
                total += time.clock_gettime((~member << 3) | 2)  # MAKE_PROCESS_CPUCLOCK(pid, CPUCLOCK_SCHED)
            except OSError:
                total += (int(fields[11]) + int(fields[12])) / CLOCK_TICK
            total += (int(fields[13]) + int(fields[14])) / CLOCK_TICK
    return total


def thread_cpu(pid: int) -> dict[str, float]:
    """CPU seconds of each thread alive in the tree, by name: shows what runs off the event loop."""
    spent: dict[str, float] = {}
    for member in tree(pid):
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{member}/task").iterdir():
                name = (task / "comm").read_text().strip()
                kind = "main" if task.name == str(member) else "thread"
                spent[f"{kind} {name} {task.name}"] = int((task / "schedstat").read_text().split()[0]) / 1e9
    return spent


def memory_mib(pid: int) -> dict[str, float]:
    """Resident and proportional set of the whole tree. RSS counts a page shared by two processes twice, PSS once."""
    rss = pss = 0
    for member in tree(pid):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{member}/smaps_rollup").read_text().splitlines():
                name, _, rest = line.partition(":")
                if name == "Rss":
                    rss += int(rest.split()[0])
                elif name == "Pss":
                    pss += int(rest.split()[0])
    return {"rss": round(rss / 1024, 1), "pss": round(pss / 1024, 1), "processes": len(tree(pid))}


def _stat(pid: int) -> list[str]:
    """/proc/PID/stat from its third field on; the second, the name, may hold spaces and brackets."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


# ---- network --------------------------------------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port: int = s.getsockname()[1]
        return port


def post(port: int, path: str, body: bytes, key: str, *, seconds: float = 30) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=seconds)
    try:
        connection.request("POST", path, body, {"Content-Type": "application/json", "Authorization": f"Bearer {key}"})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def get(port: int, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


# ---- programs -------------------------------------------------------------------------------------------------------


def compiled(source: Path) -> Path:
    """The program built from `source`; built once for each text of it."""
    name = f"{source.stem}-{hashlib.sha256(source.read_bytes()).hexdigest()[:12]}"
    program = WORK / "bin" / name
    if program.exists():
        return program
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise BenchError("a C compiler is needed (Debian: gcc)")
    program.parent.mkdir(parents=True, exist_ok=True)
    scratch = program.with_suffix(f".{os.getpid()}")
    subprocess.run([compiler, "-O2", "-Wall", "-o", str(scratch), str(source)], check=True)
    scratch.rename(program)
    return program


def quietly(argv: Sequence[str | Path], *, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> None:
    """Runs a set-up step; what it says is shown only when it fails."""
    done = subprocess.run([str(a) for a in argv], env=env, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BenchError(f"{argv[0]} ended with {done.returncode}: {(done.stderr or done.stdout)[-800:]}")


def apt_install(*packages: str) -> None:
    """Installs Debian packages without letting them start a service: the bench starts its own, on its own port."""
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise BenchError(f"missing: {' '.join(packages)} (Debian packages; install them, or run as root)")
    guard = Path("/usr/sbin/policy-rc.d")
    ours = not guard.exists()
    if ours:
        guard.write_text("#!/bin/sh\nexit 101\n")
        guard.chmod(0o755)
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages]
    try:
        try:
            quietly(install, env=env)
        except BenchError:  # an image without package lists
            quietly(["apt-get", "update", "-qq"], env=env)
            quietly(install, env=env)
    finally:
        if ours:
            guard.unlink()


def describe() -> dict[str, object]:
    """What a reader needs to compare two runs."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.strip()
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "kernel": platform.release().split("-")[0],
        "python": platform.python_version(),
        "commit": commit,
    }
