"""Embeddings: layers, residues, windows, and runs that go on."""

import json

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from support.files import contents
from support.published_files import write_dnabert, write_esm2

from virnucpro.cli.main import main
from virnucpro.pipeline.embed import windows
from virnucpro.pretrained.import_published import import_encoder
from virnucpro.pretrained.registry import load_encoder
from virnucpro.run import embed_directory, embeddings

# Float32 sums of up to 1022 terms in another order.
SAME = 1e-5

LENGTHS = (5, 30, 1, 90, 17, 64, 8)
PROTEINS = ["MKVLWAGTRE" * 10 for _ in LENGTHS]
PROTEINS = [protein[n % 7 : n % 7 + n] for protein, n in zip(PROTEINS, LENGTHS, strict=True)]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A small ESM-2 and a small DNABERT-S, each alone."""
    path = tmp_path_factory.mktemp("models")
    import_encoder("esm", "protein", write_esm2(path / "esm2"), path / "esm", {})
    import_encoder("dna", "nucleotide", write_dnabert(path / "dnabert"), path / "dna", {})
    return path


@pytest.fixture
def embed(models, tmp_path):
    """Embed the proteins with some options into `tmp_path / "out"`; return the exit code."""
    (tmp_path / "p.faa").write_text("".join(f">p{i}\n{protein}\n" for i, protein in enumerate(PROTEINS)))

    def run(*options: object, model: str = "esm", output: str = "out") -> int:
        arguments = ["-q", "embed", tmp_path / "p.faa", "--model", models / model, "-o", tmp_path / output]
        with pytest.raises(SystemExit) as end:
            main([str(argument) for argument in (*arguments, "--device", "cpu", "--precision", "fp32", *options)])
        return end.value.code or 0

    return run


def read(directory):
    """Return the vectors of each record, (rows, D), by its place in the input."""
    lines = [line.split("\t") for line in (directory / "ids.tsv").read_text().splitlines()]
    assert lines[0] == ["seq_name", "length", "shard", "row", "rows"]
    shards = {path.name: load_file(path)["embeddings"] for path in directory.glob("*.safetensors")}
    assert sum(len(shard) for shard in shards.values()) == sum(int(line[4]) for line in lines[1:])
    return [shards[shard][int(row) : int(row) + int(rows)] for _, _, shard, row, rows in lines[1:]]


@torch.no_grad()
def states(models, protein, layer):
    """Return the residues' hidden states of one protein, alone, by the padded path."""
    _, encoder = load_encoder(str(models / "esm"))
    ids = torch.from_numpy(encoder.tokenizer([protein.encode()])[0])[None]
    return encoder.model(ids, (layer,))[layer][0, 1:-1].numpy()


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_layers_and_residues(embed, models, tmp_path, layer):
    assert embed("--layer", layer, output="pooled") == 0
    assert embed("--layer", layer, "--per-residue", output="residues") == 0
    pooled, residues = read(tmp_path / "pooled"), read(tmp_path / "residues")
    for protein, vector, rows in zip(PROTEINS, pooled, residues, strict=True):
        expected = states(models, protein, layer)
        assert rows.shape == expected.shape == (len(protein), 32)
        np.testing.assert_allclose(rows, expected, atol=SAME)
        np.testing.assert_allclose(vector, expected.mean(0, keepdims=True), atol=SAME)


def test_the_last_layer_is_the_default(embed, tmp_path):
    assert embed() == embed("--layer", 2, output="last") == 0
    assert all(np.array_equal(a, b) for a, b in zip(read(tmp_path / "out"), read(tmp_path / "last"), strict=True))


def test_windows_cover_a_sequence_evenly():
    for length in range(1, 40):
        for most in range(1, 12):
            parts = windows(bytes(range(length)), most)
            assert b"".join(parts) == bytes(range(length))
            assert len(parts) == -(-length // most)
            sizes = {len(part) for part in parts}
            assert max(sizes) <= most
            assert max(sizes) - min(sizes) <= 1


def test_a_long_protein_is_the_mean_of_its_windows(embed, models, tmp_path):
    assert embed("--max-length", 20) == embed("--max-length", 20, "--per-residue", output="residues") == 0
    found, residues = read(tmp_path / "out"), read(tmp_path / "residues")
    for protein, vector, rows in zip(PROTEINS, found, residues, strict=True):
        expected = np.concatenate([states(models, part.decode(), 2) for part in windows(protein.encode(), 20)])
        np.testing.assert_allclose(rows, expected, atol=SAME)
        np.testing.assert_allclose(vector[0], expected.mean(0), atol=SAME)
    manifest = json.loads((tmp_path / "out" / "run.json").read_text())
    assert manifest["counts"] == {"sequences": 7, "windowed": 3, "shards": 1, "kept_shards": 0}
    assert (manifest["max_length"], manifest["kind"], manifest["model"]["name"]) == (20, "protein", "esm")
    assert embed(output="whole") == 0
    assert not np.allclose(read(tmp_path / "whole")[3], found[3], atol=1e-3)  # windows do not see each other


def test_a_long_protein_is_refused_where_that_is_asked(embed, tmp_path, capsys):
    assert embed("--max-length", 64, "--long", "refuse") == 65
    assert "record 'p3' has 90 letters, but at most 64 are allowed; use --long window" in capsys.readouterr().err
    assert not (tmp_path / "out" / "ids.tsv").exists()
    assert embed("--max-length", 90, "--long", "refuse", output="all") == 0


def test_dna_with_a_model_that_reads_nothing_else(embed, tmp_path, capsys):
    (tmp_path / "p.faa").write_text(f">dna\n{'ACGTTGCA' * 9}\n>rna\n{'ACGUUGCA' * 9}\n")
    assert embed(model="dna") == 0
    one, two = read(tmp_path / "out")
    assert np.array_equal(one, two)
    assert embed("--per-residue", model="dna", output="no") == 2
    assert "--per-residue needs one token per letter" in capsys.readouterr().err
    assert embed("--layer", 3, output="no") == 2
    assert "--layer must lie in 0..2" in capsys.readouterr().err
    assert embed("--kind", "nucleotide", output="no") == 2
    assert "kind must be protein for the model" in capsys.readouterr().err


DNA = "ACGTTGCATTAGCCGATAAC" * 9
SILK = "GAGAGSGAGAGSGAGAGY"


def refusal(embed, tmp_path, capsys, text, *options):
    """Embed a text; return what was said if it was refused, "" if it was not."""
    (tmp_path / "p.faa").write_text(text)
    capsys.readouterr()
    code = embed("--restart", *options)
    said = capsys.readouterr().err
    assert (code, said) == (0, "") or (code, len(said.splitlines())) == (65, 1), said
    return said


@pytest.mark.parametrize(
    "text",
    [
        f">a\n{DNA}\n",
        f">a\n{DNA.lower()}\n>b\nACGT\n",
        f">rna\n{DNA.replace('T', 'U')}\n",
        f">n\n{'NNNNN' + DNA + 'XXXXXXXX'}\n",
        f">iupac\n{DNA}RYSWKM\n",
        f">aligned\n{DNA[:90]}{'-' * 400}{DNA[90:]}\n",
        "".join(f">primer_{i}\nACGTTGCA\n" for i in range(6)),
        "".join(f">c{i}\n{DNA}\n" for i in range(150)) + f">p\n{'MKVLWAGTRE' * 900}\n",
        f"@read\n{DNA}\n+\n{'I' * len(DNA)}\n",
        "@read\nACGT\n+\nIIII\n",
        f">long\n{DNA * 6000}\n" + f">p\n{'MKVLWAGTRE' * 900}\n",
    ],
    ids=[
        "DNA",
        "lower case",
        "RNA",
        "N and X",
        "IUPAC",
        "aligned",
        "short ones",
        "many",
        "FASTQ",
        "short FASTQ",
        "long",
    ],
)
def test_nucleotides_are_refused_as_proteins(embed, tmp_path, capsys, text):
    said = refusal(embed, tmp_path, capsys, text)
    assert f"{tmp_path}/p.faa: " in said
    assert "nucleotides" in said
    assert "use --kind nucleotide" in said
    assert not list((tmp_path / "out").glob("*.*"))


def test_nucleotides_are_embedded_as_proteins_by_who_insists(embed, tmp_path, capsys):
    assert refusal(embed, tmp_path, capsys, f">a\n{DNA}\n", "--kind", "protein") == ""
    assert read(tmp_path / "out")[0].shape == (1, 32)


@pytest.mark.parametrize(
    "text",
    [
        ">short\nGAGA\n",
        f">silk\n{SILK * 30}\n",
        f">tag\nGAGACTGACTGACTGACTGACTGACTGACTGACTGA\n>p\n{'MKVLWAGTRE' * 10}\n",
        "".join(f">p{i}\n{'MKVLWAGTRE' * 3}\n" for i in range(100)) + f">a\n{DNA}\n",
        ">x\n" + "X" * 200 + "\n",
        "",
    ],
    ids=["a few letters", "silk", "one among proteins", "after a hundred proteins", "unknown", "empty"],
)
def test_proteins_of_few_kinds_of_residues_are_embedded(embed, tmp_path, capsys, text):
    if text:
        assert refusal(embed, tmp_path, capsys, text) == ""
        assert len(read(tmp_path / "out")) == text.count(">")


def test_each_file_is_looked_at(models, tmp_path, capsys):
    for name, text in (("a.faa", f">p\n{'MKVLWAGTRE' * 10}\n"), ("b.fna", f">a\n{DNA}\n")):
        (tmp_path / name).write_text(text)
    with pytest.raises(SystemExit) as end:
        main(["embed", *(str(tmp_path / name) for name in ("a.faa", "b.fna")), "-o", str(tmp_path / "out"),
              "--model", str(models / "esm"), "--device", "cpu"])  # fmt: skip
    assert end.value.code == 65
    said = capsys.readouterr().err
    assert (
        f"error: {tmp_path}/b.fna: nucleotides, expected proteins (all of the letters of its first record are" in said
    )


PLAIN = "MKVLAAGIVGLCAKWYHRDEQNPSTFIMKVLAAG"


def test_gaps_and_stops_at_the_end_change_nothing(embed, tmp_path, capsys):
    written = [
        f"{PLAIN}*",
        f"{PLAIN}**",
        f"{PLAIN[:9]}---{PLAIN[9:]}",
        f"..{PLAIN.lower()}*--",
        f"{PLAIN[:9]}-.-{PLAIN[9:]}-*",
    ]
    (tmp_path / "p.faa").write_text("".join(f">p{i}\n{protein}\n" for i, protein in enumerate([PLAIN, *written])))
    for options in ((), ("--per-residue",), ("--max-length", 20), ("--max-length", len(PLAIN), "--long", "refuse")):
        assert embed("--restart", *options) == 0
        plain, *others = read(tmp_path / "out")
        assert len(plain) == (len(PLAIN) if "--per-residue" in options else 1)
        for rows in others:
            np.testing.assert_allclose(rows, plain, atol=SAME)
    lengths = [line.split("\t")[1] for line in (tmp_path / "out" / "ids.tsv").read_text().splitlines()[1:]]
    assert lengths == [str(len(PLAIN))] * 6
    assert json.loads((tmp_path / "out" / "run.json").read_text())["left_out"] == {"letters": 16, "sequences": 5}


def test_the_closing_line_says_what_was_left_out(models, tmp_path, capsys):
    (tmp_path / "p.faa").write_text(f">a\n{PLAIN}*\n>b\n{PLAIN[:5]}--*{PLAIN[5:]}\n>c\n{PLAIN}\n")
    arguments = ["embed", tmp_path / "p.faa", "-o", tmp_path / "out", "--model", models / "esm", "--device", "cpu"]
    arguments += ["--precision", "bf16"]
    with pytest.raises(SystemExit) as end:
        main([str(argument) for argument in arguments])
    assert not end.value.code
    line = capsys.readouterr().err.splitlines()[-1]
    assert ", in bf16 on cpu; files are in " in line
    assert line.endswith(
        "; left out: 3 letters (gaps, and * at the end) of 2 sequences; "
        "* within 1 sequence was read as an unknown residue"
    )


@pytest.mark.parametrize("residue", "*JBZUOX")
def test_odd_residues_are_those_of_the_alphabet_or_unknown(embed, models, tmp_path, residue):
    """All but * and J have a token of their own in ESM-2."""
    protein = f"{PLAIN[:9]}{residue}{PLAIN[9:]}"
    (tmp_path / "p.faa").write_text(f">p\n{protein}\n")
    assert embed("--per-residue") == 0
    (rows,) = read(tmp_path / "out")
    np.testing.assert_allclose(rows, states(models, protein, 2), atol=SAME)
    assert len(rows) == len(protein)
    _, encoder = load_encoder(str(models / "esm"))
    token = encoder.tokenizer([protein.encode()])[0][10]
    assert (token == encoder.tokenizer.unk_token) == (residue in "*J")


@pytest.mark.parametrize("protein", ["*", "-----", "--*"])
def test_a_sequence_of_nothing_else_stays_as_it_is(embed, models, tmp_path, protein):
    (tmp_path / "p.faa").write_text(f">p\n{protein}\n")
    assert embed("--per-residue") == 0
    (rows,) = read(tmp_path / "out")
    np.testing.assert_allclose(rows, states(models, protein, 2), atol=SAME)


def test_gaps_of_nucleotides_are_kept(embed, tmp_path):
    (tmp_path / "p.faa").write_text(f">a\n{DNA}\n>b\n{DNA[:9]}---{DNA[9:]}\n")
    assert embed(model="dna") == 0
    lengths = [line.split("\t")[1] for line in (tmp_path / "out" / "ids.tsv").read_text().splitlines()[1:]]
    assert lengths == [str(len(DNA)), str(len(DNA) + 3)]


@pytest.fixture
def small_shards(monkeypatch):
    monkeypatch.setattr(embeddings, "SHARD_RECORDS", 2)


class Interrupted:
    """Lets some shards be written, and then presses Ctrl-C."""

    def __init__(self, shards: int) -> None:
        self.left, self.write = shards, embed_directory.write_shard

    def __call__(self, *arguments) -> None:
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1
        self.write(*arguments)


@pytest.mark.usefixtures("small_shards")
def test_resuming_keeps_whole_shards_and_gives_the_same_files(embed, tmp_path, monkeypatch, capsys):
    assert embed(output="whole") == 0
    for shards in (2, 1):  # two interruptions
        with monkeypatch.context() as patch:
            patch.setattr(embed_directory, "write_shard", Interrupted(shards))
            assert embed("--resume") == 130
    out = tmp_path / "out"
    assert len(list(out.glob("*.safetensors"))) == 3
    assert json.loads((out / "run.json").read_text())["status"] == "running"
    path = out / "embeddings_00001.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\0")  # damaged
    assert embed() == 1
    assert "--resume" in capsys.readouterr().err
    assert embed("--resume", "--layer", 1) == 2
    assert "layer was None and is 1" in capsys.readouterr().err
    assert embed("--resume") == 0
    assert contents(out, "run.json") == contents(tmp_path / "whole", "run.json")
    assert json.loads((out / "run.json").read_text())["counts"]["kept_shards"] == 2


@pytest.mark.usefixtures("small_shards")
def test_shards_of_the_run_that_was_replaced_are_not_kept(embed, tmp_path, monkeypatch):
    assert embed("--layer", 1) == 0
    assert embed(output="whole") == 0
    with monkeypatch.context() as patch:
        patch.setattr(embed_directory, "write_shard", Interrupted(1))
        assert embed("--restart") == 130
    assert embed("--resume") == 0
    assert contents(tmp_path / "out", "run.json") == contents(tmp_path / "whole", "run.json")
    text = (tmp_path / "p.faa").read_text()
    (tmp_path / "p.faa").write_text(text[: text.index(">p2")])
    assert embed("--restart") == 0
    assert {path.name for path in (tmp_path / "out").glob("*.safetensors")} == {"embeddings_00000.safetensors"}
    assert embed("--resume", "--restart") == 2
