"""What is read of /proc/cpuinfo."""

import platform

import pytest

from tiednmt import processor

EPYC = """processor\t: 0
vendor_id\t: AuthenticAMD
model name\t: AMD EPYC
flags\t\t: fpu sse2

processor\t: 1
vendor_id\t: GenuineIntel
model name\t: another
"""


@pytest.mark.parametrize(
    ("text", "amd", "name"),
    [
        (EPYC, True, "AMD EPYC"),
        (EPYC.replace("AuthenticAMD", "GenuineIntel"), False, "AMD EPYC"),
        ("CPU implementer\t: 0x41\n", False, platform.processor() or platform.machine()),
        (None, False, platform.processor() or platform.machine()),
    ],
)
def test_the_first_core_is_read(text, amd, name, tmp_path, monkeypatch):
    path = tmp_path / "cpuinfo"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    monkeypatch.setattr(processor, "_CPUINFO", path)
    assert processor.is_amd() is amd
    assert processor.processor_name() == name
