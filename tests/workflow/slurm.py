"""A real SLURM of one node on loopback with two pretended GPUs, for tests; needs root and Debian's packages."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "squeue", "scancel")
ETC = Path("/etc/slurm")
MARK = "# one-node SLURM of the tests of LDDM"
CONF = """{mark}
ClusterName=local
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
SlurmctldPort=16817
SlurmdPort=16818
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool
SlurmctldPidFile={root}/slurmctld.pid
SlurmdPidFile={root}/slurmd.pid
SlurmctldLogFile={root}/slurmctld.log
SlurmdLogFile={root}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu
ReturnToService=2
KillWait=5
MinJobAge=600
SlurmdTimeout=15
SchedulerParameters=batch_sched_delay=0
SlurmdParameters=config_overrides
NodeName={host} NodeAddr=127.0.0.1 CPUs=16 RealMemory=64000 Gres=gpu:2 State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""
GRES = "{mark}\nNodeName={host} Name=gpu File=/dev/null\nNodeName={host} Name=gpu File=/dev/zero\n"


def why_not() -> str | None:
    """Why this machine cannot run it, or None. A machine that belongs to a cluster is left alone."""
    if os.geteuid() != 0:
        return "needs root, to start SLURM's daemons"
    missing = [name for name in PROGRAMS if not _which(name)]
    if missing:
        return f"{missing[0]} is not installed (apt-get install slurm-wlm munge)"
    conf = ETC / "slurm.conf"
    if conf.exists() and not conf.read_text().startswith(MARK):
        return f"{conf} belongs to a real SLURM"
    return None


def _which(name: str) -> str | None:
    return shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin:/usr/local/sbin")


@dataclass
class OneNode:
    """The running cluster; its state lies in `root`."""

    root: Path

    def start(self) -> None:
        """Write the configuration and start all daemons."""
        host = subprocess.run(["hostname", "-s"], capture_output=True, text=True, check=True).stdout.strip()
        ETC.mkdir(exist_ok=True)
        for folder in ("state", "spool"):
            (self.root / folder).mkdir(parents=True, exist_ok=True)
        (ETC / "slurm.conf").write_text(CONF.format(mark=MARK, host=host, root=self.root))
        (ETC / "gres.conf").write_text(GRES.format(mark=MARK, host=host))
        if subprocess.run(["pgrep", "-x", "munged"], capture_output=True).returncode != 0:
            Path("/run/munge").mkdir(exist_ok=True)
            shutil.chown("/run/munge", "munge", "munge")
            subprocess.run(["su", "-s", "/bin/sh", "munge", "-c", _which("munged")], check=True)
        subprocess.run([_which("slurmctld"), "-c"], check=True)
        self.start_node()

    def start_node(self) -> None:
        """Start slurmd and wait until the node takes jobs."""
        subprocess.run([_which("slurmd")], check=True)
        deadline = time.monotonic() + 60
        while "idle" not in (state := self.output("sinfo", "-h", "-o", "%T")) and "mixed" not in state:
            assert time.monotonic() < deadline, (
                f"the node is {state!r}: {(self.root / 'slurmd.log').read_text()[-2000:]}"
            )
            time.sleep(0.2)

    def kill_node(self) -> None:
        """As if the node lost power: its daemon, its steps and their processes are gone at once."""
        pid = int((self.root / "slurmd.pid").read_text())
        os.kill(pid, signal.SIGKILL)
        for job in self.output("squeue", "-h", "-t", "R", "-o", "%A").split():
            pids = subprocess.run(["pgrep", "-f", f"slurmstepd: \\[{job}[.]"], capture_output=True, text=True).stdout
            for step in map(int, pids.split()):
                for process in [*_descendants(step), step]:
                    with contextlib.suppress(ProcessLookupError):  # it may end between being listed and being killed
                        os.kill(process, signal.SIGKILL)

    def stop(self) -> None:
        """Cancel what runs, stop the daemons and remove the configuration."""
        subprocess.run(["scancel", "--user", "root"], capture_output=True)
        deadline = time.monotonic() + 30
        while self.output("squeue", "-h") and time.monotonic() < deadline:  # steps outlive daemons that go first
            time.sleep(0.5)
        for name in ("slurmd", "slurmctld"):
            subprocess.run(["pkill", "-x", name], capture_output=True)
        for name in ("slurm.conf", "gres.conf"):
            if (ETC / name).exists() and (ETC / name).read_text().startswith(MARK):
                (ETC / name).unlink()

    def output(self, *command: str) -> str:
        """What a command of SLURM says."""
        return subprocess.run(command, capture_output=True, text=True).stdout.strip()


def _descendants(pid: int) -> list[int]:
    """Processes below a process, the lowest first."""
    children = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True).stdout.split()
    return [low for child in map(int, children) for low in [*_descendants(child), child]]
