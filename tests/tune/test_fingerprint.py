"""Claims about telling two renderings apart, and about the file that keeps one."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from freehold.errors import FormatError, RenderingDiffers
from freehold.loading.text import TextSide, read_text_side
from freehold.tokenizer import tokenizer_from_gguf
from freehold.tune.fingerprint import Fingerprint, check_rendering, fingerprint_of
from freehold.tune.provenance import PROVENANCE, Provenance, read_provenance, write_provenance
from tests.chat.small_templates import CHATML, HERMES, LLAMA_JSON, MISTRAL_V3, QWEN_XML
from tests.loading.small import Dims, metadata

KEY = "tokenizer.chat_template"
# With the control tokens that the vocabulary has.
OWN = CHATML.replace("<|im_start|>", "<|begin|>").replace("<|im_end|>", "<|end|>")


def text_side(template: str = OWN, dims: Dims | None = None, **keys: Any) -> TextSide:
    """A byte-level vocabulary of the tests' own with a template."""
    said = metadata(dims or Dims(V=300))
    said |= {f"tokenizer.ggml.{key}": value for key, value in keys.items()}
    return TextSide(tokenizer_from_gguf(said), {KEY: template} if template else {})


def provenance(fingerprint: Fingerprint) -> Provenance:
    return Provenance(
        base="sha256:" + "0" * 64,
        base_name="toy",
        datasets=("sha256:" + "1" * 64,),
        fingerprint=fingerprint,
        training={"rank": 8},
    )


@pytest.mark.parametrize("template", [CHATML, HERMES, QWEN_XML, MISTRAL_V3, LLAMA_JSON, ""])
def test_a_rendering_agrees_with_itself(template: str) -> None:
    trained = fingerprint_of(text_side(template))
    check_rendering(trained, text_side(template))
    asked = [probe for probe in trained.probes if not probe.name.startswith("text")]
    assert bool(template) == any(probe.ids for probe in asked), "a probe renders where any can"


ALTERED: dict[str, Callable[[str], str]] = {
    "a line end lost": lambda source: source.replace("m.role + '\\n'", "m.role"),
    "another end of turn": lambda source: source.replace("<|end|>", "<|im_end|>"),
    "a system message added": lambda source: "{{- 'Be brief.' -}}" + source,
    "no place to answer": lambda source: source.replace("<|begin|>assistant", "assistant"),
}


@pytest.mark.parametrize("altered", ALTERED.values(), ids=ALTERED.keys())
def test_an_altered_template_is_named_by_probe_and_token(altered: Callable[[str], str]) -> None:
    trained = fingerprint_of(text_side(OWN))
    changed = altered(OWN)
    assert changed != OWN
    with pytest.raises(RenderingDiffers) as caught:
        check_rendering(trained, text_side(changed), what="the file")
    said = str(caught.value)
    assert "the file renders" in said
    assert "the probe 'one turn, turn 1' at token " in said
    at = int(said.split(" at token ")[1].split(";", maxsplit=1)[0])
    first = next(probe for probe in trained.probes if probe.name == "one turn, turn 1")
    served = next(p for p in fingerprint_of(text_side(changed)).probes if p.name == first.name)
    assert first.ids[:at] == served.ids[:at]
    assert first.ids[at : at + 1] != served.ids[at : at + 1]


def test_a_change_that_no_probe_shows_is_still_refused() -> None:
    with pytest.raises(RenderingDiffers, match="text, although no probe shows where"):
        check_rendering(fingerprint_of(text_side(OWN)), text_side(OWN + "{# later #}"))


def test_a_template_that_refuses_what_it_rendered_is_told_by_its_error() -> None:
    refusing = "{{- raise_exception('no') -}}" + OWN
    with pytest.raises(RenderingDiffers) as caught:
        check_rendering(fingerprint_of(text_side(OWN)), text_side(refusing))
    assert "request.template" in str(caught.value)


def test_another_vocabulary_is_refused_by_what_it_cuts_or_by_its_tokens() -> None:
    trained = fingerprint_of(text_side())
    said = metadata(Dims(V=300))["tokenizer.ggml.tokens"]
    assert isinstance(said, list)
    tokens = [str(token) for token in said]
    tokens[tokens.index("he")] = "th"
    with pytest.raises(RenderingDiffers, match="the probe 'text: prose' at token"):
        check_rendering(trained, text_side(tokens=tokens, merges=["t h"]))
    with pytest.raises(RenderingDiffers, match="the vocabulary"):
        check_rendering(trained, text_side(eos_token_id=0))


def test_tokens_that_were_learned_otherwise_are_caught() -> None:
    trained = fingerprint_of(text_side())
    learned = [probe for probe in trained.probes if probe.name == "one turn, as learned"]
    assert learned[0].learned, "the answer and its end"
    ((start, end),) = learned[0].learned
    without_end = replace(learned[0], learned=((start, end - 1),))
    probes = [without_end if probe is learned[0] else probe for probe in trained.probes]
    with pytest.raises(RenderingDiffers, match="which tokens of the probe 'one turn, as learned'"):
        check_rendering(replace(trained, probes=tuple(probes)), text_side())


def test_places_that_no_token_has_count_for_nothing() -> None:
    check_rendering(fingerprint_of(text_side()), text_side(dims=Dims(V=340)))


def test_what_lies_beside_an_adapter_is_read_back(tmp_path: Path) -> None:
    said = provenance(fingerprint_of(text_side(MISTRAL_V3)))
    write_provenance(tmp_path, said)
    assert read_provenance(tmp_path) == said
    assert [path.name for path in tmp_path.iterdir()] == [PROVENANCE]
    assert read_provenance(tmp_path / "nobody") is None


BROKEN: dict[str, Callable[[dict[str, Any]], object]] = {
    "another form": lambda body: body.update(form=2),
    "no digest": lambda body: body["base"].update(digest="sha256:12"),
    "a list for a name": lambda body: body["base"].update(name=[1]),
    "too many data sets": lambda body: body.update(datasets=["0" * 64] * 300),
    "a data set that is no digest": lambda body: body.update(datasets=[{"a": 1}]),
    "too many probes": lambda body: body["rendering"]["probes"].extend([{}] * 99),
    "ids that are none": lambda body: body["rendering"]["probes"][0].update(ids=["1"]),
    "true for an id": lambda body: body["rendering"]["probes"][0].update(ids=[True]),
    "negative ids": lambda body: body["rendering"]["probes"][0].update(ids=[-1]),
    "runs that are none": lambda body: body["rendering"]["probes"][0].update(learned=[[1]]),
    "no rendering": lambda body: body.pop("rendering"),
}


@pytest.mark.parametrize("breaks", BROKEN.values(), ids=BROKEN.keys())
def test_a_damaged_file_is_refused(tmp_path: Path, breaks: Callable[[Any], object]) -> None:
    path = write_provenance(tmp_path, provenance(fingerprint_of(text_side())))
    body = json.loads(path.read_text())
    breaks(body)
    path.write_text(json.dumps(body))
    with pytest.raises(FormatError):
        read_provenance(tmp_path)


@pytest.mark.weights
def test_the_starter_s_fingerprint_is_small_and_its_template_s_change_is_seen(
    starter_path: Path, tmp_path: Path
) -> None:
    served = read_text_side(starter_path)
    trained = fingerprint_of(served)
    assert write_provenance(tmp_path, provenance(trained)).stat().st_size < 32_000
    other = TextSide(served.tokenizer, {KEY: served.templates[KEY].replace("helpful", "kind")})
    with pytest.raises(RenderingDiffers, match=r"at token \d+; expected"):
        check_rendering(trained, other)
