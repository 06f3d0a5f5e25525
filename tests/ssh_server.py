"""An SSH server on the loopback, for tests: ``python ssh_server.py FOLDER``.

Its users live in FOLDER/home. It prints what a ``hosts.yaml`` says of it, and ends with its
standard input.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import asyncssh


class Server(asyncssh.SSHServer):
    """Lets everybody in who has the key, and forwards ports."""

    def begin_auth(self, username: str) -> bool:
        return True

    def connection_requested(self, *_: Any) -> bool:
        return True

    def server_requested(self, *_: Any) -> bool:
        return True


async def serve(folder: Path) -> None:
    home = folder / "home"
    home.mkdir()
    host_key, user_key = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))
    user_key.write_private_key(str(folder / "id"))

    async def handle(process: Any) -> None:
        child = await asyncio.create_subprocess_shell(
            process.command,
            cwd=home,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        await process.redirect(stdin=child.stdin, stdout=child.stdout, stderr=child.stderr)
        process.exit(await child.wait())

    server = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_factory=Server,
        server_host_keys=[host_key],
        authorized_client_keys=asyncssh.import_authorized_keys(
            user_key.export_public_key().decode()
        ),
        process_factory=handle,
        sftp_factory=lambda channel: asyncssh.SFTPServer(channel, chroot=str(home)),
    )
    port = server.get_port()
    (folder / "known").write_text(f"[127.0.0.1]:{port} {host_key.export_public_key().decode()}")
    told = {
        "address": "127.0.0.1",
        "port": port,
        "key": str(folder / "id"),
        "known_hosts": str(folder / "known"),
        "home": str(home),
    }
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
