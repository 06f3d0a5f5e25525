"""A backend whose runtime computes with OpenMP: how its threads wait is an option."""

from __future__ import annotations

from collections.abc import Mapping

from deploymark.backends import base, waiting


class OpenMpBackend(base.Backend):
    """It has the runtime option ``wait`` on the CPU; see ``waiting``."""

    giving_way = waiting.GIVING_WAY

    def runtime_choices(self, options: base.LoadOptions) -> Mapping[str, tuple[base.Setting, ...]]:
        """``wait``, on the CPU."""
        return {"wait": waiting.CHOICES} if options.device == "cpu" else {}

    def runtime_environment(self, settings: Mapping[str, base.Setting]) -> Mapping[str, str]:
        """Variables that ``wait`` comes to."""
        return waiting.ENVIRONMENT[str(settings.get("wait", "default"))]
