"""Quantized safetensors keep the values that the reference libraries read from them.

Oracles: compressed-tensors 0.20, transformers 5 on torch 2.13; see `quantized.py` for which one
judges which form. Values are compared bit for bit: each is one product of float32 numbers.

| whole models, of the logits' rms | bound | reason                                              |
|----------------------------------|-------|-----------------------------------------------------|
| forms that meet floats (fp8)     | 5e-4  | as `test_families`: float32 sums in another order   |
| others                           | 4e-2  | activations are rounded to int8, 2^-8 of the        |
|                                  |       | largest of sixteen, in 14 products one after another|
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from transformers.integrations.mxfp4 import convert_moe_packed_tensors

pytest.importorskip("compressed_tensors", reason="an oracle of the extra `test`")

from freehold import ops
from freehold.engine.pages import Sequence
from freehold.engine.runner import Part, Runner
from freehold.formats.safetensors import open_safetensors
from freehold.loading import load_model
from freehold.loading.matrices import read_parameter
from freehold.loading.quantized import LoadReport, read_scheme, report_on
from freehold.loading.sources import Source
from freehold.models.base import Slot
from tests.parity.quantized import FORMS, Form, Fp8, Gptq, dequantised
from tests.parity.toy import Array, Toy, assign, oracle, oracle_logits

pytestmark = pytest.mark.parity

NAMES = list(FORMS)
TOY = Toy(name="quantized", L=2, D=256, H=8, G=2, A=32, F=384, tied=False)
IDS = list(np.random.default_rng(3).integers(0, TOY.V, 90))
MATRICES = 7 * TOY.L


def read_matrix(
    path: Path, config: dict[str, Any], tensors: dict[str, torch.Tensor]
) -> tuple[Array, LoadReport]:
    """The one matrix of a checkpoint, packed and unpacked, and the report."""
    save_file(tensors, path)
    scheme = read_scheme({"quantization_config": config})
    assert scheme is not None
    with open_safetensors(path) as file:
        (rows,) = scheme.gather(file.tensors, ()).rows.values()
        slot = Slot((rows.rows, rows.shape[-1]))
        weight = read_parameter([rows], slot, Source((rows.name,)))
        assert isinstance(weight, ops.Weight)
        return weight.unpack(), report_on(scheme.label, [rows])


@pytest.mark.parametrize("name", NAMES)
def test_values_are_the_references_bit_for_bit(name: str, tmp_path: Path) -> None:
    form = FORMS[name]
    weight = 0.05 * torch.randn(208, 384, generator=torch.Generator().manual_seed(len(name)))
    parts, values = form.make(weight)
    tensors = {f"m.{part}": tensor for part, tensor in parts.items()}
    ours, report = read_matrix(tmp_path / "m.safetensors", form.config(), tensors)
    np.testing.assert_array_equal(ours, values.numpy())
    assert report.exact
    assert str(report).endswith("1 matrices, all exact")


@pytest.mark.parametrize("name", NAMES)
def test_memory_stays_near_the_files_bytes(name: str, tmp_path: Path) -> None:
    """At the width of real models, 2048; 5 % are for scales that a block of 128 repeats."""
    form = FORMS[name]
    if isinstance(form, Fp8) and form.block == (64, 32):
        pytest.skip("no published checkpoint has blocks of 32 columns; each costs four bytes")
    parts, _ = form.make(0.05 * torch.randn(64, 2048, generator=torch.Generator().manual_seed(1)))
    tensors = {f"m.{part}": tensor for part, tensor in parts.items()}
    _, report = read_matrix(tmp_path / "m.safetensors", form.config(), tensors)
    assert report.memory_share <= 1.05


def test_scales_beyond_float16_are_exact_by_a_factor_of_the_row(tmp_path: Path) -> None:
    """bfloat16 scales from 2^-80 to 2^-60: none is a float16."""
    form = FORMS["compressed-tensors packed int4, groups of 128"]
    parts, values = form.make(torch.randn(32, 384, generator=torch.Generator().manual_seed(1)))
    factor = 2.0 ** -torch.randint(60, 80, (32, 1), generator=torch.Generator().manual_seed(2))
    parts["weight_scale"] = (parts["weight_scale"].float() * factor).bfloat16()
    tensors = {f"m.{part}": tensor for part, tensor in parts.items()}
    ours, report = read_matrix(tmp_path / "m.safetensors", form.config(), tensors)
    np.testing.assert_array_equal(ours, (values * factor).numpy())
    assert report.exact


def test_rounding_is_reported(tmp_path: Path) -> None:
    """float32 scales of groups keep eleven bits; nobody publishes them, and nothing hides it."""
    form = FORMS["compressed-tensors packed int4, groups of 128"]
    parts, _ = form.make(torch.randn(32, 384, generator=torch.Generator().manual_seed(1)))
    scale = parts["weight_scale"].float() * 1.0003
    parts["weight_scale"] = scale
    tensors = {f"m.{part}": tensor for part, tensor in parts.items()}
    ours, report = read_matrix(tmp_path / "m.safetensors", form.config(), tensors)
    (matrix,) = report.matrices
    kept = scale.numpy().astype(np.float16).astype(np.float32)
    error = np.abs(kept / scale.numpy().astype(np.float64) - 1)
    assert not report.exact
    assert matrix.largest_error == pytest.approx(error.max())
    assert matrix.mean_error == pytest.approx(error.mean())
    assert "1 rounded: by 0.0" in str(report)
    assert np.isfinite(ours).all()


def test_mxfp4_experts_are_those_of_transformers(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    blocks = torch.from_numpy(rng.integers(0, 256, (3, 32, 4, 16), dtype=np.uint8))
    scales = torch.from_numpy(rng.integers(100, 140, (3, 32, 4), dtype=np.uint8))
    tensors = {"mlp.experts.down_proj_blocks": blocks, "mlp.experts.down_proj_scales": scales}
    config = {"quant_method": "mxfp4", "modules_to_not_convert": ["lm_head"]}
    ours, report = read_matrix(tmp_path / "m.safetensors", config, tensors)
    theirs = convert_moe_packed_tensors(blocks, scales, dtype=torch.float32)  # (X, in, out)
    np.testing.assert_array_equal(ours, theirs.transpose(1, 2).reshape(96, 128).numpy())
    assert report.memory_share == 1


def test_fp8_experts_are_one_matrix_after_another(tmp_path: Path) -> None:
    made = [Fp8(block=(128, 128)).make(torch.randn(144, 256)) for _ in range(3)]
    tensors = {
        "mlp.experts.gate_up_proj": torch.stack([parts["weight"] for parts, _ in made]),
        "mlp.experts.gate_up_proj_scale_inv": torch.stack(
            [parts["weight_scale_inv"] for parts, _ in made]
        ),
    }
    config = Fp8(block=(128, 128)).config()
    ours, _ = read_matrix(tmp_path / "m.safetensors", config, tensors)
    np.testing.assert_array_equal(ours, torch.cat([values for _, values in made]).numpy())


def test_gptq_block_computed_by_hand(tmp_path: Path) -> None:
    """One word says 0x87654321, so the first eight inputs are 1 to 8; the zero point is 7 + 1."""
    qweight = torch.zeros(4, 8, dtype=torch.int32)
    qweight[0, 0] = 0x87654321 - (1 << 32)
    tensors = {
        "m.qweight": qweight,
        "m.qzeros": torch.full((1, 1), 0x77777777, dtype=torch.int32),
        "m.scales": torch.full((1, 8), 0.5, dtype=torch.float16),
    }
    config = Gptq(bits=4, size=32).config()
    ours, _ = read_matrix(tmp_path / "m.safetensors", config, tensors)
    assert ours[0, :8].tolist() == [-3.5, -3.0, -2.5, -2.0, -1.5, -1.0, -0.5, 0.0]
    assert (ours[1:] == -4).all()


@functools.cache
def toy() -> tuple[Any, dict[str, torch.Tensor]]:
    """The oracle, and its weights before they are replaced by rounded ones."""
    model = oracle(TOY)
    return model, {name: tensor.clone() for name, tensor in model.state_dict().items()}


def write_toy(form: Form, path: Path) -> Any:
    """The toy's layers in the form, as a directory; the oracle with the same values as floats."""
    model, weights = toy()
    config = json.loads(model.config.to_json_string())
    quantized, floats = dequantised(form, weights)
    path.mkdir()
    (path / "config.json").write_text(json.dumps(config | {"quantization_config": form.config()}))
    save_file(
        {name: tensor.contiguous() for name, tensor in quantized.items()},
        path / "model.safetensors",
    )
    for name, parameter in model.named_parameters():
        assign(parameter, floats[name].numpy())
    return model


@pytest.mark.parametrize("name", NAMES)
def test_a_model_answers_as_its_dequantised_weights_do(name: str, tmp_path: Path) -> None:
    form = FORMS[name]
    model = write_toy(form, tmp_path / "toy")
    loaded = load_model(tmp_path / "toy")
    assert loaded.report is not None
    assert loaded.report.exact
    assert len(loaded.report.matrices) == MATRICES
    runner = Runner(loaded.model, tokens=256)
    ours = runner.run([Part(Sequence(), IDS, wanted=len(IDS))]).copy()
    theirs = oracle_logits(model, IDS, half_kv=True)
    difference = float(np.sqrt(((ours - theirs) ** 2).mean()) / np.sqrt((theirs**2).mean()))
    assert difference <= (5e-4 if "fp8" in name else 4e-2)


def test_the_report_is_one_line_for_a_person(tmp_path: Path) -> None:
    write_toy(FORMS["awq, groups of 32"], tmp_path / "toy")
    report = load_model(tmp_path / "toy").report
    assert str(report) == "awq, 4 bits, groups of 32: 14 matrices, all exact"
