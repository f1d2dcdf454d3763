"""A SLURM cluster of one machine that poses as a node with 8 cores and 2 GPUs.

    python tests/slurm/cluster.py start FOLDER
    python tests/slurm/cluster.py stop FOLDER

All of it lives in FOLDER. /run/slurm/conf, where SLURM looks when /etc has nothing, leads
there. Needs root, and Debian's slurmctld, slurmd, slurm-client and munge.
"""

import argparse
import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "scontrol", "srun")
CONFIGURED = (Path("/etc/slurm/slurm.conf"), Path("/run/slurm/conf"))
GPUS = [Path(f"/dev/balle2017-fakegpu{index}") for index in range(2)]

CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=5,bf_interval=5,sched_min_interval=0
ReturnToService=2
SlurmdParameters=config_overrides
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
MinJobAge=300
KillWait=5
JobRequeue=1
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=2
JobAcctGatherParams=OverMemoryKill
GresTypes=gpu
AccountingStorageType=accounting_storage/none
NodeName={host} NodeAddr=127.0.0.1 CPUs=8 Boards=1 SocketsPerBoard=1 CoresPerSocket=8 \
ThreadsPerCore=1 RealMemory=16000 Gres=gpu:a100:2 State=UNKNOWN
PartitionName=cpu Nodes={host} Default=YES DefaultTime=60 DefMemPerCPU=200 State=UP
PartitionName=gpu Nodes={host} DefaultTime=30 DefMemPerCPU=200 State=UP
"""


def missing() -> str:
    """Return why there can be no cluster here, or nothing."""
    if os.getuid() != 0:
        return "not root"
    if found := [str(path) for path in CONFIGURED if path.exists() and not _left_behind(path)]:
        return f"there is a SLURM already ({found[0]})"
    absent = [name for name in PROGRAMS if shutil.which(name) is None]
    return f"{', '.join(absent)} not installed" if absent else ""


def _left_behind(path: Path) -> bool:
    """Tell whether a path is the link of a cluster of ours that was killed: no daemon runs."""
    if not path.is_symlink() or path.resolve().parent != Path(tempfile.gettempdir()).resolve():
        return False
    try:
        os.kill(int((path / "slurmctld.pid").read_text()), 0)
    except (FileNotFoundError, ValueError, ProcessLookupError):
        return True
    return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait(what: str, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 300
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"waited too long until {what}")
        time.sleep(0.2)


def _ask(*command: str) -> str:
    """Return what a command prints."""
    return subprocess.run(command, capture_output=True, text=True).stdout.strip()


def start(folder: Path) -> None:
    """Start the daemons, and wait until the node takes jobs."""
    host = socket.gethostname().split(".")[0]
    for name in ("state", "spool"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    text = CONFIGURATION.format(
        host=host, folder=folder, controller_port=_free_port(), node_port=_free_port()
    )
    (folder / "slurm.conf").write_text(text)
    # A GPU must be a character device, or no job is told which one it has.
    for gpu in GPUS:
        if not gpu.exists():
            os.mknod(gpu, 0o20666, os.makedev(1, 3))
    files = "".join(f"NodeName={host} Name=gpu Type=a100 File={gpu}\n" for gpu in GPUS)
    (folder / "gres.conf").write_text(files)
    key = folder / "munge.key"
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o400)
    # An environment variable would not do: Snakemake's jobs do not inherit SLURM's.
    link = CONFIGURED[1]
    link.parent.mkdir(exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(folder)
    munge = {"socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
    options = [f"--{option}={folder}/munge.{name}" for option, name in munge.items()]
    # A folder that others may enter is refused without --force.
    commands = [
        ["munged", "--force", f"--key-file={key}", *options],
        ["slurmctld", "-f", folder / "slurm.conf"],
        ["slurmd", "-N", host, "-f", folder / "slurm.conf"],
    ]
    for command in commands:
        subprocess.run(command, check=True)
    _wait("the node is idle", lambda: _ask("sinfo", "-h", "-p", "gpu", "-o", "%t") == "idle")


def stop(folder: Path) -> None:
    """Cancel all jobs and end the daemons that `start` began."""
    _ask("scancel", "--user=root")
    _wait("no job runs", lambda: not _ask("squeue", "-h"))
    for path in (folder / f"{name}.pid" for name in ("slurmd", "slurmctld", "munge")):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            os.kill(int(path.read_text()), signal.SIGTERM)
            _wait(f"{path} is gone", lambda path=path: not path.exists())
    for path in (*GPUS, CONFIGURED[1]):
        path.unlink(missing_ok=True)


def main() -> None:
    """Start or stop."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("action", choices=["start", "stop"])
    parser.add_argument("folder", type=Path)
    args = parser.parse_args()
    if args.action == "start" and (reason := missing()):
        raise SystemExit(f"no SLURM here: {reason}")
    {"start": start, "stop": stop}[args.action](args.folder.resolve())


if __name__ == "__main__":
    main()
