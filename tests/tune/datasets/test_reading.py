"""Every form is read, and every bad line is refused with its number and nothing of its text."""

from __future__ import annotations

import csv
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freehold.errors import BadDataset
from freehold.tune.datasets import Example, Preference, read_examples
from tests.tune.datasets.golden_turns import TOOLS, calls, result, says, user
from tests.tune.datasets.lines import chat, few, jsonl

SECRET = "zebra-crossing"


def read(path: Path, **form: Any) -> list[Example | Preference]:
    return list(read_examples(path, **form))


def one(tmp_path: Path, row: Any, **form: Any) -> Any:
    (found,) = read(jsonl(tmp_path / "data.jsonl", [row]), **form)
    return found


def test_chat_with_tools_reasoning_and_weights(tmp_path: Path) -> None:
    arguments = calls("Oslo")
    arguments[0]["function"]["arguments"] = '{"city": "Oslo"}'
    row = {
        "messages": [
            {"role": "system", "content": "Be short."},
            {
                "role": "user",
                "content": [{"type": "text", "text": "Oslo"}, {"type": "text", "text": "?"}],
            },
            {"role": "assistant", "content": None, "tool_calls": arguments, "weight": 0},
            result(),
            {"role": "assistant", "content": "Rain.", "reasoning": "It says so.", "refusal": None},
        ],
        "tools": list(TOOLS),
        "parallel_tool_calls": True,
        "metadata": {"from": "a desk"},
    }
    example = one(tmp_path, row)
    assert example.messages[1] == user("Oslo?")
    assert example.messages[2] == {**says("", tool_calls=calls("Oslo")), "weight": 0}
    assert example.messages[4] == says("Rain.", "It says so.")
    assert (example.line, example.turns, example.tools) == (1, [4], TOOLS)


def test_prompt_and_completion_are_a_conversation_or_plain_text(tmp_path: Path) -> None:
    row = {"prompt": "Hi", "completion": "Ho"}
    assert one(tmp_path, row).messages == (user("Hi"), says("Ho"))
    assert one(tmp_path, {**row, "system": "S"}).messages[0] == {"role": "system", "content": "S"}
    text = one(tmp_path, row, form="text")
    assert (text.before, text.text, text.messages) == ("Hi", "Ho", ())
    assert one(tmp_path, {"text": "Once."}).text == "Once."


PAIR = ((user("Hi"),), (says("good"),), (says("bad"),))


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Hi", "chosen": "good", "rejected": "bad"},
        {"prompt": [user("Hi")], "chosen": [says("good")], "rejected": [says("bad")]},
        {
            "prompt": "Hi",
            "chosen": [user("Hi"), says("good")],
            "rejected": [user("Hi"), says("bad")],
        },
        {"chosen": [user("Hi"), says("good")], "rejected": [user("Hi"), says("bad")]},
        {
            "input": {"messages": [user("Hi")], "tools": [], "parallel_tool_calls": True},
            "preferred_output": [says("good")],
            "non_preferred_output": [says("bad")],
        },
    ],
    ids=["texts", "messages", "whole beside prompt", "whole", "preferred_output"],
)
def test_every_form_of_preferences_says_the_same(tmp_path: Path, row: Any) -> None:
    pair = one(tmp_path, row)
    assert (pair.prompt, pair.chosen, pair.rejected) == PAIR
    assert [example.messages[-1] for example in pair.answers] == [says("good"), says("bad")]


def test_tables_are_read_by_a_mapping(tmp_path: Path) -> None:
    rows = [{"q": "1+1?", "a": "2", "id": "x"}, {"q": 'say "a,\nb"', "a": "b", "id": "y"}]
    table = tmp_path / "data.csv"
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["q", "a", "id"])
        writer.writeheader()
        writer.writerows(rows)
    mapping = {"prompt": "q", "completion": "a", "system": "=Answer."}
    found = read(table, mapping=mapping)
    system = {"role": "system", "content": "Answer."}
    assert [e.messages for e in found if isinstance(e, Example)] == [
        (system, user(row["q"]), says(row["a"])) for row in rows
    ]
    assert [e.line for e in found] == [2, 3]
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "data.parquet"
    parquet.write_table(arrow.Table.from_pylist(rows), path)
    assert [e.messages for e in read(path, mapping=mapping) if isinstance(e, Example)] == [
        e.messages for e in found if isinstance(e, Example)
    ]
    # A table has every key in every row.
    parquet.write_table(arrow.Table.from_pylist([chat("a", "b"), chat("c", "d", weight=0)]), path)
    with pytest.raises(BadDataset, match="line 2: nothing in it is learned"):
        read(path)


def message(**changed: Any) -> dict[str, Any]:
    return {"messages": [user(SECRET), {**says(SECRET), **changed}]}


def called(**changed: Any) -> dict[str, Any]:
    call = {**calls("Oslo")[0], **changed}
    return {"messages": [user("a"), says("", tool_calls=[call])], "tools": list(TOOLS)}


BAD: dict[str, tuple[Any, str]] = {
    "no JSON": ('{"messages": [', r"is no JSON; expected one JSON object; found .* at column"),
    "a list": ("[]", "no JSON object"),
    "a key twice": ('{"text": "a", "text": "b"}', "has a key twice"),
    "no number": ('{"text": NaN}', "is no JSON"),
    "half a character": ('{"text": "\\ud800"}', "unpaired surrogate"),
    "deep": ('{"text": ' + "[" * 100_000, "is no JSON"),
    "another form": ({"question": SECRET}, "of no form that is known"),
    "an unknown field": ({**chat("a", "b"), "source": SECRET}, "'source' is no field of this form"),
    "no messages": ({"messages": []}, "messages: is no list of messages"),
    "a text as message": ({"messages": [SECRET]}, r"messages\.0: is no message"),
    "a wrong role": ({"messages": [{"role": "human", "content": SECRET}]}, "is no role"),
    "an old function": (message(function_call={}), "function_call: has no meaning"),
    "an assistant first": ({"messages": [says(SECRET)]}, "the role is out of place"),
    "two answers": ({"messages": [user("a"), says("b"), says("c")]}, "the role is out of place"),
    "system later": (
        {"messages": [user("a"), {"role": "system", "content": SECRET}, says("b")]},
        "the role is out of place",
    ),
    "no answer": ({"messages": [user(SECRET)]}, "ends without an answer"),
    "an empty turn": (message(content="  \n"), r"messages\.1: is an empty turn"),
    "reasoning alone": (message(content="", reasoning_content=SECRET), "found reasoning alone"),
    "an empty question": ({"messages": [user(""), says("a")]}, r"messages\.0\.content: is empty"),
    "an image": (
        {"messages": [{"role": "user", "content": [{"type": "image_url"}]}, says("a")]},
        "expected parts of text; found image_url",
    ),
    "half a weight": (message(weight=0.5), "is neither 0 nor 1"),
    "nothing learned": (message(weight=0), "nothing in it is learned"),
    "a tool not offered": ({**called(), "tools": []}, "calls a tool that the line does not offer"),
    "arguments": (
        called(function={"name": "get_weather", "arguments": "{"}),
        "arguments: is no JSON object",
    ),
    "a call without id": (called(id=""), r"tool_calls\.0\.id: is missing"),
    "a result of nothing": (
        {"messages": [user("a"), result(), says("b")]},
        "answers no call",
    ),
    "a missing result": (
        {
            "messages": [user("a"), says("", tool_calls=calls("Oslo")), user("b"), says("c")],
            "tools": list(TOOLS),
        },
        "comes before the results",
    ),
    "the same answer twice": ({"prompt": "a", "chosen": "b", "rejected": "b"}, "the same"),
    "different prompts": (
        {"chosen": [user("a"), says("b")], "rejected": [user("c"), says("d")]},
        "not the same up to the last message",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_line_is_named_and_not_quoted(tmp_path: Path, kind: str) -> None:
    row, expected = BAD[kind]
    path = jsonl(tmp_path / "data.jsonl", [row])
    with pytest.raises(BadDataset, match=expected) as refusal:
        read(path)
    assert refusal.value.line == 1
    assert refusal.value.message.startswith("line 1: ")
    assert SECRET not in f"{refusal.value} {refusal.value.value}"
    assert refusal.value.expected


def test_the_line_is_the_files_own_and_reading_may_go_on(tmp_path: Path) -> None:
    rows = [chat("a", "b"), "", "{", chat("c", "d"), {"text": "other form"}]
    path = jsonl(tmp_path / "data.jsonl", rows)
    with pytest.raises(BadDataset, match="line 3"):
        read(path)
    bad: list[BadDataset] = []
    assert [one.line for one in read(path, on_bad=bad.append)] == [1, 4]
    assert [error.line for error in bad] == [3, 5]


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b'{"text": "\xff"}\n', "line 1: the line is no UTF-8"),
        (b"\n\n", "holds no example"),
        (b"PAR1 and nothing more", "no Parquet"),
        (b'{"text": "' + b"a" * (17 << 20), "too long to be one example"),
    ],
)
def test_bytes_that_are_no_lines(tmp_path: Path, raw: bytes, expected: str) -> None:
    path = tmp_path / "data.jsonl"
    path.write_bytes(raw)
    if raw.startswith(b"PAR1"):
        pytest.importorskip("pyarrow")
    with pytest.raises(BadDataset, match=expected):
        read(path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a,b\n1\n", "line 2: the row has another number of cells"),
        ("a,a\n1,2\n", "does not name the columns"),
        ('prompt,completion\n"a,b\n', "is no CSV"),
        ("prompt,completion\na,\n", "line 2: completion: is no text"),
        ("a,b\n1,2\n", "line 2: there is no column 'c' for prompt"),
    ],
)
def test_tables_that_are_none(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "data.csv"
    path.write_text(text)
    mapping = (
        {"prompt": "c", "completion": "b"} if "column" in expected and "'c'" in expected else None
    )
    with pytest.raises(BadDataset, match=expected):
        read(path, mapping=mapping)


def test_a_byte_order_mark_and_windows_lines_are_no_error(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "data.jsonl", few(3))
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert len(read(path)) == 3


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(tmp_path_factory: Any, raw: bytes) -> None:
    path = tmp_path_factory.mktemp("any") / "data.jsonl"
    path.write_bytes(raw)
    with suppress(BadDataset):
        read(path)
