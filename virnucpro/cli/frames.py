"""virnucpro frames."""

from __future__ import annotations

from typing import Annotated

import typer

from virnucpro.cli import options
from virnucpro.words import counted


def frames(
    inputs: options.Inputs,
    output: options.OutputDirectory,
    chunk_length: Annotated[int, typer.Option("--chunk-length", min=3, help="Length of a chunk, nt.")] = 500,
    restart: options.Restart = False,
) -> None:
    """Write chunks and their stop-free reading frames as FASTA.

    Writes chunks.fa, frames.fna (nucleotides) and frames.faa (proteins), as the published VirNucPro makes them.

    Example: virnucpro frames contigs.fa --chunk-length 500 -o frames
    """
    from virnucpro.run.frames import write_frames
    from virnucpro.run.replacement import any_of, replaced_files
    from virnucpro.run.tables import FRAME_FILES
    from virnucpro.seq.blocks import iter_blocks
    from virnucpro.seq.source import Source

    with replaced_files(output, restart, inputs, any_of(FRAME_FILES)) as folder:
        n_chunks, n_frames = write_frames(iter_blocks(Source(inputs)), chunk_length, folder)
    options.report(f"{counted(n_chunks, 'chunks')}, {counted(n_frames, 'stop-free frames')}; files are in {output}")
