"""The CPU's model and the instructions that decide which precisions are native on it.

Feature names are those of Linux (``/proc/cpuinfo``) on every system: ``avx512_vnni``,
``amx_bf16``, ``asimddp`` (Arm's dot product), ``asimdhp`` (Arm's half precision) and so on.
"""

from __future__ import annotations

import dataclasses
import functools
import platform
import subprocess
from pathlib import Path

APPLE_FEATURES = {
    "hw.optional.arm.FEAT_DotProd": "asimddp",
    "hw.optional.arm.FEAT_FP16": "asimdhp",
    "hw.optional.arm.FEAT_BF16": "bf16",
    "hw.optional.arm.FEAT_I8MM": "i8mm",
    "hw.optional.arm.FEAT_SME": "sme",
    "hw.optional.avx2_0": "avx2",
    "hw.optional.avx512f": "avx512f",
    "hw.optional.avx512vnni": "avx512_vnni",
    "hw.optional.avx512bf16": "avx512_bf16",
}
"""macOS's ``sysctl`` keys and the Linux names of the same features."""

ARM_PARTS = {
    ("0x41", "0xd03"): "Arm Cortex-A53",
    ("0x41", "0xd08"): "Arm Cortex-A72",
    ("0x41", "0xd0b"): "Arm Cortex-A76",
    ("0x41", "0xd0c"): "Arm Neoverse-N1",
    ("0x41", "0xd40"): "Arm Neoverse-V1",
    ("0x41", "0xd42"): "Arm Cortex-A78AE",
    ("0x41", "0xd49"): "Arm Neoverse-N2",
    ("0x41", "0xd4f"): "Arm Neoverse-V2",
}
"""(implementer, part) of Arm CPUs common in detectors' devices: Linux gives no model name there
(``util-linux``, ``lscpu-arm.c``)."""


@dataclasses.dataclass(frozen=True)
class Cpu:
    """A CPU as the runtimes see it.

    ``architecture`` is ``x86_64``, ``arm64`` or what the system calls it. ``features`` is empty
    where the system does not tell (Windows).
    """

    model: str
    architecture: str
    features: frozenset[str] = frozenset()

    @property
    def is_x86(self) -> bool:
        """True on 64-bit Intel and AMD CPUs."""
        return self.architecture == "x86_64"

    @property
    def has_int8_dot(self) -> bool:
        """True where 8-bit products accumulate in 32 bits without saturating in between.

        x86: VNNI or AMX; before them ``vpmaddubsw`` adds two products in 16 saturating bits.
        Arm: the dot product or the matrix multiply.
        """
        return bool(self.features & {"avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm"})

    @property
    def has_bf16(self) -> bool:
        """True where bfloat16 products are instructions."""
        return bool(self.features & {"avx512_bf16", "amx_bf16", "bf16"})

    @property
    def has_fp16(self) -> bool:
        """True where half precision arithmetic is instructions (F16C only converts)."""
        return bool(self.features & {"avx512_fp16", "amx_fp16", "asimdhp"})


def architecture(machine: str) -> str:
    """One name for each instruction set: ``x86_64``, ``arm64``, else ``machine`` in lower case."""
    name = machine.lower()
    return {"amd64": "x86_64", "aarch64": "arm64"}.get(name, name)


def parse_cpuinfo(text: str, machine: str) -> Cpu:
    """Read the text of Linux's ``/proc/cpuinfo``.

    On CPUs with several kinds of cores (big.LITTLE) only features common to all of them count, as
    the kernel may run a thread on any; the model is the first one's.
    """
    cores: list[dict[str, str]] = []
    board = ""
    for block in text.split("\n\n"):
        fields = {}
        for line in block.splitlines():
            key, colon, value = line.partition(":")
            if colon:
                fields[key.strip().lower()] = value.strip()
        if "processor" in fields:
            cores.append(fields)
        else:  # boards describe themselves after the last core
            board = fields.get("model", board)
    flags = [set((core.get("flags") or core.get("features") or "").split()) for core in cores]
    features = frozenset(set.intersection(*flags)) if flags else frozenset[str]()
    model = next((core["model name"] for core in cores if core.get("model name")), "")
    if not model:
        parts = [(core.get("cpu implementer", ""), core.get("cpu part", "")) for core in cores]
        known = list(dict.fromkeys(ARM_PARTS[part] for part in parts if part in ARM_PARTS))
        model = " + ".join(known) or board
    return Cpu(model=model or machine, architecture=architecture(machine), features=features)


def parse_sysctl(text: str, machine: str) -> Cpu:
    """Read what macOS's ``sysctl machdep.cpu.brand_string hw.optional`` prints."""
    values = dict(line.split(": ", 1) for line in text.splitlines() if ": " in line)
    features = frozenset(name for key, name in APPLE_FEATURES.items() if values.get(key) == "1")
    model = values.get("machdep.cpu.brand_string", machine)
    return Cpu(model=model, architecture=architecture(machine), features=features)


@functools.cache
def detect() -> Cpu:
    """The CPU of this machine. Never raises: what cannot be read stays empty."""
    machine = platform.machine()
    fallback = Cpu(model=platform.processor() or machine, architecture=architecture(machine))
    try:
        if platform.system() == "Linux":
            return parse_cpuinfo(Path("/proc/cpuinfo").read_text(encoding="utf-8"), machine)
        if platform.system() == "Darwin":
            command = ["/usr/sbin/sysctl", "machdep.cpu.brand_string", "hw.optional"]
            done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
            return parse_sysctl(done.stdout, machine)
    except (OSError, UnicodeDecodeError, subprocess.SubprocessError):
        return fallback
    return fallback
