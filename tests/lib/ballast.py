"""What integration tests, faults, bench and demo share: one name for all of it.

    env.py     Env (folder, clean-up), Skip, wait_for     hosts.py   hosts in namespaces, policyd, certificates, links
    qemu.py    QEMU and guest by hand, QMP, Agent         worker.py  policyd-migrate by hand
    beats.py   heartbeats across hosts                    runfile.py runs one test file (started by tests/run.py)"""
from beats import ARRIVAL_MS, Beat, Gap, Heartbeats, Move, Report  # noqa: F401
from env import Env, Skip, Timeout, alive, end_process, processes_naming, wait_for  # noqa: F401
from hosts import CommandFailed, Group, Host, certificate, cfg_text, merged, sh  # noqa: F401
from qemu import CMDLINE, MACHINE, MIB, Agent, AgentError, Qemu, Qmp, QmpError, connect  # noqa: F401
from worker import Worker, start_line  # noqa: F401
