from __future__ import annotations

from pathlib import Path

import pytest

from workers.isa import flags_of, isa, multiplies_bfloat16, saturates_int8

CPUINFO = "processor\t: 0\nvendor_id\t: AuthenticAMD\nflags\t\t: fpu sse2 avx2 avx512f avx512_vnni\nbogomips\t: 1\n"


def test_noteworthy_flags_are_read_sorted_and_the_rest_left_out(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text(CPUINFO)
    assert flags_of(tmp_path / "cpuinfo") == ("avx2", "avx512_vnni", "avx512f")


def test_arm_calls_its_flags_features(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nFeatures\t: fp asimd asimddp i8mm\n")
    assert flags_of(tmp_path / "cpuinfo") == ("asimd", "asimddp", "i8mm")


def test_a_system_that_does_not_tell_has_no_flags(tmp_path: Path) -> None:
    assert flags_of(tmp_path / "missing") == ()
    (tmp_path / "cpuinfo").write_text("processor\t: 0\n")
    assert flags_of(tmp_path / "cpuinfo") == ()


def test_this_machine_gives_the_same_flags_each_time() -> None:
    assert isa() == isa()


@pytest.mark.parametrize(
    ("flags", "saturates"),
    [
        (("avx2",), True),
        (("avx2", "avx512f"), True),
        ((), True),
        (("avx2", "avx512_vnni"), False),
        (("avx2", "avx_vnni"), False),
        (("amx_int8",), False),
        (("asimd",), False),
    ],
)
def test_only_x86_without_vnni_or_amx_saturates(flags: tuple[str, ...], saturates: bool) -> None:
    assert saturates_int8(flags) is saturates


@pytest.mark.parametrize(
    ("flags", "multiplies"),
    [
        (("avx2", "avx512_vnni", "avx512f"), False),
        ((), False),
        (("avx512_bf16", "avx512f"), True),
        (("amx_bf16",), True),
        (("asimd",), False),
        (("asimd", "bf16"), True),
    ],
)
def test_bfloat16_takes_instructions_of_its_own(flags: tuple[str, ...], multiplies: bool) -> None:
    assert multiplies_bfloat16(flags) is multiplies
