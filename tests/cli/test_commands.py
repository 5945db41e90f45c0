"""The smaller commands."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

import freehold as package
from freehold.cli.doctor import doctor
from freehold.cli.printing import error_lines
from freehold.errors import MissingTensor, UnknownModel
from tests.cli.conftest import REAL, Run, in_own_process


def lines_of(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def test_version(freehold: Run) -> None:
    assert freehold("version").out == f"freehold {package.__version__}\n"
    assert freehold("--version").out == f"freehold {package.__version__}\n"
    assert json.loads(freehold("version", "--json").out) == {
        "freehold": package.__version__,
        "python": platform.python_version(),
    }


def test_no_command_shows_the_help(home: Path) -> None:
    ran = in_own_process(REAL)()
    assert "Commands" in ran.out + ran.err


@pytest.mark.alone
def test_help_comes_quickly(home: Path, tmp_path: Path) -> None:
    # The second time: what a person's first command compiles, the next ones find compiled.
    environment = os.environ | {"PYTHONPYCACHEPREFIX": str(tmp_path)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    processor_time_of([*REAL, "--help"], environment)
    # The least of five: what shares the machine's cores and caches can only add.
    assert min(processor_time_of([*REAL, "--help"], environment) for _ in range(5)) < 0.3


def processor_time_of(command: list[str], environment: dict[str, str]) -> float:
    # Of this one child: other work on the machine is not what is measured.
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment) as child:
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    assert child.returncode == 0
    return used.ru_utime + used.ru_stime


def test_list_says_what_is_absent(freehold: Run) -> None:
    assert "freehold pull starter" in freehold("list").out
    row, embedder = lines_of(freehold("list", "--json").out)
    assert (embedder["name"], embedder["kind"]) == ("starter-embedder", "embedding")
    assert (row["name"], row["present"], row["licence"]) == ("starter", False, "Apache-2.0")


@pytest.mark.parametrize("command", ["pull", "rm"])
def test_unknown_model_is_status_2(freehold: Run, command: str) -> None:
    ran = freehold(command, "nonesuch")
    assert ran.status == 2
    assert "error[request.unknown_model]" in ran.err
    assert "starter" in ran.err


def test_failed_pull_is_status_1_with_a_hint(freehold: Run, home: Path) -> None:
    ran = freehold("pull", "starter", env={"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(home)})
    assert ran.status == 1
    assert "error[library.download_failed]" in ran.err
    assert "  hint:" in ran.err


def test_unwritable_home_is_told_in_one_line(freehold: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    ran = freehold("pull", "starter", env={"FREEHOLD_HOME": str(tmp_path / "file")})
    assert ran.status == 1
    assert ran.err.startswith("error[os]: ")
    assert str(tmp_path / "file") in ran.err


def test_bench_prints_one_object_a_line(scripted: Run) -> None:
    ran = scripted("bench", "model", "--prompt", "8", "--generate", "4", "--batch", "2", "--json")
    assert lines_of(ran.out) == [
        {
            "test": test,
            "prompt": prompt,
            "generate": generate,
            "batch": 2,
            "depth": 0,
            "threads": 2,
            "isa": "generic",
            "repeats": 3,
            "tokens_per_s": speed,
        }
        for test, prompt, generate, speed in (("prefill", 8, 0, 123.456), ("decode", 0, 4, 12.5))
    ]


def test_bench_leaves_out_a_test_of_no_tokens(scripted: Run) -> None:
    ran = scripted("bench", "model", "--prompt", "0", "--json")
    assert [line["test"] for line in lines_of(ran.out)] == ["decode"]


def test_bench_takes_several_values(scripted: Run) -> None:
    ran = scripted("bench", "model", "--prompt", "8,16", "--generate", "0", "--json")
    assert [line["prompt"] for line in lines_of(ran.out)] == [8, 16]


def test_bench_table(scripted: Run) -> None:
    out = scripted("bench", "model").out
    assert "prefill" in out
    assert "123.5" in out


@pytest.mark.parametrize("value", ["", "x", "-1", "1,,2", "1.5"])
def test_bench_refuses_what_is_no_count(scripted: Run, value: str) -> None:
    assert scripted("bench", "model", "--prompt", value).status == 2


def test_bench_of_nothing_is_refused(scripted: Run) -> None:
    ran = scripted("bench", "model", "--prompt", "0", "--generate", "0")
    assert ran.status == 2


def test_doctor_reports_the_machine(freehold: Run) -> None:
    report = json.loads(freehold("doctor", "--json").out)
    assert report["python"] == platform.python_version()
    assert report["core"]["isa"] in report["core"]["isa_available"]
    assert report["core"]["bandwidth_bytes_per_s"] > 1e8
    assert report["core"]["threads"] >= 1
    assert report["memory"]["available_bytes"] <= report["memory"]["total_bytes"]
    assert report["models"] == {"starter": False, "starter-embedder": False}
    assert report["settings_from"]["home"] == "environment FREEHOLD_HOME"


def test_doctor_is_readable(home: Path) -> None:
    # In a process of its own, because the number of threads is the whole process's.
    out = in_own_process(REAL)("doctor", env={"FREEHOLD_THREADS": "1"}).out
    assert "GB/s measured" in out
    assert "absent: freehold pull starter" in out
    assert "1 of " in out


def test_doctor_honours_a_forced_instruction_set(home: Path) -> None:
    run = in_own_process(REAL)
    report = json.loads(run("doctor", "--json", env={"FREEHOLD_ISA": "generic"}).out)
    assert (report["core"]["isa"], report["core"]["isa_forced"]) == ("generic", "generic")


def test_doctor_refuses_an_unknown_instruction_set(home: Path) -> None:
    ran = in_own_process(REAL)("doctor", env={"FREEHOLD_ISA": "nonesuch"})
    assert ran.status == 1
    assert "error[kernel.unsupported_isa]" in ran.err


def test_error_lines_name_what_a_person_needs() -> None:
    unknown = UnknownModel("not here", value="x", expected="y", found="z", hint="do w")
    assert error_lines(unknown) == [
        "error[request.unknown_model]: not here",
        "  value:    'x'",
        "  expected: y",
        "  found:    z",
        "  hint:     do w",
    ]
    missing = MissingTensor("not there", family="toy", tensor="head")
    assert "  where:    family toy, tensor head" in error_lines(missing)


def test_error_lines_cannot_drive_the_terminal() -> None:
    (line,) = error_lines(UnknownModel("\x1b[2Jgone"))
    assert "\x1b" not in line


def test_doctor_says_why_the_core_is_missing(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "freehold.ops", None)
    monkeypatch.delattr(package, "ops", raising=False)
    doctor()
    out = capsys.readouterr().out
    assert "missing (" in out
    assert "freehold.ops" in out
    assert "make setup" in out
