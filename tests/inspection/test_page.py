"""The page is one file: nothing of a model's becomes markup, nothing is fetched, nothing fails."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

from freehold.inspection import (
    compare_models,
    comparison_page,
    inspect_model,
    lens_of,
    page_of,
)
from freehold.inspection.page.markup import tag, text
from freehold.inspection.page.style import SCRIPT
from tests.loading.small import Checkpoint, small

HOSTILE = (
    "</title></style><script>alert(1)</script><img src=http://evil.example/x onerror=alert(2)>"
)
VOID = {"meta", "input", "br", "img"}


class Reader(HTMLParser):
    """What a page has: its elements with their attributes, its scripts, whether tags match."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((name, dict(attributes)))
        if name not in VOID:
            self.open.append(name)

    def handle_endtag(self, name: str) -> None:
        assert self.open.pop() == name

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)


def hostile() -> Checkpoint:
    checkpoint = small()
    checkpoint.keys["general.name"] = HOSTILE
    checkpoint.keys["general.description"] = HOSTILE + "\u202e\x1b[2J"
    checkpoint.keys[f"x.{HOSTILE}"] = [HOSTILE, HOSTILE]
    checkpoint.keys["tokenizer.chat_template"] = "{{ messages[0].content }}" + HOSTILE
    checkpoint.reshape(f"blk.0.{HOSTILE}", 4, 32)
    return checkpoint


def page(tmp_path: Path, checkpoint: Checkpoint) -> str:
    path = checkpoint.write(tmp_path / "model.gguf")
    return page_of(inspect_model(path, home=tmp_path / "home"), version="0")


def read(written: str) -> Reader:
    reader = Reader()
    reader.feed(written)
    reader.close()
    assert reader.open == []
    return reader


def assert_keeps_to_itself(written: str) -> None:
    reader = read(written)
    assert reader.scripts == [SCRIPT]
    for name, attributes in reader.elements:
        assert name not in {"link", "iframe", "object", "embed", "base", "form", "image", "use"}
        assert not [key for key in attributes if key.startswith("on")]
        assert "src" not in attributes
        assert (attributes.get("href") or "#").startswith("#")
    style = written[written.index("<style>") : written.index("</style>")]
    assert not re.search(r"url\(|@import|http", style)
    policies = [a for n, a in reader.elements if a.get("http-equiv")]
    assert "default-src 'none'" in (policies[0].get("content") or "")


def test_nothing_of_a_hostile_model_becomes_markup(tmp_path: Path) -> None:
    written = page(tmp_path, hostile())
    assert_keeps_to_itself(written)
    assert "\u202e" not in written
    assert "\x1b" not in written
    assert "\\u202e" in written


def test_every_section_is_there(tmp_path: Path) -> None:
    written = page(tmp_path, small())
    ids = {attributes.get("id") for _, attributes in read(written).elements}
    assert ids >= {"safety", "parts", "memory", "types", "values", "shapes", "tokenizer", "tensors"}
    assert written.count("<polyline") >= 14


def test_the_page_of_a_refused_file_says_why(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF" + bytes(3))
    written = page_of(inspect_model(path, home=tmp_path / "home"), version="0")
    assert_keeps_to_itself(written)
    assert "Danger" in written


def test_a_comparison_keeps_to_itself_too(tmp_path: Path) -> None:
    before, after = small().write(tmp_path / "a.gguf"), hostile().write(tmp_path / "b.gguf")
    found = compare_models(before, after, names=("a", HOSTILE), progress=lambda *_: None)
    assert_keeps_to_itself(comparison_page(found, version="0"))


def test_attributes_and_texts_are_escaped() -> None:
    made = tag("p", '<"&', attributes={"title": '"><b>', "hidden": True, "lang": None})
    assert made == '<p title="&quot;&gt;&lt;b&gt;" hidden>&lt;&quot;&amp;</p>'
    assert text("a\u200bb\x07") == "a\\u200bb\\u0007"


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
@pytest.mark.parametrize("made", [small, hostile], ids=["sound", "hostile"])
def test_a_browser_opens_it_without_a_word_or_a_request(made: object, tmp_path: Path) -> None:
    assert callable(made)
    file = tmp_path / "report.html"
    file.write_text(page(tmp_path, made()), "utf-8")
    done = browse(file, tmp_path)
    assert (tmp_path / "shot.png").stat().st_size > 20_000
    assert "CONSOLE" not in done.stderr
    assert requested(tmp_path / "net.json") == set()


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
def test_the_check_notices_a_request_and_an_error(tmp_path: Path) -> None:
    file = tmp_path / "bad.html"
    file.write_text("<img src='http://127.0.0.1:9/x'><script>undefinedThing()</script>")
    done = browse(file, tmp_path)
    assert "CONSOLE" in done.stderr
    assert "http://127.0.0.1:9/x" in requested(tmp_path / "net.json")


def browse(file: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    assert CHROMIUM is not None
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--window-size=1180,1400"]
    command += [f"--screenshot={folder / 'shot.png'}", f"--user-data-dir={folder / 'profile'}"]
    command += ["--enable-logging=stderr", f"--log-net-log={folder / 'net.json'}", file.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)


def requested(log: Path) -> set[str]:
    """Addresses that the page asked for: those with an initiator, which the browser's own lack."""
    raw = log.read_text("utf-8")
    try:
        events = json.loads(raw)["events"]
    except json.JSONDecodeError:  # a browser that was ended leaves the list open
        events = json.loads(raw.rstrip().rstrip(",") + "]}")["events"]
    asked = [event.get("params", {}) for event in events]
    return {
        params["url"]
        for params in asked
        if "url" in params and params.get("initiator", "not an origin") != "not an origin"
    }


def test_the_lens_keeps_to_itself_too(tmp_path: Path) -> None:
    path = small().write(tmp_path / "model.gguf")
    report = inspect_model(path, home=tmp_path / "home")
    written = page_of(report, version="0", lens=lens_of(path, "<b>ab</b>"))
    assert_keeps_to_itself(written)
    assert {"lens", "attention"} <= {a.get("id") for _, a in read(written).elements}


def test_recommended_sampling_is_shown_where_the_file_has_some(tmp_path: Path) -> None:
    checkpoint = small()
    plain = inspect_model(checkpoint.write(tmp_path / "plain.gguf"))
    checkpoint.keys |= {"general.sampling.temp": 0.7, "general.sampling.top_k": 20}
    report = inspect_model(checkpoint.write(tmp_path / "said.gguf"))
    assert report.suggested == {"temperature": 0.7, "top_k": 20}
    title = "Recommended sampling"
    assert title in page_of(report, version="1")
    assert title not in page_of(plain, version="1")
