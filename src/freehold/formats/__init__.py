"""Untrusted bytes to metadata and lazy tensors: `gguf` and `safetensors`.

Room: formats. Must not know families, tokenizers, or what a tensor is for.

Every reader here holds to the same rules. Counts, lengths and offsets are checked against the
file's length and a cap before anything is allocated; Python's integers do not overflow. What a
file says twice, or nobody can reach, is refused: no duplicate names, no overlap, no unclaimed
bytes. Tensors are views of a read-only mapping, so opening a model reads only its header. A file
must not change while it is open: shrinking a mapped file kills the process that reads it.
"""
