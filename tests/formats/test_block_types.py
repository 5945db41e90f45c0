"""Oracle: the gguf package (0.17 or later), whose tables are generated from ggml's own."""

from __future__ import annotations

import gguf
import pytest

from freehold.formats.block_types import BlockType, block_type, block_type_name


@pytest.mark.parity
@pytest.mark.parametrize("member", BlockType, ids=lambda member: member.name)
def test_block_sizes_match_the_gguf_package(member: BlockType) -> None:
    theirs = gguf.GGMLQuantizationType(int(member))
    assert theirs.name == member.name
    assert gguf.GGML_QUANT_SIZES[theirs] == (member.block_elements, member.block_bytes)


@pytest.mark.parity
def test_every_type_of_the_gguf_package_can_be_named() -> None:
    names = {int(theirs): theirs.name for theirs in gguf.GGMLQuantizationType}
    # A newer package may know newer types; those that 0.19 knows end at 40.
    known = {number: name for number, name in names.items() if number <= 40}
    assert {number: block_type_name(number) for number in known} == known


def test_a_number_that_is_not_ours_has_no_block_type() -> None:
    assert block_type(12) is BlockType.Q4_K
    assert block_type(16) is None
    assert block_type_name(16) == "IQ2_XXS"
    assert block_type_name(4_000_000_000) == "unknown"
