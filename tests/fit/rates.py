"""Rates of a machine that does not exist, so that predictions can be worked out by hand."""

from __future__ import annotations

from freehold.engine.rates import MEASURED_TYPES, AttendRates, Rates, TypeRates

KIND = TypeRates(stream=10e9, one=20e9, many=80e9, narrow=40e9)
ATTEND = AttendRates(one=10e9, many=20e9)


def made_rates(kind: TypeRates = KIND, op_s: float = 0.0) -> Rates:
    """The same for every block type and key width."""
    return Rates(
        isa="avx2",
        threads=2,
        bandwidth_bytes_per_s=20e9,
        isas={"generic": 1e9, "avx2": 80e9},
        types={each.name: kind for each in MEASURED_TYPES},
        attend=dict.fromkeys(("64", "128", "256", "latent"), ATTEND),
        op_s=op_s,
        state_one=5e9,
        state_many=15e9,
    )
