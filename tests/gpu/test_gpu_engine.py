"""The packed engine on a CUDA device: every backend that the device offers, the wrapper's checks, no hidden waits.

The reference is always the padded path in float32 on the same device, without TF32.
"""

import random
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from support.hosts import write_hosts_model
from support.models import pack_rows, random_rows, randomise, row_error, write_model
from support.screens import make_published_model

from virnucpro.data import pad, unpad
from virnucpro.errors import PackedFormatError
from virnucpro.models import (
    DNABERT,
    ESM2,
    FLASH_ATTN_AVAILABLE,
    DNABERTConfig,
    ESM2Config,
    create_position_ids_packed,
    flash_attn_varlen_wrapper,
)
from virnucpro.models.packed_attention import BACKENDS
from virnucpro.models.pooling import PoolingWindow, mean_pool_packed
from virnucpro.models.tokenizers import ESM2Tokenizer, KmerTokenizer
from virnucpro.pipeline.async_inference import AsyncInferenceRunner
from virnucpro.pipeline.predict import Options, Predictor
from virnucpro.pretrained.registry import Encoder, load_model
from virnucpro.run.text_pool import TextPool
from virnucpro.run.unit_caller import UnitCaller
from virnucpro.seq.block import RecordBlock
from virnucpro.types import Record

ALL_TOKENS = PoolingWindow()
RESIDUES = PoolingWindow(skip_first=1, skip_last=1, limit=1024)

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
needs_flash_attn = pytest.mark.skipif(not FLASH_ATTN_AVAILABLE, reason="flash-attn cannot be imported")

CUDA = torch.device("cuda")

# The gate for half precision: bfloat16 rounds weights and activations by up to 2^-9 = 2e-3, a layer does so about ten
# times in a row, and nothing is amplified (see GAIN).
HALF = 1e-2
# Float32 sums in another order, a few layers deep.
FP32 = 1e-5
# A neighbour's values must not enter a sequence's arithmetic: with equal shapes not one rounding may differ.
NEIGHBOUR = {torch.float32: 1e-6, torch.bfloat16: 1e-3}
# One attention: float16 and bfloat16 round the output and the probabilities once each (2^-12 and 2^-9).
ATTENTION = {torch.float16: 2e-3, torch.bfloat16: 1e-2}

MODELS = {
    "esm2-6x320x20": lambda: ESM2(ESM2Config(6, 320, 20)),
    "esm2-4x1280x20": lambda: ESM2(ESM2Config(4, 1280, 20)),
    "dnabert-4x768x12": lambda: DNABERT(DNABERTConfig(layers=4)),
}
# Standard deviation of the outputs of a dense layer whose inputs have 1. A post-LayerNorm model weighs its branches
# against a residual of 1 and multiplies two halves in the gate, so DNABERT's own initialisation (0.02) is 0.55.
GAIN = {"esm2": 1.0, "dnabert": 0.55}
SMALL = ["esm2-6x320x20", "dnabert-4x768x12"]
LENGTHS = [168, 1, 59, 168, 3, 1024, 57, 300, 168, 2, 65, 512]


@pytest.fixture(autouse=True)
def exact_float32():
    """Float32 products in full float32."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")  # sets torch.backends.cuda.matmul.allow_tf32 = False
    assert not torch.backends.cuda.matmul.allow_tf32
    yield
    torch.set_float32_matmul_precision(before)


def make_model(name, dtype=torch.float32, attention="auto"):
    """Return a model with activations of a realistic size, none of whose weights has its default value."""
    gain = GAIN[name.partition("-")[0]]
    return randomise(MODELS[name](), seed=3, spread=0.1, gain=gain).place(CUDA, dtype, attention)


def make_rows(lengths=LENGTHS, seed=0):
    return random_rows(lengths, 4, 24, seed)


def make_batch(rows):
    return pack_rows(rows).pin_memory().to(CUDA, non_blocking=True)


@torch.inference_mode()
def packed(model, batch):
    hidden = model.forward_packed(batch.input_ids, batch.cu_seqlens, batch.max_seqlen, position_ids=batch.position_ids)
    return hidden[model.n_layers]


@torch.inference_mode()
def padded(model, batch):
    return unpad(model(pad(batch, model.pad_token))[model.n_layers], batch)


def usable_model(name, dtype, backend):
    """Return the model with that backend, or skip with the backend's own reason."""
    probe = MODELS[name]()
    reason = backend.refusal(CUDA, dtype, probe.head_width, probe.uses_alibi)
    if reason:
        pytest.skip(f"{backend.name} {reason}")
    return make_model(name, dtype, backend.name)


every_backend = pytest.mark.parametrize("backend", BACKENDS, ids=lambda backend: backend.name)


# ---- (a) packed half precision against padded float32


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("name", MODELS)
@every_backend
def test_packed_equals_padded_float32(name, dtype, backend):
    model, batch = usable_model(name, dtype, backend), make_batch(make_rows())
    found, expected = packed(model, batch), padded(make_model(name), batch)
    tolerance = FP32 if dtype == torch.float32 else HALF
    per_token, window = row_error(found, expected), ALL_TOKENS if model.uses_alibi else RESIDUES
    long_enough = batch.cu_seqlens.diff() > window.skip_first + window.skip_last
    pooled = [mean_pool_packed(h, batch.cu_seqlens, window, batch.position_ids)[long_enough] for h in (found, expected)]
    per_vector = row_error(*pooled)
    print(f"{name} {backend.name} {dtype}: relative L2 per token {per_token:.2e}, per pooled vector {per_vector:.2e}")
    assert found.dtype == torch.float32
    assert per_token <= tolerance
    assert per_vector <= tolerance


@pytest.mark.parametrize("name", SMALL)
def test_padded_half_precision_is_as_near(name):
    batch = make_batch(make_rows())
    assert row_error(padded(make_model(name, torch.bfloat16), batch), padded(make_model(name), batch)) <= HALF


def test_the_gpu_prefers_our_own_kernel():
    assert make_model(SMALL[0], torch.bfloat16).backend.name == "triton"
    assert make_model(SMALL[0]).backend.name == "sdpa"
    assert make_model(SMALL[1], torch.bfloat16).backend.name == "triton"


# ---- (b) the public functions on CUDA tensors


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_position_ids_stay_on_the_device(dtype):
    cu_seqlens = torch.tensor([0, 3, 7, 10], dtype=dtype, device=CUDA)
    position_ids = create_position_ids_packed(cu_seqlens)
    assert position_ids.device == cu_seqlens.device
    assert position_ids.dtype == torch.int64
    assert position_ids.tolist() == [0, 1, 2, 0, 1, 2, 3, 0, 1, 2]
    for bad in ([1, 3], [0, 3, 3], [0]):
        with pytest.raises(PackedFormatError):
            create_position_ids_packed(torch.tensor(bad, dtype=dtype, device=CUDA))


def plain_attention(q, k, v, lengths, causal, scale):
    """Attend sequence by sequence in float32, the matrix written out."""
    outputs = []
    for q1, k1, v1 in zip(*(t.float().split(lengths) for t in (q, k, v)), strict=True):
        logits = torch.einsum("ihd,jhd->hij", q1, k1) * scale
        if causal:
            logits = logits.masked_fill(torch.ones_like(logits[0], dtype=torch.bool).triu(1), float("-inf"))
        outputs.append(torch.einsum("hij,jhd->ihd", logits.softmax(-1), v1))
    return torch.cat(outputs)


def make_qkv(lengths, dtype=torch.bfloat16, heads=4, width=64):
    generator = torch.Generator().manual_seed(5)
    q, k, v = torch.randn(3, sum(lengths), heads, width, generator=generator).to(CUDA, dtype)
    cu_seqlens = torch.tensor([0, *lengths]).cumsum(0).to(CUDA, torch.int32)
    return {"q": q, "k": k, "v": v, "cu_seqlens": cu_seqlens, "max_seqlen": max(lengths)}


@needs_flash_attn
@pytest.mark.parametrize("dtype", ATTENTION, ids=str)
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("scale", [None, 0.3])
@pytest.mark.parametrize("spare", [0, 100])
def test_wrapper_equals_plain_attention(dtype, causal, scale, spare):
    lengths = [17, 1, 130, 64, 3]
    call = make_qkv(lengths, dtype)
    call["max_seqlen"] += spare
    found = flash_attn_varlen_wrapper(**call, causal=causal, softmax_scale=scale)
    expected = plain_attention(call["q"], call["k"], call["v"], lengths, causal, scale or 64**-0.5)
    assert found.dtype == dtype
    assert found.shape == call["q"].shape
    assert row_error(found.flatten(1), expected.flatten(1)) <= ATTENTION[dtype]
    other = plain_attention(call["q"], call["k"], call["v"], lengths, not causal, scale or 64**-0.5)
    assert row_error(found.flatten(1), other.flatten(1)) > 10 * ATTENTION[dtype]  # the test sees a wrong mask


def borders(*values, dtype=torch.int32):
    return torch.tensor(values, dtype=dtype, device=CUDA)


REFUSALS = {  # a function, so that collecting needs no device: -> error class, message, changed arguments
    "fp32": lambda c: (ValueError, "float16 or all bfloat16", {name: c[name].float() for name in "qkv"}),
    "mixed": lambda c: (ValueError, "float16 or all bfloat16", {"k": c["k"].half()}),
    "int64": lambda c: (ValueError, "must be int32", {"cu_seqlens": borders(0, 3, 10, dtype=torch.int64)}),
    "start": lambda c: (PackedFormatError, "start with 0", {"cu_seqlens": borders(1, 3, 10)}),
    "increasing": lambda c: (PackedFormatError, "strictly increasing", {"cu_seqlens": borders(0, 3, 3, 10)}),
    "end": lambda c: (PackedFormatError, "end at T = 10", {"cu_seqlens": borders(0, 3, 9)}),
    "longest": lambda c: (PackedFormatError, "longest sequence, 7", {"max_seqlen": 6}),
    "shape": lambda c: (ValueError, "must have one shape", {"v": c["v"][:9]}),
    "all on CPU": lambda c: (
        RuntimeError, "must be on a CUDA device", {name: c[name].cpu() for name in ("q", "k", "v", "cu_seqlens")},
    ),
    "q on CPU": lambda c: (RuntimeError, "got cpu, cuda:0", {"q": c["q"].cpu()}),
    "cu_seqlens on CPU": lambda c: (RuntimeError, "must be on a CUDA device", {"cu_seqlens": c["cu_seqlens"].cpu()}),
}  # fmt: skip


@needs_flash_attn
@pytest.mark.parametrize("fault", REFUSALS.values(), ids=REFUSALS)
def test_wrapper_refuses(fault):
    call = make_qkv([3, 7])
    flash_attn_varlen_wrapper(**call)  # without the fault it runs
    error_class, message, changes = fault(call)
    with pytest.raises(error_class, match=message) as caught:
        flash_attn_varlen_wrapper(**(call | changes))
    assert type(caught.value) is error_class
    if error_class is PackedFormatError:
        assert isinstance(caught.value, AssertionError)
        assert isinstance(caught.value, ValueError)


@pytest.mark.skipif(FLASH_ATTN_AVAILABLE, reason="flash-attn is installed")
def test_wrapper_without_flash_attn():
    with pytest.raises(ImportError, match="pip install"):
        flash_attn_varlen_wrapper(**make_qkv([3, 7]))


# ---- (c) order and neighbours


@pytest.mark.parametrize("dtype", NEIGHBOUR, ids=str)
@pytest.mark.parametrize("name", SMALL)
@every_backend
def test_neither_order_nor_neighbours_matter(name, dtype, backend):
    model, rows = usable_model(name, dtype, backend), make_rows([168, 59, 300, 1, 59])
    lengths = [len(row) for row in rows]
    first = packed(model, make_batch(rows)).split(lengths)
    for order in ([4, 3, 2, 1, 0], [2, 0, 4, 1, 3]):
        found = packed(model, make_batch([rows[i] for i in order])).split([lengths[i] for i in order])
        for i, values in zip(order, found, strict=True):
            assert row_error(values, first[i]) <= NEIGHBOUR[dtype], (order, i)
    others = make_rows(lengths, seed=9)
    for i in range(len(rows)):  # all neighbours other, i the same
        changed = [row if j == i else others[j] for j, row in enumerate(rows)]
        found = packed(model, make_batch(changed)).split(lengths)
        assert row_error(found[i], first[i]) <= NEIGHBOUR[dtype], i
        assert row_error(found[i - 1], first[i - 1]) > 0.05  # the others did change


@pytest.mark.parametrize("dtype", NEIGHBOUR, ids=str)
@every_backend
def test_alone_equals_in_company(dtype, backend):
    """Another T may choose another matrix product: another order of sums, and in half precision other roundings."""
    model, rows = usable_model(SMALL[0], dtype, backend), make_rows([168, 59, 300, 1, 59])
    together = packed(model, make_batch(rows)).split([len(row) for row in rows])
    for row, values in zip(rows, together, strict=True):
        alone = packed(model, make_batch([row]))
        assert row_error(values, alone) <= (FP32 if dtype == torch.float32 else HALF)


# ---- (d) the packed path never waits for the device


@pytest.mark.filterwarnings("ignore:Synchronization debug mode")
@pytest.mark.parametrize("name", SMALL)
@every_backend
def test_no_synchronisation(name, backend):
    if backend.name == "sdpa":
        pytest.skip("sdpa groups by length on the host: one synchronisation a batch")
    model, batch = usable_model(name, torch.bfloat16, backend), make_batch(make_rows())
    window = ALL_TOKENS if model.uses_alibi else RESIDUES

    def embed():
        return mean_pool_packed(packed(model, batch), batch.cu_seqlens, window, batch.position_ids)

    warm = embed()  # kernels are loaded and memory is taken here
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        found = embed()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.equal(found.nan_to_num(), warm.nan_to_num())


# ---- (e) the runner


@pytest.mark.parametrize("packing", [True, False])
@pytest.mark.parametrize("name", SMALL)
def test_runner_equals_the_cpu(name, packing):
    generator = torch.Generator().manual_seed(4)
    letters, tokenizer, window = b"LAGVSERTIDPKQNFYMHWC", ESM2Tokenizer(), RESIDUES
    if name.startswith("dnabert"):
        letters, tokenizer, window = b"ACGT", KmerTokenizer(3), ALL_TOKENS
    lengths = torch.randint(1, 300, (200,), generator=generator).tolist()
    sequences = [bytes(letters[i] for i in torch.randint(len(letters), (n,), generator=generator)) for n in lengths]
    reference, model = make_model(name).place("cpu"), make_model(name, torch.bfloat16)
    for m in (reference, model):
        m.pad_token = tokenizer.pad_token
    expected = AsyncInferenceRunner(Encoder(reference, tokenizer, window), "cpu", max_tokens=4096).embed(sequences)
    runner = AsyncInferenceRunner(Encoder(model, tokenizer, window), CUDA, max_tokens=4096, packing=packing)
    found = runner.embed(sequences)
    assert row_error(torch.from_numpy(found), torch.from_numpy(expected)) <= HALF
    names = [name for batch in runner.run((str(i), s) for i, s in enumerate(sequences)) for name in batch.sequence_ids]
    assert sorted(names) == sorted(map(str, range(200)))


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_the_second_gpu_gives_what_the_first_does(precision):
    generator = random.Random(5)
    records = [Record(str(i), "".join(generator.choices("ACGT", k=300)).encode()) for i in range(500)]
    found = []
    for device in ("cuda:0", "cuda:1"):
        predictor = Predictor(load_model("bundled"), Options(device=device, precision=precision, max_tokens=2048))
        with ThreadPoolExecutor(1) as pool:  # as the engine does: the current device is a thread's own
            found.append(pool.submit(lambda p: [result.call for result in p.run(records)], predictor).result())
    assert found[0] == found[1]


def test_a_screen_on_the_gpu_lets_through_what_it_does_on_the_cpu(tmp_path):
    """Several units at a time, with text processes; both models share the device."""
    generator = random.Random(6)
    records = [Record(str(i), "".join(generator.choices("ACGT", k=300)).encode()) for i in range(400)]
    small = write_hosts_model(tmp_path / "small", records)
    large = write_model(make_published_model(), tmp_path / "large")
    block, found = RecordBlock.of(records), {}
    for device in ("cpu", "cuda"):
        options = Options(
            device=device, precision="fp32", attention="sdpa", threads=2, screen=0.8, screen_model=str(small)
        )
        with UnitCaller(Predictor(load_model(str(large)), options), legacy=False, pool=TextPool(2)) as caller:
            with ThreadPoolExecutor(3) as threads:
                tallies = [tables.tally for tables in threads.map(caller.tables, [block] * 6)]
            assert tallies == [tallies[0]] * 6
            found[device] = caller.predictor.call(block)
        assert 0 < tallies[0].screened_chunks < tallies[0].chunks
    assert found["cuda"].chunk.status.tolist() == found["cpu"].chunk.status.tolist()
    assert found["cuda"].record.score == pytest.approx(found["cpu"].record.score, abs=1e-4, nan_ok=True)
