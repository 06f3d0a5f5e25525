"""What a backend can do here: an answer for each device and precision."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence


@dataclasses.dataclass(frozen=True)
class Service:
    """Whether one precision is served on one device, here.

    ``native`` is False where the runtime accepts the precision but this machine's hardware computes
    it in another one; ``reason`` then says so, and it says why where ``served`` is False.
    ``exists`` is False where no machine could serve it (the cell is then ``unsupported``, otherwise
    ``unavailable``).
    """

    served: bool
    native: bool = True
    exists: bool = True
    reason: str = ""
    remedy: str = ""

    @classmethod
    def never(cls, reason: str, remedy: str = "") -> Service:
        """One that no machine could serve."""
        return cls(served=False, exists=False, reason=reason, remedy=remedy)


@dataclasses.dataclass(frozen=True)
class Probe:
    """What a backend can do in this interpreter on this machine, found without heavy imports.

    ``services`` is keyed by (device, precision). ``can_export`` is False where the runtime is there
    but the exporter's packages are not; ``reason`` and ``remedy`` tell what is missing.
    """

    backend: str
    installed: bool
    version: str | None = None
    can_export: bool = False
    services: Mapping[tuple[str, str], Service] = dataclasses.field(default_factory=dict)
    reason: str = ""
    remedy: str = ""

    @classmethod
    def absent(cls, backend: str, remedy: str) -> Probe:
        """The probe of a backend whose runtime is not installed."""
        return cls(backend, installed=False, reason="not installed", remedy=remedy)

    @classmethod
    def present(
        cls,
        backend: str,
        version: str | None,
        services: Mapping[tuple[str, str], Service],
        *,
        missing: Sequence[str] = (),
        remedy: str = "",
    ) -> Probe:
        """The probe of a backend whose runtime is installed.

        ``missing`` are the packages that its exporter lacks, ``remedy`` is what installs them.
        """
        return cls(
            backend,
            installed=True,
            version=version,
            can_export=not missing,
            services=services,
            reason=f"cannot export without {', '.join(missing)}" if missing else "",
            remedy=remedy if missing else "",
        )

    @property
    def devices(self) -> tuple[str, ...]:
        """Devices in the order the backend lists them."""
        return tuple(dict.fromkeys(device for device, _ in self.services))

    def service(self, device: str, precision: str) -> Service:
        """What is known of one device and precision; not served where nothing is."""
        known = self.services.get((device, precision))
        if known is not None:
            return known
        if device not in self.devices and self.devices:
            return Service(
                served=False,
                reason=f"{self.backend} has no {device!r} here, only {', '.join(self.devices)}",
            )
        return Service(
            served=False, exists=False, reason=f"{self.backend} has no {precision} on {device}"
        )
