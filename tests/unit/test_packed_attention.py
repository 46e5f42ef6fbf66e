"""Position ids, the checks of the FlashAttention wrapper and the choice of a backend, on any machine."""

import json
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from virnucpro.errors import ConfigError, PackedFormatError, VirnucproError
from virnucpro.models import FLASH_ATTN_AVAILABLE, create_position_ids_packed, flash_attn_varlen_wrapper, grouped_sdpa
from virnucpro.models import packed_attention as module
from virnucpro.models.grouped_sdpa import alibi_bias

CPU = torch.device("cpu")


def run_python(script: str, *options: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([sys.executable, *options, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done


# ---- position ids


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64, torch.int16])
def test_position_ids_of_the_example(dtype):
    position_ids = create_position_ids_packed(torch.tensor([0, 3, 7, 10], dtype=dtype))
    assert position_ids.tolist() == [0, 1, 2, 0, 1, 2, 3, 0, 1, 2]
    assert position_ids.dtype == torch.int64
    assert position_ids.device == CPU


@given(st.lists(st.integers(1, 30), min_size=1, max_size=40))
def test_position_ids_equal_a_plain_loop(lengths):
    cu_seqlens = torch.tensor([0, *lengths]).cumsum(0).to(torch.int32)
    assert create_position_ids_packed(cu_seqlens).tolist() == [i for length in lengths for i in range(length)]
    assert module.position_ids_unchecked(cu_seqlens, sum(lengths)).tolist() == [i for n in lengths for i in range(n)]


BAD_BORDERS = {
    "start": (torch.tensor([1, 3]), r"must start with 0, got 1; .*\[0, len1, len1\+len2, \.\.\.\]"),
    "negative start": (torch.tensor([-1, 3]), "must start with 0, got -1"),
    "decreasing": (torch.tensor([0, 5, 3]), "strictly increasing .*5 is followed by 3 at index 2"),
    "empty sequence": (torch.tensor([0, 3, 3, 4]), "no empty sequences.*3 is followed by 3 at index 2"),
    "one element": (torch.tensor([0]), "at least 2 elements, got 1"),
    "no element": (torch.tensor([], dtype=torch.int32), "at least 2 elements, got 0"),
    "2-D": (torch.tensor([[0, 3]]), "must be 1-D, got 2 dimensions"),
    "0-D": (torch.tensor(0), "must be 1-D, got 0 dimensions"),
    "float": (torch.tensor([0.0, 3.0]), "integer dtype, got torch.float32"),
    "bool": (torch.tensor([False, True]), "integer dtype, got torch.bool"),
}


@pytest.mark.parametrize("error", [PackedFormatError, AssertionError, ValueError, VirnucproError])
@pytest.mark.parametrize(("cu_seqlens", "message"), BAD_BORDERS.values(), ids=BAD_BORDERS)
def test_position_ids_refuse(cu_seqlens, message, error):
    with pytest.raises(error, match=message):
        create_position_ids_packed(cu_seqlens)


# ---- the wrapper


class OnGPU(torch.Tensor):
    """A CPU tensor that says it is on a GPU, so that the checks behind the CUDA step run anywhere."""

    is_cuda = property(lambda self: True)


def wrapper_call(**changes):
    """Call the wrapper with 10 rows in sequences of 3 and 7 tokens, `changes` put in."""
    q = changes.pop("q", torch.zeros(10, 2, 8, dtype=torch.float16))
    arguments = {"q": q, "k": q, "v": q, "cu_seqlens": torch.tensor([0, 3, 10], dtype=torch.int32), "max_seqlen": 7}
    arguments |= changes
    if arguments.pop("on_gpu", True):
        arguments = {n: t.as_subclass(OnGPU) if isinstance(t, torch.Tensor) else t for n, t in arguments.items()}
    return flash_attn_varlen_wrapper(**arguments)


def borders(*values):
    return torch.tensor(values, dtype=torch.int32)


# In the order of the checks: each fault comes with all later ones, so the message proves the order.
FLOAT = {"q": torch.zeros(10, 2, 8), "cu_seqlens": borders(1, 1, 9), "max_seqlen": 5}
INT64 = FLOAT | {"cu_seqlens": torch.tensor([1, 1, 9])}
ORDERED_FAULTS = {
    "no flash-attn": (ImportError, r"pip install 'virnucpro\[flash\]'", False, False, INT64 | {"on_gpu": False}),
    "no CUDA": (RuntimeError, "torch sees none", True, False, INT64 | {"on_gpu": False}),
    "CPU tensors": (RuntimeError, "must be on a CUDA device, got cpu", True, True, INT64 | {"on_gpu": False}),
    "int64": (ValueError, r"must be int32, got torch.int64; use cu_seqlens\.to\(torch\.int32\)", True, True, INT64),
    "fp32": (ValueError, r"or all bfloat16, got torch\.float32.*use q\.to\(torch\.bfloat16\)", True, True, FLOAT),
    "start": (PackedFormatError, "start with 0", True, True, {"cu_seqlens": borders(1, 1, 9), "max_seqlen": 5}),
    "increasing": (PackedFormatError, "increasing", True, True, {"cu_seqlens": borders(0, 3, 3, 9), "max_seqlen": 5}),
    "end": (PackedFormatError, "end at T = 10.* got 9", True, True, {"cu_seqlens": borders(0, 3, 9), "max_seqlen": 5}),
    "longest": (PackedFormatError, "at least the longest sequence, 7, got 5", True, True, {"max_seqlen": 5}),
}  # fmt: skip


@pytest.mark.parametrize(("error", "message", "flash", "cuda", "changes"), ORDERED_FAULTS.values(), ids=ORDERED_FAULTS)
def test_wrapper_refuses_in_order(monkeypatch, error, message, flash, cuda, changes):
    monkeypatch.setattr(module, "FLASH_ATTN_AVAILABLE", flash)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    with pytest.raises(error, match=message) as caught:
        wrapper_call(**changes)
    if error is PackedFormatError:
        assert isinstance(caught.value, AssertionError)
        assert isinstance(caught.value, ValueError)
        assert "[0, len1, len1+len2, ...]" in str(caught.value)
    else:
        assert type(caught.value) is error


HALF = torch.zeros(10, 2, 8, dtype=torch.float16)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"k": HALF.bfloat16()}, "torch.float16, torch.bfloat16, torch.float16"),
        ({"v": HALF.float()}, "torch.float16, torch.float16, torch.float32"),
        ({"v": HALF[:9]}, r"\(9, 2, 8\)"),
        ({"k": HALF[:, :1]}, r"\(10, 1, 8\)"),
        ({"q": HALF[:, 0]}, r"\(T, H, Dh\)"),
        ({"cu_seqlens": borders(0)}, "at least 2 elements"),
        ({"cu_seqlens": borders(0, 10)[None]}, "1-D"),
    ],
)
def test_wrapper_refuses_tensors_that_are_not_alike(monkeypatch, changes, message):
    monkeypatch.setattr(module, "FLASH_ATTN_AVAILABLE", True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(ValueError, match=message):
        wrapper_call(**changes)


def test_errors_survive_python_optimisation():
    script = """
import torch, virnucpro.models.packed_attention as m
assert False, "assertions are off, this does not raise"
caught = []
def attempt(call):
    try:
        call()
    except (AssertionError, ImportError, RuntimeError, ValueError) as error:
        caught.append(type(error).__name__)
class OnGPU(torch.Tensor):
    is_cuda = property(lambda self: True)
q = torch.zeros(10, 2, 8, dtype=torch.float16).as_subclass(OnGPU)
wrap = lambda b, q=q: m.flash_attn_varlen_wrapper(q, q, q, torch.tensor(b).int().as_subclass(OnGPU), 7)
for bad in ([1, 3], [0, 3, 3], [0], [0.0, 1.0]):
    attempt(lambda: m.create_position_ids_packed(torch.tensor(bad)))
m.FLASH_ATTN_AVAILABLE = False
attempt(lambda: wrap([0, 10]))
m.FLASH_ATTN_AVAILABLE, torch.cuda.is_available = True, lambda: True
for bad in ([1, 10], [0, 3, 3, 10], [0, 3, 9], [0, 1, 10]):
    attempt(lambda: wrap(bad))
attempt(lambda: wrap([0, 10], q.float()))
print(*caught)
"""
    expected = ["PackedFormatError"] * 4 + ["ImportError"] + ["PackedFormatError"] * 4 + ["ValueError"]
    assert run_python(script, "-O").stdout.split() == expected


# ---- import


def test_flash_attn_available_is_a_bool():
    assert type(FLASH_ATTN_AVAILABLE) is bool
    assert (module._flash_attn_varlen_func is not None) == FLASH_ATTN_AVAILABLE


FUNCTION = "\ndef flash_attn_varlen_func(*a, **k): ...\n"
PACKAGES = {  # flash_attn/__init__.py -> (available, a word of the one log line, or "" for none)
    "new": ("__version__ = '2.8.3.post2'" + FUNCTION, True, ""),
    "oldest that works": ("__version__ = '2.6.0'" + FUNCTION, True, ""),
    "old": ("__version__ = '2.5.0'" + FUNCTION, True, "pip install --upgrade 'flash-attn>=2.6.0'"),
    "old by number, not by text": ("__version__ = '2.10.0'" + FUNCTION, True, ""),
    "unreadable version": ("__version__ = 'from-source'" + FUNCTION, True, ""),
    "no version": (FUNCTION, False, "ImportError"),
    "no varlen function": ("__version__ = '1.0.9'", False, "ImportError"),
    "broken binary": ("raise OSError('undefined symbol: _ZN3c10')", False, "undefined symbol"),
    "wrong torch": ("raise RuntimeError('built for another torch')", False, "built for another torch"),
    "without its extension": ("import flash_attn_2_lost", False, "flash_attn_2_lost"),
}


def test_import_survives_every_flash_attn(tmp_path):
    for number, (text, _, _) in enumerate(PACKAGES.values()):
        package = tmp_path / str(number) / "flash_attn"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text(text)
    script = f"""
import importlib, json, logging, sys, torch
lines, found = [], []
handler = logging.Handler()
handler.emit = lambda record: lines.append((record.levelname, record.getMessage()))
logging.getLogger("virnucpro").addHandler(handler)
for number in range({len(PACKAGES)}):
    for name in [n for n in sys.modules if n == "flash_attn" or n.startswith("virnucpro.models")]:
        del sys.modules[name]
    sys.path.insert(0, {str(tmp_path)!r} + "/" + str(number))
    importlib.invalidate_caches()
    lines.clear()
    from virnucpro.models import FLASH_ATTN_AVAILABLE
    found.append((FLASH_ATTN_AVAILABLE, list(lines)))
    del sys.path[0]
print(json.dumps(found))
"""
    found = json.loads(run_python(script).stdout)
    for (name, (_, available, word)), (is_available, lines) in zip(PACKAGES.items(), found, strict=True):
        assert is_available is available, name
        assert len(lines) == bool(word), (name, lines)
        assert all(level == "WARNING" and word in line for level, line in lines), (name, lines)


def test_import_prints_nothing_and_is_light():
    script = """
import sys, virnucpro
assert "torch" not in sys.modules, "import virnucpro imported torch"
import virnucpro.models, virnucpro.data, virnucpro.pipeline.async_inference, torch
assert not torch.cuda.is_initialized(), "importing touched CUDA"
"""
    done = run_python(script, "-W", "error::UserWarning")
    assert (done.stdout, done.stderr) == ("", "")


# ---- backends


@pytest.mark.parametrize("alibi", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_cpu_gets_sdpa(dtype, alibi):
    assert module.choose_backend(CPU, dtype, 64, alibi).name == "sdpa"
    assert module.choose_backend(CPU, dtype, 64, alibi, request="sdpa").name == "sdpa"


def test_explanations_name_every_backend():
    reasons = dict(module.explain_backends(CPU, torch.float32, 64))
    names = ["triton", "torch-varlen", "flash-attn", "sdpa"]
    assert list(reasons) == [backend.name for backend in module.BACKENDS] == names
    assert reasons["sdpa"] == ""
    assert all(reasons[name] for name in names[:-1])
    assert dict(module.explain_backends(CPU, torch.float32, 64, alibi=True))["torch-varlen"] == "has no ALiBi"


@pytest.mark.parametrize("flash", [False, True])
def test_refusals_say_what_is_needed(monkeypatch, flash):
    monkeypatch.setattr(module, "FLASH_ATTN_AVAILABLE", flash)
    reasons = dict(module.explain_backends(CPU, torch.bfloat16, 64))
    assert reasons["flash-attn"] == reasons["torch-varlen"] == "needs a CUDA GPU, the model is on cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert module.choose_backend(torch.device("cuda"), torch.bfloat16, 64).name == "sdpa"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: (8, 0))
    explain = {
        (torch.float32, 64): "needs float16 or bfloat16, the model computes in float32",
        (torch.bfloat16, 20): "multiple of 8 up to 256, got 20",
        (torch.bfloat16, 264): "multiple of 8 up to 256, got 264",
        (torch.float16, 64): "",
    }
    this = f"this is {torch.__version__}"
    for (dtype, width), word in explain.items():
        found = dict(module.explain_backends(torch.device("cuda"), dtype, width))
        if word:
            assert word in found["torch-varlen"]
            assert word in found["flash-attn"]
            continue
        assert found["torch-varlen"] == ("" if module._torch_varlen_attn() else f"needs torch 2.10 or newer, {this}")
        assert found["flash-attn"].startswith("" if flash else "is not installed: pip install 'virnucpro[flash]'")
        assert bool(found["flash-attn"]) != flash
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: (7, 5))
    assert "8.0" in dict(module.explain_backends(torch.device("cuda"), torch.float16, 64))["torch-varlen"]


def test_flash_attn_gets_the_borders_twice_and_the_options(monkeypatch):
    calls = []
    monkeypatch.setattr(
        module, "_flash_attn_varlen_func", lambda *given, **named: calls.append((given, named)) or given[0]
    )
    q, k, v = torch.zeros(3, 10, 2, 8, dtype=torch.float16)
    slopes, cu_seqlens = torch.tensor([0.5, 0.25]), borders(0, 3, 10)
    backend = next(backend for backend in module.BACKENDS if backend.name == "flash-attn")
    plan = backend.prepare(cu_seqlens, 7)
    assert backend.attend(q, k, v, plan, slopes) is q
    monkeypatch.setattr(module, "FLASH_ATTN_AVAILABLE", True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    wrapper_call(max_seqlen=8, dropout_p=0.1, causal=True, softmax_scale=0.3)
    (first, named), (second, options) = calls
    assert first[:3] == (q, k, v)
    assert first[3] is first[4] is cu_seqlens
    assert first[5:] == (7, 7)
    assert named == {"alibi_slopes": slopes}
    assert second[5:] == (8, 8)
    assert options == {"alibi_slopes": None, "dropout_p": 0.1, "causal": True, "softmax_scale": 0.3}


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ("fastest", "one of triton, torch-varlen, flash-attn, sdpa, got 'fastest'"),
        ("torch-varlen", "cannot be used: it needs"),
    ],
)
def test_a_backend_that_cannot_serve_is_refused(request_, message):
    with pytest.raises(ConfigError, match=message):
        module.choose_backend(CPU, torch.float32, 64, request=request_)


def test_alibi_bias_is_symmetric_and_relative():
    bias = alibi_bias(torch.tensor([0.5, 0.25]), 4)
    expected = [[[-slope * abs(i - j) for j in range(4)] for i in range(4)] for slope in (0.5, 0.25)]
    assert bias.tolist() == expected


def test_import_on_a_cpu_leaves_the_compiler_out():
    """torch's varlen operator brings in torch._dynamo, which takes seconds to import."""
    code = "import sys, virnucpro.models; print('torch._dynamo' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


# ---- bfloat16 on CPUs, of which some have a unit for matrices


@pytest.mark.parametrize("amx", [True, False])
@pytest.mark.parametrize("head_width", [32, 64])
@pytest.mark.parametrize("lengths", [[1, 17, 17, 64, 200], [300]], ids=str)
def test_bfloat16_on_cpus_of_both_kinds(monkeypatch, lengths, head_width, amx):
    monkeypatch.setattr(grouped_sdpa, "_has_amx", lambda: amx)
    borders, sdpa = F.pad(torch.tensor(lengths).cumsum(0), (1, 0)).int(), grouped_sdpa.GroupedSDPA()
    qkv = torch.randn(sum(lengths), 3, 2, head_width, generator=torch.Generator().manual_seed(0)).bfloat16()
    plan = sdpa.prepare(borders, max(lengths))
    found, exact = (sdpa.attend(*values.unbind(1), plan).double() for values in (qkv, qkv.double()))
    assert (found - exact).norm() / exact.norm() <= 6e-3  # logits, weights and results are rounded to 8 bits
