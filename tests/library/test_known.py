"""The file of known models: complete, consistent with itself, and strictly read."""

from __future__ import annotations

from collections import Counter

import pytest

from freehold.errors import BadValue
from freehold.library import entries
from freehold.library.known import KnownModel, count_parameters, known_model, known_models, matrices
from freehold.library.known.matrices import is_recurrent, is_windowed
from freehold.library.known.reading import parse_known

SHAPED = [model for model in known_models() if model.shape is not None]

# The text part's published size holds norms, biases, positions and heads that no matrix here is.
# Decoders: those are under a hundredth, a little more where layers have embeddings of their own.
# Encoders: positions and token types of a small model.
DECODER, ENCODER = 0.012, 0.02

GOOD = """
version = "2026-01-01"
[[model]]
name = "A"
hub = "org/a"
family = "some"
licence = "mit"
released = "2026-01"
parameters = 1000
context = 512
tasks = ["chat"]
published = ["weights"]
source = "config"
"""


def test_knows_four_families_and_their_peers() -> None:
    assert len(known_models()) >= 50
    makers = Counter(model.hub.split("/")[0] for model in known_models())
    for maker in ("meta-llama", "mistralai", "Qwen", "deepseek-ai"):
        assert makers[maker] >= 10, maker
    assert len(makers) >= 10


@pytest.mark.parametrize("model", SHAPED, ids=lambda model: model.hub)
def test_shape_explains_the_published_size(model: KnownModel) -> None:
    assert model.shape is not None
    tolerance = ENCODER if model.shape.encoder else DECODER
    counted, _ = count_parameters(model.shape)
    assert counted == pytest.approx(model.text_parameters, rel=tolerance)


@pytest.mark.parametrize("model", SHAPED, ids=lambda model: model.hub)
def test_shape_explains_the_published_active_size(model: KnownModel) -> None:
    """Makers count an untied embedding among the active parameters, or do not."""
    assert model.shape is not None
    counted, active = count_parameters(model.shape)
    if model.shape.encoder:
        return
    embedding = 0 if model.shape.tied else model.shape.vocab * model.shape.hidden
    # Published to two digits: "A10B".
    nearest = min((active, active + embedding), key=lambda count: abs(count - model.active))
    assert nearest == pytest.approx(model.active, rel=0.04)
    assert active <= counted


def test_most_entries_have_a_shape_and_many_were_compared_with_a_config() -> None:
    assert len(SHAPED) >= 0.85 * len(known_models())
    assert sum(model.source == "config" for model in SHAPED) >= 40


def test_every_model_publishes_weights() -> None:
    assert all("weights" in model.published for model in known_models())


def test_only_unconfirmed_terms_are_unknown() -> None:
    unknown = [model.hub for model in known_models() if model.licence == "unknown"]
    assert len(unknown) <= 2


def test_every_short_name_is_known_under_the_same_licence() -> None:
    for entry in entries():
        model = known_model(entry.name)
        assert model is not None
        assert model.licence == entry.licence.lower()


@pytest.mark.parametrize(
    "ref",
    ["Qwen/Qwen3-4B", "qwen/qwen3-4b", "Qwen3-4B", "Qwen/Qwen3-4B:Q4_K_M"],
)
def test_a_reference_finds_its_model(ref: str) -> None:
    model = known_model(ref)
    assert model is not None
    assert model.name == "Qwen3 4B"


def test_a_reference_to_nothing_known_finds_nothing() -> None:
    assert known_model("nobody/nothing") is None
    assert known_model("") is None


def test_layers_with_windows_are_spread_and_the_last_one_attends_to_all() -> None:
    shapes = [model.shape for model in SHAPED if model.shape and model.shape.windowed]
    assert shapes
    for shape in shapes:
        near = [is_windowed(shape, layer) for layer in range(shape.layers)]
        assert sum(near) == shape.windowed
        assert not near[-1]


def test_recurrent_layers_are_as_many_as_it_says() -> None:
    shapes = [model.shape for model in SHAPED if model.shape and model.shape.recurrent]
    assert shapes
    for shape in shapes:
        assert shape.recurrent is not None
        kinds = [is_recurrent(shape, layer) for layer in range(shape.layers)]
        assert sum(kinds) == shape.recurrent.layers


def test_a_mixture_has_all_its_experts_and_uses_a_few() -> None:
    model = known_model("Qwen/Qwen3-30B-A3B")
    assert model is not None
    assert model.shape is not None
    stacked = [each for each in matrices(model.shape) if each.role == "expert_down"]
    assert len(stacked) == 48
    assert {(each.copies, each.used) for each in stacked} == {(128, 8)}


def test_a_sound_file_is_read() -> None:
    version, models = parse_known(GOOD)
    assert version == "2026-01-01"
    assert (models[0].active, models[0].vision, models[0].shape) == (1000, 0, None)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('hub = "org/a"', 'hub = "just a name"'),
        ('family = "some"', 'family = "some"\nfriends = 3'),
        ('licence = "mit"', 'licence = "MIT License"'),
        ('licence = "mit"\n', ""),
        ('released = "2026-01"', 'released = "2026-13"'),
        ("parameters = 1000", 'parameters = "1000"'),
        ("parameters = 1000", "parameters = true"),
        ("parameters = 1000", "parameters = -1"),
        ("parameters = 1000\n", ""),
        ('tasks = ["chat"]', 'tasks = ["sing"]'),
        ('published = ["weights"]', "published = []"),
        ('source = "config"', 'source = "hearsay"'),
        ('source = "config"', 'source = "config"\nshape = 3'),
        ('source = "config"', 'source = "config"\n[model.shape]\nlayers = 2'),
        ('source = "config"', 'source = "config"\n[model.shape]\nlayers = 2.5'),
        ('version = "2026-01-01"', ""),
        ("[[model]]", "[[model"),
    ],
)
def test_anything_else_is_refused(old: str, new: str) -> None:
    assert old in GOOD
    with pytest.raises(BadValue):
        parse_known(GOOD.replace(old, new, 1))


def test_a_model_named_twice_is_refused() -> None:
    entry = GOOD.split("\n", 2)[2]
    with pytest.raises(BadValue, match="each model once"):
        parse_known(GOOD + entry)
