from __future__ import annotations

import platform
from pathlib import Path

import pytest

from deploymark.backends.hardware import cpu

INTEL_XEON = """\
processor\t: 0
vendor_id\t: GenuineIntel
cpu family\t: 6
model\t\t: 143
model name\t: Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz
flags\t\t: fpu sse4_2 avx f16c avx2 avx512f avx512bw avx_vnni avx512_bf16 avx512vbmi avx512_vnni \
amx_bf16 avx512_fp16 amx_tile amx_int8
bugs\t\t: spectre_v1 spectre_v2

processor\t: 1
vendor_id\t: GenuineIntel
cpu family\t: 6
model\t\t: 143
model name\t: Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz
flags\t\t: fpu sse4_2 avx f16c avx2 avx512f avx512bw avx_vnni avx512_bf16 avx512vbmi avx512_vnni \
amx_bf16 avx512_fp16 amx_tile amx_int8
bugs\t\t: spectre_v1 spectre_v2
"""

AMD_EPYC = """\
processor\t: 0
vendor_id\t: AuthenticAMD
cpu family\t: 25
model\t\t: 1
model name\t: AMD EPYC
stepping\t: 1
flags\t\t: fpu vme sse sse2 ssse3 fma sse4_1 sse4_2 avx f16c avx2 bmi2 sha_ni vaes vpclmulqdq
"""

RASPBERRY_PI_5 = """\
processor\t: 0
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc \
dcpop asimddp
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x4
CPU part\t: 0xd0b
CPU revision\t: 1

Revision\t: c04170
Serial\t\t: 0000000000000000
Model\t\t: Raspberry Pi 5 Model B Rev 1.0
"""

RASPBERRY_PI_4 = """\
processor\t: 0
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm crc32 cpuid
CPU implementer\t: 0x41
CPU part\t: 0xd08

Model\t\t: Raspberry Pi 4 Model B Rev 1.4
"""

GRAVITON_3 = """\
processor\t: 0
BogoMIPS\t: 2100.00
Features\t: fp asimd fphp asimdhp cpuid asimdrdm asimddp sve asimdfhm svebf16 i8mm bf16 dgh
CPU implementer\t: 0x41
CPU part\t: 0xd40
"""

BIG_LITTLE = """\
processor\t: 0
Features\t: fp asimd asimddp
CPU implementer\t: 0x41
CPU part\t: 0xd03

processor\t: 1
Features\t: fp asimd asimdhp asimddp
CPU implementer\t: 0x41
CPU part\t: 0xd0b
"""

APPLE_M2 = """\
machdep.cpu.brand_string: Apple M2
hw.optional.arm.FEAT_BF16: 1
hw.optional.arm.FEAT_DotProd: 1
hw.optional.arm.FEAT_FP16: 1
hw.optional.arm.FEAT_I8MM: 1
hw.optional.arm.FEAT_SME: 0
hw.optional.floatingpoint: 1
"""


@pytest.mark.parametrize(
    ("text", "machine", "model", "int8_dot", "bf16", "fp16"),
    [
        (
            INTEL_XEON,
            "x86_64",
            "Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz",
            True,
            True,
            True,
        ),
        (AMD_EPYC, "x86_64", "AMD EPYC", False, False, False),
        (RASPBERRY_PI_5, "aarch64", "Arm Cortex-A76", True, False, True),
        (RASPBERRY_PI_4, "aarch64", "Arm Cortex-A72", False, False, False),
        (GRAVITON_3, "aarch64", "Arm Neoverse-V1", True, True, True),
    ],
)
def test_cpuinfo_tells_model_and_native_types(
    text: str, machine: str, model: str, *, int8_dot: bool, bf16: bool, fp16: bool
) -> None:
    found = cpu.parse_cpuinfo(text, machine)
    assert found.model == model
    assert (found.has_int8_dot, found.has_bf16, found.has_fp16) == (int8_dot, bf16, fp16)
    assert found.is_x86 is (machine == "x86_64")


def test_flags_of_all_cores_are_the_cpus() -> None:
    found = cpu.parse_cpuinfo(BIG_LITTLE, "aarch64")
    assert found.features == {"fp", "asimd", "asimddp"}
    assert found.model == "Arm Cortex-A53 + Arm Cortex-A76"


def test_an_unknown_arm_part_is_named_by_its_board() -> None:
    text = RASPBERRY_PI_5.replace("0xd0b", "0xfff")
    assert cpu.parse_cpuinfo(text, "aarch64").model == "Raspberry Pi 5 Model B Rev 1.0"


def test_nothing_known_is_the_machine_with_no_features() -> None:
    found = cpu.parse_cpuinfo("", "riscv64")
    assert found == cpu.Cpu(model="riscv64", architecture="riscv64")


def test_sysctl_gives_linux_names() -> None:
    found = cpu.parse_sysctl(APPLE_M2, "arm64")
    assert found.model == "Apple M2"
    assert found.features == {"asimddp", "asimdhp", "bf16", "i8mm"}
    assert found.has_fp16
    assert found.has_int8_dot


@pytest.mark.parametrize(
    ("machine", "name"),
    [("AMD64", "x86_64"), ("x86_64", "x86_64"), ("aarch64", "arm64"), ("riscv64", "riscv64")],
)
def test_an_instruction_set_has_one_name(machine: str, name: str) -> None:
    assert cpu.architecture(machine) == name


def test_this_machine_has_a_cpu() -> None:
    found = cpu.detect()
    assert found.model
    assert found.architecture == cpu.architecture(platform.machine())
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        text = cpuinfo.read_text(encoding="utf-8")
        assert found.features
        assert all(feature in text for feature in found.features)


def test_a_failing_system_call_leaves_the_features_empty(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*arguments: object, **named: object) -> str:
        raise OSError("no sysctl")

    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    monkeypatch.setattr(cpu.subprocess, "run", fail)
    assert cpu.detect.__wrapped__().features == frozenset()
