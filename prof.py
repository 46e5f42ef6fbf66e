import sys, time, cProfile, pstats
sys.path.insert(0,'/work/main'); sys.path.insert(0,'/work/main/benchmarks')
from pathlib import Path
import numpy as np
from reads_end_to_end import write_reads
L=int(sys.argv[2]); model=sys.argv[1]
p=Path(f'/tmp/prof/{L}.fq')
if not p.exists(): write_reads(Path('/work/main/.carry/val'),p,32768,L,True)
from virnucpro import Options, Predictor, load_model
from virnucpro.seq.blocks import iter_blocks
from virnucpro.seq.source import Source
import inspect
pr=Predictor(load_model(model),Options(threads=1))
from virnucpro.pipeline.frame_tokens import FrameScores
from virnucpro.run.rows import UnitTables
rng=np.random.default_rng(0)
K=len(pr.decision.hosts)+1 if pr.decision.n_hosts>1 else 2
def score(t):
    n=len(t.nucleotide)
    return FrameScores(rng.normal(size=(n,K)).astype(np.float32), rng.normal(size=n).astype(np.float32))
from virnucpro.pipeline.text import drive
from virnucpro.api import *
import virnucpro.seq.blocks as B
print(inspect.signature(iter_blocks))
