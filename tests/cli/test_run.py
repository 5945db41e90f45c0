"""`freehold run`: what reaches the model, what reaches the terminal, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from freehold.library import entry_named
from tests.cli.conftest import ROOT, SCRIPTED, Run, in_own_process
from tests.waiting import soon

STATS = "prompt 7 tokens 100.0 tok/s · generated {} tokens 50.0 tok/s"


def test_answer_goes_to_stdout_and_speed_to_stderr(scripted: Run) -> None:
    ran = scripted("run", "model", "hello", env={"FREEHOLD_SCRIPT": "Good| day"})
    assert (ran.status, ran.out) == (0, "Good day\n")
    assert ran.err.splitlines()[-1] == STATS.format(2)


def test_one_token_has_no_rate(scripted: Run) -> None:
    ran = scripted("run", "model", "hello", env={"FREEHOLD_SCRIPT": "Good"})
    assert ran.err == "prompt 7 tokens 100.0 tok/s · generated 1 tokens\n"


def test_flags_reach_the_model(scripted: Run) -> None:
    ran = scripted(
        *("run", "model", "hello", "--system", "Be brief.", "--temperature", "0.5"),
        *("--seed", "7", "--context", "32", "--threads", "1"),
    )
    asked = json.loads(ran.out)
    assert asked == {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "hello"},
        ],
        "temperature": 0.5,
        "seed": 7,
        "context_tokens": 32,
        "threads": 1,
    }


@pytest.mark.parametrize("raw", [[], ["--raw"]], ids=["chat", "raw"])
def test_an_adapter_is_loaded_and_answers(scripted: Run, raw: list[str]) -> None:
    asked = json.loads(scripted("run", "model", "hello", "--adapter", "some/place", *raw).out)
    assert asked["adapter"] == "some/place"


def test_a_name_of_the_catalogue_brings_its_system_message(scripted: Run) -> None:
    first = json.loads(scripted("run", "starter", "hello").out)["messages"][0]
    assert first == {"role": "system", "content": entry_named("starter").system}


def test_an_empty_system_message_leaves_it_to_the_model(scripted: Run) -> None:
    asked = json.loads(scripted("run", "starter", "hello", "--system", "").out)
    assert [message["role"] for message in asked["messages"]] == ["user"]


def test_environment_reaches_the_model_where_no_flag_is_given(scripted: Run) -> None:
    ran = scripted("run", "model", "hello", env={"FREEHOLD_THREADS": "2"})
    assert json.loads(ran.out)["threads"] == 2


def test_raw_skips_the_template(scripted: Run) -> None:
    assert json.loads(scripted("run", "model", "Once", "--raw").out)["raw"] == "Once"


@pytest.mark.parametrize("args", [["-"], []], ids=["dash", "pipe"])
@pytest.mark.parametrize(
    ("given", "prompt"),
    [("zwölf\n", "zwölf"), ("zwölf\r\n", "zwölf"), ("zwölf", "zwölf"), ("a\n b \n\n", "a\n b \n")],
)
def test_prompt_from_stdin_is_all_but_its_last_line_end(
    scripted: Run, args: list[str], given: str, prompt: str
) -> None:
    ran = scripted("run", "model", *args, stdin=given.encode())
    assert json.loads(ran.out)["messages"][-1]["content"] == prompt


def test_json_is_one_object_with_the_whole_answer(scripted: Run) -> None:
    ran = scripted("run", "model", "hi", "--json", env={"FREEHOLD_SCRIPT": "Good| day"})
    assert json.loads(ran.out) == {
        "model": "scripted",
        "text": "Good day",
        "finish_reason": "stop",
        "prompt_tokens": 7,
        "generated_tokens": 2,
        "prompt_tokens_per_s": 100.0,
        "generated_tokens_per_s": 50.0,
        "sampling": {
            "temperature": {"value": 0.0, "from": "default"},
            "top_k": {"value": 0, "from": "default"},
            "top_p": {"value": 1.0, "from": "default"},
            "min_p": {"value": 0.0, "from": "default"},
            "repetition_penalty": {"value": 1.0, "from": "default"},
            "seed": {"value": None, "from": "default"},
        },
    }
    assert ran.out.count("\n") == 1


def test_a_flag_wins_over_the_model_s_files_and_these_over_the_default(scripted: Run) -> None:
    env = {"FREEHOLD_SCRIPT_SUGGESTED": '{"temperature": 0.7, "top_k": 20}'}
    ran = scripted("run", "model", "hi", "--top-k", "5", "--json", env=env)
    drawn = json.loads(ran.out)["sampling"]
    assert drawn["temperature"] == {"value": 0.7, "from": "model"}
    assert drawn["top_k"] == {"value": 5, "from": "flag"}
    assert drawn["top_p"] == {"value": 1.0, "from": "default"}
    assert json.loads(json.loads(ran.out)["text"])["temperature"] == 0.7
    env["FREEHOLD_GENERATION_CONFIG"] = "none"
    ran = scripted("run", "model", "hi", "--json", env=env)
    assert json.loads(ran.out)["sampling"]["temperature"] == {"value": 0.0, "from": "default"}


def test_length_limit_is_told(scripted: Run) -> None:
    ran = scripted("run", "model", "hi", "--max-tokens", "1", env={"FREEHOLD_SCRIPT": "a|b"})
    assert (ran.status, ran.out) == (0, "a\n")
    assert "length limit" in ran.err


@pytest.mark.parametrize(
    ("args", "stdin", "code"),
    [
        (["run", "model", " "], b"", "request.bad_prompt"),
        (["run", "model"], b"", "request.bad_prompt"),
        (["run", "model"], b"\xff\xfe", "request.bad_prompt"),
        (["run", "missing", "hi"], b"", "request.unknown_model"),
        (["run", "model", "x" * 500], b"", "request.prompt_too_long"),
        (["run", "model", "hi", "--temperature", "-1"], b"", "request.bad_sampling"),
        (["run", "model", "hi", "--top-p", "7"], b"", "request.bad_sampling"),
    ],
)
def test_wrong_request_ends_with_status_2_and_its_code(
    scripted: Run, args: list[str], stdin: bytes, code: str
) -> None:
    ran = scripted(*args, stdin=stdin)
    assert ran.status == 2
    assert ran.out == ""
    first, *rest = ran.err.splitlines()
    assert first.startswith(f"error[{code}]: ")
    assert any(line.startswith("  expected:") for line in rest)
    assert "xxxx" not in ran.err, "an error never quotes the prompt"


@pytest.mark.parametrize(
    "args",
    [
        ["run"],
        ["run", "model", "hi", "--max-tokens", "0"],
        ["run", "model", "hi", "--threads", "none"],
        ["run", "model", "hi", "--nonesuch"],
        ["run", "model", "two", "prompts"],
        ["nonesuch"],
    ],
)
def test_wrong_usage_ends_with_status_2(scripted: Run, args: list[str]) -> None:
    ran = scripted(*args)
    assert ran.status == 2
    assert "Error" in ran.err


def test_bad_setting_ends_with_status_2(scripted: Run) -> None:
    ran = scripted("run", "model", "hi", env={"FREEHOLD_CONTEXT": "many"})
    assert ran.status == 2
    assert "error[setup.bad_setting]" in ran.err
    assert "FREEHOLD_CONTEXT" in ran.err


def test_a_bug_is_two_lines_and_never_quotes_the_prompt(home: Path) -> None:
    ran = in_own_process(SCRIPTED)("run", "broken", "hi")
    assert ran.status == 1
    assert ran.err.startswith("error[internal]: ZeroDivisionError in __main__:")
    assert "FREEHOLD_DEBUG=1" in ran.err
    assert "secret" not in ran.err


def test_debug_shows_the_traceback(home: Path) -> None:
    ran = in_own_process(SCRIPTED)("run", "broken", "hi", env={"FREEHOLD_DEBUG": "1"})
    assert ran.status == 1
    assert "Traceback" in ran.err


def test_piped_answer_keeps_its_control_characters(scripted: Run) -> None:
    ran = scripted("run", "model", "hi", env={"FREEHOLD_SCRIPT": "\x1b[31mred"})
    assert ran.out == "\x1b[31mred\n"


def test_reader_that_leaves_early_hears_nothing_more(home: Path) -> None:
    env = {**os.environ, "FREEHOLD_SCRIPT": "|".join(["piece "] * 2000)}
    env["FREEHOLD_SCRIPT_PAUSE"] = "0.001"
    process = subprocess.Popen(
        [*SCRIPTED, "run", "model", "hi"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        env=env,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.read(6)
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=30) == 1
    assert err == b""


def started(env: dict[str, str]) -> subprocess.Popen[bytes]:
    """A run of many slow pieces, once its first piece is out."""
    slow = {"FREEHOLD_SCRIPT": "|".join(["piece "] * 500), "FREEHOLD_SCRIPT_PAUSE": "0.02"}
    process = subprocess.Popen(
        [*SCRIPTED, "run", "model", "hi"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, **slow, **env},
    )
    assert process.stdout is not None
    process.stdout.read(6)
    return process


def test_first_interrupt_keeps_the_partial_answer(home: Path) -> None:
    process = started({})
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert out.endswith(b"\n")
    assert err.decode().splitlines()[-1].endswith("· interrupted")
    assert b"Traceback" not in err


def test_second_interrupt_leaves_at_once(home: Path, tmp_path: Path) -> None:
    process = started({"FREEHOLD_SCRIPT_STUBBORN": str(tmp_path / "first")})
    process.send_signal(signal.SIGINT)
    soon((tmp_path / "first").exists)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert b"Traceback" not in err
    assert b"tok/s" not in err
