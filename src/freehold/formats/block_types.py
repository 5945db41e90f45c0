"""The block types of GGUF tensors: their numbers in the file and the size of their blocks.

Room: formats. Knows sizes only; what is inside a block is the compiled core's business.
"""

from __future__ import annotations

from enum import IntEnum

__all__ = ["BlockType", "block_type", "block_type_name"]


class BlockType(IntEnum):
    """How a tensor's elements are stored: `block_elements` of them in `block_bytes` bytes.

    Source: ggml's `enum ggml_type` and `ggml-common.h`, llama.cpp at 0c1e57098.
    """

    F32 = 0
    F16 = 1
    Q4_0 = 2
    Q4_1 = 3
    Q5_0 = 6
    Q5_1 = 7
    Q8_0 = 8
    Q2_K = 10
    Q3_K = 11
    Q4_K = 12
    Q5_K = 13
    Q6_K = 14
    IQ4_NL = 20
    IQ4_XS = 23
    BF16 = 30
    MXFP4 = 39

    @property
    def block_elements(self) -> int:
        """How many elements one block holds."""
        return _SIZES[self][0]

    @property
    def block_bytes(self) -> int:
        """How many bytes one block takes."""
        return _SIZES[self][1]


_SIZES = {
    BlockType.F32: (1, 4),
    BlockType.F16: (1, 2),
    BlockType.Q4_0: (32, 18),
    BlockType.Q4_1: (32, 20),
    BlockType.Q5_0: (32, 22),
    BlockType.Q5_1: (32, 24),
    BlockType.Q8_0: (32, 34),
    BlockType.Q2_K: (256, 84),
    BlockType.Q3_K: (256, 110),
    BlockType.Q4_K: (256, 144),
    BlockType.Q5_K: (256, 176),
    BlockType.Q6_K: (256, 210),
    BlockType.IQ4_NL: (32, 18),
    BlockType.IQ4_XS: (256, 136),
    BlockType.BF16: (1, 2),
    BlockType.MXFP4: (32, 17),
}
_BY_NUMBER = {int(member): member for member in BlockType}

# Only to name them in a refusal: people know their file as "an IQ2_XXS", not as type 16.
_NOT_SUPPORTED = {
    4: "Q4_2",
    5: "Q4_3",
    9: "Q8_1",
    15: "Q8_K",
    16: "IQ2_XXS",
    17: "IQ2_XS",
    18: "IQ3_XXS",
    19: "IQ1_S",
    21: "IQ3_S",
    22: "IQ2_S",
    24: "I8",
    25: "I16",
    26: "I32",
    27: "I64",
    28: "F64",
    29: "IQ1_M",
    31: "Q4_0_4_4",
    32: "Q4_0_4_8",
    33: "Q4_0_8_8",
    34: "TQ1_0",
    35: "TQ2_0",
    36: "IQ4_NL_4_4",
    37: "IQ4_NL_4_8",
    38: "IQ4_NL_8_8",
    40: "NVFP4",
}


def block_type(number: int) -> BlockType | None:
    """The block type with this number in a file, or None when it is not one of ours."""
    return _BY_NUMBER.get(number)


def block_type_name(number: int) -> str:
    """The name of any block type by its number in a file, ours or not."""
    ours = _BY_NUMBER.get(number)
    return _NOT_SUPPORTED.get(number, "unknown") if ours is None else ours.name
