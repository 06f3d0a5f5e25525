"""Whether a scheduler lets this machine in: asked before Dask, which would try again for long."""

from __future__ import annotations

import dataclasses
import socket
import ssl
from urllib.parse import urlsplit

from deploymark.bench.errors import BadInputError, FleetError

_PORT = 8786
"""Dask's."""

_KNOCK_S = 5.0


@dataclasses.dataclass(frozen=True)
class Tls:
    """Files of the certificates that prove who is who. ``None`` of all where there is no TLS."""

    ca: str | None = None
    cert: str | None = None
    key: str | None = None


def knock(address: str, tls: Tls) -> None:
    """Raise FleetError where nobody answers at an address, or one side refuses the other.

    Raises BadInputError for an address that is none and for a certificate that cannot be read.
    """
    parts = urlsplit(address if "://" in address else f"tcp://{address}")
    try:
        host, port = parts.hostname, parts.port or _PORT
    except ValueError:
        host, port = None, 0
    if not host or parts.scheme not in ("tcp", "tls"):
        raise BadInputError(
            f"{address!r} is no address of a scheduler",
            remedy="It is as dask scheduler says: tcp://HOST:8786, or tls://HOST:8786.",
        )
    context = _context(tls) if parts.scheme == "tls" else None
    try:
        with socket.create_connection((host, port), timeout=_KNOCK_S) as connection:
            if context is not None:
                with context.wrap_socket(connection) as wrapped:
                    # Under TLS 1.3 the other side's refusal comes with what it sends first.
                    wrapped.recv(1)
    except TimeoutError as error:
        if context is None:
            raise _nobody(address, "no answer") from error
    except ssl.SSLError as error:
        raise FleetError(
            f"{address}: the certificates do not fit: {error.verify_message or error.reason}"
            if isinstance(error, ssl.SSLCertVerificationError)
            else f"{address}: the scheduler refuses: {error.reason or error}",
            remedy="Both sides need a certificate of the same authority: docs/fleet.md.",
        ) from error
    except OSError as error:
        raise _nobody(address, error.strerror or str(error)) from error


def _nobody(address: str, why: str) -> FleetError:
    return FleetError(
        f"no scheduler answers at {address}: {why}", remedy="Start one there: dask scheduler."
    )


def _context(tls: Tls) -> ssl.SSLContext:
    """As Dask's: authorities are checked, names of hosts are not."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    try:
        context.load_verify_locations(tls.ca)
        context.load_cert_chain(str(tls.cert), tls.key)
    except (OSError, ValueError) as error:
        raise BadInputError(
            f"the certificates cannot be used ({tls.ca}, {tls.cert}, {tls.key}): {error}"
        ) from error
    return context
