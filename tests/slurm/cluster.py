"""A Slurm of one node on this machine, with its files, ports and processes of its own."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CONF = """
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={state}/munge.socket
CredType=cred/munge
PluginDir={plugins}
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=5
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
StateSaveLocation={state}
SlurmdSpoolDir={state}/spool
SlurmctldPidFile={state}/slurmctld.pid
SlurmdPidFile={state}/slurmd.pid
SlurmctldLogFile={state}/slurmctld.log
SlurmdLogFile={state}/slurmd.log
NodeName={host} NodeAddr=127.0.0.1 CPUs=8 State=UNKNOWN
PartitionName=tests Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def installed() -> Path:
    """Return where `install.sh` unpacks Slurm."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("DEEPSAL_SLURM") or cache / "deepsal-slurm")


def missing() -> str | None:
    """Say why a Slurm cannot be started here, if so."""
    if os.getuid():
        return "Slurm's daemons need root"
    if not (installed() / "usr/sbin/slurmctld-wlm").is_file():
        return f"no Slurm in {installed()}: tests/slurm/install.sh unpacks it"
    return None


@contextmanager
def running(state: Path) -> Iterator[dict[str, str]]:
    """Start Slurm, yield the environment of its users, and end every process that was started.

    Args:
        state: an empty folder for keys, logs, sockets and spool.
    """
    root = installed()
    libraries = next(root.glob("usr/lib/*/slurm-wlm"))
    text = CONF.format(host=socket.gethostname(), state=state, plugins=libraries, ports=ports())
    (state / "slurm.conf").write_text(text)
    (state / "spool").mkdir()
    (state / "munge.key").write_bytes(os.urandom(1024))
    (state / "munge.key").chmod(0o400)
    environment = {
        **os.environ,
        "LD_LIBRARY_PATH": f"{libraries.parent}:{libraries}",
        "SLURM_CONF": f"{state}/slurm.conf",
        "PATH": f"{root}/usr/bin:{root}/usr/sbin:{os.environ['PATH']}",
    }
    munge = [f"--{option}={state}/munge.{option}" for option in ("socket", "seed-file")]
    munge += [f"--pid-file={state}/munged.pid", f"--log-file={state}/munged.log"]
    daemons = [
        ["munged", "--force", f"--key-file={state}/munge.key", *munge],
        ["slurmctld-wlm"],
        ["slurmd-wlm", "-d", f"{root}/usr/sbin/slurmstepd-wlm"],
    ]
    try:
        for daemon in daemons:
            subprocess.run(daemon, env=environment, check=True)
        await_idle(environment)
        yield environment
    finally:
        subprocess.run(["scancel", "--full", "--signal=KILL", "--me"], env=environment, check=False)
        subprocess.run(["scancel", "--me"], env=environment, check=False)
        await_idle(environment)
        for name in ("slurmd", "slurmctld", "munged"):
            end(state / f"{name}.pid")


def ports() -> list[int]:
    """Return two free ports."""
    with socket.socket() as first, socket.socket() as second:
        for one in (first, second):
            one.bind(("127.0.0.1", 0))
        return [first.getsockname()[1], second.getsockname()[1]]


def await_idle(environment: dict[str, str], seconds: float = 60.0) -> None:
    """Wait for the node to take jobs."""
    end_at = time.monotonic() + seconds
    while time.monotonic() < end_at:
        ask = ["sinfo", "--noheader", "--format=%T"]
        said = subprocess.run(ask, env=environment, capture_output=True, text=True, check=False)
        if said.stdout.strip() == "idle":
            return
        time.sleep(0.5)
    raise TimeoutError(f"the node is not idle: {said.stdout}{said.stderr}")


def end(file: Path, seconds: float = 20.0) -> None:
    """End the process of a pid file."""
    if not file.is_file():
        return
    process = int(file.read_text())
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.kill(process, number)
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                os.kill(process, 0)
                time.sleep(0.1)
        except ProcessLookupError:
            return
