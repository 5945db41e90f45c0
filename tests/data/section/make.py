"""Draws the section task from a machine's package lists, or compares the frozen files with them.

    python -m tests.data.section.make FOLDER        # writes train.jsonl and heldout.jsonl there
    python -m tests.data.section.make --check       # how many frozen lines the lists still say

The same lists give the same files: the order is that of a digest of each text. In what is drawn, no
held-out text is like one that is learned, word for word or nearly.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from freehold.tune.datasets.likeness import Seen

HERE = Path(__file__).parent
LISTS = Path("/var/lib/apt/lists")
LABELS = ("games", "net", "sound", "fonts", "mail", "database")
ASK = (
    "Name the section of Debian that the package belongs to: "
    "games, net, sound, fonts, mail or database."
)
LEFT_OUT = ("-dev", "-doc", "-data", "-common")
TRAIN, HELDOUT, MOST_OF_A_LABEL = 600, 250, 200


def paragraphs() -> Iterator[dict[str, str]]:
    """The packages of the lists, by apt's own reader of their compression."""
    helper = shutil.which("apt-helper", path="/usr/lib/apt") or "/usr/lib/apt/apt-helper"
    for path in sorted(LISTS.glob("*_main_binary-amd64_Packages*")):
        done = subprocess.run([helper, "cat-file", str(path)], check=True, capture_output=True)
        for part in done.stdout.decode().split("\n\n"):
            lines = (line.partition(": ") for line in part.splitlines() if line[:1].strip())
            yield {key: value for key, _, value in lines}


def described() -> dict[str, str]:
    """Descriptions with their section, the first of each."""
    found: dict[str, str] = {}
    for package in paragraphs():
        text, label = package.get("Description", ""), package.get("Section", "")
        if label in LABELS and text and not package["Package"].endswith(LEFT_OUT):
            found.setdefault(text, label)
    return found


def drawn(found: dict[str, str]) -> tuple[list[str], list[str]]:
    """Lines to learn from and to judge by."""
    order = sorted(found, key=lambda text: hashlib.sha256(text.encode()).digest())
    counts = dict.fromkeys(LABELS, 0)
    seen = Seen()
    kept = []
    for number, text in enumerate(order):
        label = found[text]
        if counts[label] == MOST_OF_A_LABEL or seen.look(number, text) is not None:
            continue
        counts[label] += 1
        seen.add(number, text)
        kept.append(text)
    kept.sort(key=lambda text: hashlib.sha256(b"order" + text.encode()).digest())
    lines = [_line(text, found[text]) for text in kept[: TRAIN + HELDOUT]]
    return lines[:TRAIN], lines[TRAIN:]


def _line(text: str, label: str) -> str:
    said = {"system": ASK, "user": text, "assistant": label}
    messages = [{"role": role, "content": content} for role, content in said.items()]
    return json.dumps({"messages": messages}, ensure_ascii=False)


def check(found: dict[str, str]) -> str:
    """How many frozen lines the lists say as well."""
    same = every = 0
    for name in ("train.jsonl", "heldout.jsonl"):
        for line in (HERE / name).read_text("utf-8").splitlines():
            _, asked, answer = json.loads(line)["messages"]
            every += 1
            same += found.get(asked["content"]) == answer["content"]
    return f"{same} of {every} frozen lines are in the lists with the same section"


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    found = described()
    if options.check or options.folder is None:
        print(check(found))
        return
    options.folder.mkdir(parents=True, exist_ok=True)
    for name, lines in zip(("train.jsonl", "heldout.jsonl"), drawn(found), strict=True):
        (options.folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
