"""Token ids against fair-esm, against plain loops, and against transformers for the BPE of DNABERT-S."""

import random
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from virnucpro.errors import ConfigError, ModelError
from virnucpro.models.tokenizers import ESM2_ALPHABET, BPETokenizer, ESM2Tokenizer, KmerTokenizer
from virnucpro.seq.strings import Strings

PUBLISHED_BPE = Path(__file__).resolve().parents[3] / "shared" / "data" / "dnabert2_tokenizer" / "tokenizer.json"


def as_lists(rows):
    assert all(row.dtype == np.int64 for row in rows)
    return [row.tolist() for row in rows]


# ---- ESM-2


def test_alphabet_equals_fair_esm():
    from esm.data import Alphabet

    assert list(ESM2_ALPHABET) == Alphabet.from_architecture("ESM-1b").all_toks
    special = ESM2Tokenizer
    assert [ESM2_ALPHABET[i] for i in (special.cls_token, special.pad_token, special.eos_token)] == [
        "<cls>", "<pad>", "<eos>",
    ]  # fmt: skip
    assert (ESM2_ALPHABET[special.unk_token], ESM2_ALPHABET[special.mask_token]) == ("<unk>", "<mask>")


PROTEINS = ["LAGVSERTIDPKQNFYMHWC", "XBUZO.-", "M", "MKX" * 500]


def test_esm2_tokens_equal_fair_esm():
    from esm.data import Alphabet

    alphabet = Alphabet.from_architecture("ESM-1b")
    convert = alphabet.get_batch_converter()
    rows = ESM2Tokenizer()([protein.encode() for protein in PROTEINS])
    for protein, row in zip(PROTEINS, as_lists(rows), strict=True):
        assert row == convert([("", protein)])[2][0].tolist()
    printable = "".join(map(chr, range(33, 127)))  # the converter raises on other letters, get_idx gives <unk>
    assert as_lists(ESM2Tokenizer()([printable.encode()]))[0][1:-1] == [alphabet.get_idx(c) for c in printable]


@pytest.mark.parametrize("tokenizer", [ESM2Tokenizer(), KmerTokenizer(3)])
def test_rows_do_not_depend_on_the_batch(tokenizer):
    rng = random.Random(0)
    sequences = ["".join(rng.choices("ACGTN", k=n)).encode() for n in (0, 7, 1, 0, 30, 3, 0)]
    assert as_lists(tokenizer(sequences)) == [tokenizer([s])[0].tolist() for s in sequences]
    assert tokenizer([]) == []
    assert as_lists(tokenizer([b""])) == [[0, 2]]


PROTEIN = Strings.of([b"", b"MKX", b"J"])


def test_encoded_tokens_lie_end_to_end_in_the_smallest_type(tmp_path):
    dna = Strings.of([b"GAT", b"", b"TNCAT"])
    bpe = BPETokenizer(write_bpe(tmp_path / "tokenizer.json"))
    cases = [(ESM2Tokenizer(), PROTEIN, np.uint8), (KmerTokenizer(3), dna, np.uint8), (KmerTokenizer(4), dna, np.int16),
             (KmerTokenizer(8), dna, np.int32), (bpe, dna, np.uint8)]  # fmt: skip
    for tokenizer, strings, dtype in cases:
        tokens, lengths = tokenizer.encode(strings)
        assert tokens.dtype == dtype
        rows = tokenizer(strings.tolist())
        assert lengths.tolist() == [len(row) for row in rows]
        assert tokens.tolist() == [token for row in rows for token in row.tolist()]
        tokens, lengths = tokenizer.encode(Strings.of([]))
        assert (tokens.tolist(), lengths.tolist()) == ([], [])


# ---- k-mers


@pytest.mark.parametrize("k", [1, 3, 4])
def test_kmers_equal_a_plain_loop(k):
    tokenizer = KmerTokenizer(k)
    number = {"".join(letters): i for i, letters in enumerate(product("ACGT", repeat=k), start=4)}
    rng = random.Random(k)
    sequences = ["".join(rng.choices("ACGT" * 5 + "NU", k=n)) for n in range(25)]
    expected = [[0, *(number.get(s[i : i + k], 3) for i in range(0, len(s), k)), 2] for s in sequences]
    assert as_lists(tokenizer([s.encode() for s in sequences])) == expected
    assert tokenizer.vocabulary == tokenizer.mask_token + 1 == 4**k + 5


def test_the_widest_kmer_has_exact_codes():
    assert as_lists(KmerTokenizer(8)([b"TTTTTTTT", b"TTTTTTTN", b"NAAAAAAA"])) == [
        [0, 3 + 4**8, 2], [0, 3, 2], [0, 3, 2],
    ]  # fmt: skip


@pytest.mark.parametrize("k", [0, 9])
def test_k_out_of_range(k):
    with pytest.raises(ConfigError, match=f"1 to 8, got {k}"):
        KmerTokenizer(k)


# ---- BPE


def dna(rng, length, letters="ACGT"):
    return "".join(rng.choices(letters, k=length))


def write_bpe(path):
    """Write a small tokenizer.json of DNABERT-2's form: BPE, whitespace, [CLS] A [SEP], truncation and padding set."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers

    special = ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"]
    tokenizer = Tokenizer(models.BPE(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    rng = random.Random(1)
    tokenizer.train_from_iterator(
        [dna(rng, 200) for _ in range(50)],
        trainers.BpeTrainer(vocab_size=120, special_tokens=special, show_progress=False),
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    tokenizer.enable_truncation(20)
    tokenizer.enable_padding(pad_id=3, pad_token="[PAD]")
    tokenizer.save(str(path))
    return path


@pytest.fixture(params=["small", "published"])
def bpe_file(request, tmp_path):
    if request.param == "small":
        return write_bpe(tmp_path / "tokenizer.json")
    if not PUBLISHED_BPE.is_file():
        pytest.skip("the published DNABERT-2 tokenizer is not beside the checkout")
    return PUBLISHED_BPE


def test_bpe_equals_transformers_without_truncation(bpe_file):
    from transformers import PreTrainedTokenizerFast

    reference = PreTrainedTokenizerFast(
        tokenizer_file=str(bpe_file), unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]", pad_token="[PAD]"
    )
    rng = random.Random(2)
    sequences = [dna(rng, n) for n in (1, 2, 75, 500, 6000)] + ["ACGNNACGT", "NNN", "acgt", "ACGUACGU"]
    tokenizer = BPETokenizer(bpe_file)
    rows = as_lists(tokenizer([s.encode() for s in sequences]))
    assert rows == [reference(s, truncation=False, padding=False)["input_ids"] for s in sequences]
    assert all((row[0], row[-1]) == (1, 2) and 3 not in row for row in rows)  # [CLS] ... [SEP], no [PAD]
    assert len(rows[4]) > 1000  # the file's own limit of tokens does not act
    assert tokenizer.pad_token == 3
    assert tokenizer([]) == []


@pytest.mark.parametrize("text", [None, "{", "{}"])
def test_bpe_refuses_a_bad_file(tmp_path, text):
    path = tmp_path / "tokenizer.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ModelError, match=r"not a readable tokenizer\.json"):
        BPETokenizer(path)


def test_bpe_refuses_another_models_file(tmp_path):
    from tokenizers import Tokenizer, models

    path = tmp_path / "tokenizer.json"
    Tokenizer(models.BPE({"A": 0}, [])).save(str(path))
    with pytest.raises(ModelError, match=r"no \[PAD\] token"):
        BPETokenizer(path)
