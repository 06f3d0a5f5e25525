"""What keeps a command alive on a device that was reached over SSH, and no longer than wanted.

Python 3.10 and the standard library alone: it is sent as a program (``python -c``), reads one line
of JSON and runs the command that it names. The end of standard input, which comes with that of the
connection however it ends, ends the command. A Dask worker leaves when it loses its scheduler for
long; ``again`` starts it anew.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

_PAUSE_S = 2.0
_GRACE_S = 20.0


def free_port() -> int:
    """A port of the loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def keep(line: str) -> int:
    """Run the command of a line of JSON until it ends, or standard input does; its exit code."""
    told = json.loads(line)
    folder = Path(told["folder"]).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, **told["environment"], "DEPLOYMARK_CACHE": str(folder / "cache")}
    over = threading.Event()

    def watch() -> None:
        sys.stdin.read()
        over.set()

    threading.Thread(target=watch, daemon=True).start()
    while True:
        process = subprocess.Popen(
            told["command"],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        while process.poll() is None and not over.wait(0.2):
            pass
        if process.poll() is None:
            _end(process)
        if over.is_set() or not told["again"]:
            return int(process.returncode)
        time.sleep(_PAUSE_S)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask it to end, and kill what is left of it."""
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(_GRACE_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


if __name__ == "__main__":
    sys.stdout.write(f"{free_port()}\n")
    sys.stdout.flush()
    sys.exit(keep(sys.stdin.readline()))
