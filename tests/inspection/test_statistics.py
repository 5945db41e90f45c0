"""A tensor's statistics are NumPy's own over its values, whatever the type and the chunks.

Oracle: NumPy 2 over all values at once in float64. Bounds: 1e-6 relative; both sum in float64.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from freehold.inspection.statistics import TensorStats, measure_tensor
from freehold.inspection.weights import CHUNK, OpenTensor, open_model
from tests.loading.small import Dims, small
from tests.parity.blocks import QUANTIZED, reference

Array = np.ndarray[Any, Any]


def measured(path: Path, values: Array) -> TensorStats:
    save_file({"w": values}, path / "model.safetensors")
    with open_model(path / "model.safetensors") as model:
        return measure_tensor(model.tensors["w"])


def assert_agrees(stats: TensorStats, values: Array) -> None:
    wide = values.astype(np.float64).reshape(-1)
    finite = wide[np.isfinite(wide)]
    assert (stats.minimum, stats.maximum) == (finite.min(), finite.max())

    def near(value: float) -> Any:
        return pytest.approx(value, rel=1e-6, abs=1e-12)

    assert stats.mean == near(finite.mean())
    assert stats.std == near(finite.std())
    assert stats.rms == near(np.sqrt((finite**2).mean()))
    central = finite - finite.mean()
    kurtosis = (central**4).mean() / (central**2).mean() ** 2 - 3
    assert stats.kurtosis == pytest.approx(kurtosis, rel=1e-5, abs=1e-6)
    assert stats.zeros == (finite == 0).mean()
    assert sum(stats.histogram.counts) == finite.size


@pytest.mark.parametrize("count", [1, 7, CHUNK - 1, CHUNK, 2 * CHUNK + 3])
def test_statistics_are_those_of_all_values(tmp_path: Path, count: int) -> None:
    rng = np.random.default_rng(count)
    values = (0.3 + rng.standard_t(4, count)).astype(np.float32)
    values[count // 2] = 0.0
    if count > 1:
        assert_agrees(measured(tmp_path, values), values)
    else:
        assert measured(tmp_path, values).std == 0.0


@pytest.mark.parametrize("kind", QUANTIZED, ids=str)
def test_every_block_type_is_read_as_the_gguf_package_reads_it(tmp_path: Path, kind: str) -> None:
    checkpoint = small(Dims(kind=kind))
    path = checkpoint.write(tmp_path / "model.gguf")
    name = "blk.1.ffn_up.weight"
    stored, shape, raw = checkpoint.tensors[name]
    assert stored == kind
    values = reference(kind, np.frombuffer(raw, np.uint8)).reshape(shape)
    with open_model(path) as model:
        assert_agrees(measure_tensor(model.tensors[name]), values)


def test_what_is_not_finite_is_counted_and_left_out(tmp_path: Path) -> None:
    values = np.random.default_rng(0).standard_normal(2 * CHUNK).astype(np.float32)
    values[[3, CHUNK + 5]] = np.nan
    values[[9, 10, CHUNK]] = np.inf, -np.inf, np.inf
    stats = measured(tmp_path, values)
    assert (stats.nans, stats.infs) == (2, 3)
    assert_agrees(stats, values)


def test_outliers_stand_where_they_are(tmp_path: Path) -> None:
    values = np.random.default_rng(0).standard_normal((700, 500)).astype(np.float32)
    places = {(0, 0): 50.0, (311, 7): -70.0, (699, 499): 60.0}
    for place, value in places.items():
        values[place] = value
    found = measured(tmp_path, values).outliers
    assert {o.place: o.value for o in found[:3]} == places
    assert [o.value for o in found[:3]] == [-70.0, 60.0, 50.0]
    assert found[0].deviations == pytest.approx((-70 - values.mean()) / values.std(), rel=1e-4)


def test_outliers_keep_their_place_beside_values_that_are_not_finite(tmp_path: Path) -> None:
    values = np.zeros(1000, np.float32)
    values[:500], values[800] = np.nan, 4.0
    assert measured(tmp_path, values).outliers[0].place == (800,)


def test_a_histogram_follows_the_values_and_not_the_outliers(tmp_path: Path) -> None:
    values = np.random.default_rng(1).standard_normal(200_000).astype(np.float32)
    values[0] = 1e6
    histogram = measured(tmp_path, values).histogram
    assert -4 < histogram.low < -3 < 3 < histogram.high < 4
    share = np.array(histogram.counts) / values.size
    edges = np.linspace(histogram.low, histogram.high, len(share) + 1)
    expected = np.histogram(values, edges)[0] / values.size
    assert np.abs(share - expected)[1:-1].max() < 0.003


@pytest.mark.parametrize("value", [0.0, -0.25, 1.0])
def test_one_value_everywhere_is_flat(tmp_path: Path, value: float) -> None:
    stats = measured(tmp_path, np.full((64, 65), value, np.float32))
    assert (stats.std, stats.kurtosis, stats.mean) == (0.0, 0.0, value)


DTYPES = [np.float16, np.float64, np.int8, np.uint8, np.int32, np.int64, np.bool_]


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)
def test_every_plain_dtype_of_safetensors_is_read(tmp_path: Path, dtype: Any) -> None:
    values = (10 * np.random.default_rng(2).standard_normal(3000)).clip(0, 100).astype(dtype)
    assert_agrees(measured(tmp_path, values), values.astype(np.float32))


@pytest.mark.parametrize("name", ["float8_e4m3fn", "float8_e5m2", "bfloat16"])
def test_small_floats_are_what_torch_says(tmp_path: Path, name: str) -> None:
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file as save

    kind = getattr(torch, name)
    codes = torch.arange(256, dtype=torch.int32).to(torch.uint8)
    values = codes.view(kind) if name != "bfloat16" else torch.randn(256).to(kind)
    save({"w": values}, tmp_path / "model.safetensors")
    with open_model(tmp_path / "model.safetensors") as model:
        found = model.tensors["w"].read(0, 256)
    np.testing.assert_array_equal(found, values.to(torch.float32).numpy())


def test_memory_stays_bounded(tmp_path: Path) -> None:
    """A pass never holds more than some chunks of a tensor."""
    import tracemalloc

    values = np.zeros(40 * CHUNK, np.float32)
    values[::3] = 1
    save_file({"w": values}, tmp_path / "model.safetensors")
    with open_model(tmp_path / "model.safetensors") as model:
        tensor: OpenTensor = model.tensors["w"]
        tracemalloc.start()
        measure_tensor(tensor)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 16 << 20 < values.nbytes
