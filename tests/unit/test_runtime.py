import pytest
from balle2017.model import runtime


@pytest.mark.parametrize(
    ("flags", "instructions", "policy"),
    [
        # An Intel Xeon with AMX has both; an AMD EPYC has the second.
        ({"avx2", "avx512_bf16", "amx_bf16"}, "amx_bf16", "mixed_bfloat16"),
        ({"avx2", "avx512_bf16"}, "avx512_bf16", "mixed_bfloat16"),
        ({"avx2", "avx512f", "avx512_vnni", "amx_int8"}, None, "float32"),
        (set(), None, "float32"),
    ],
)
def test_auto_takes_bfloat16_where_the_cpu_multiplies_it(monkeypatch, flags, instructions, policy):
    monkeypatch.setattr(runtime, "cpu_model", lambda: ("some CPU", frozenset(flags)))
    assert runtime.bfloat16_instructions() == instructions
    assert runtime.resolve_policy("auto", "CPU") == policy
    assert runtime.resolve_policy("auto", "GPU (NVIDIA A100)") == "mixed_float16"
    assert runtime.resolve_policy("float32", "CPU") == "float32"
