"""How well `virnucpro scan` finds the cryptic prophages of Escherichia coli K-12 MG1655.

    virnucpro scan MG1655.fa -o scan
    python benchmarks/prophages.py scan/regions.bed

MG1655.fa is the assembly U00096.2 (4,639,675 nt), for instance MG1655-K12.fasta.gz of Debian's ragout-examples. The
nine prophages are those of Wang et al. 2010, doi:10.1038/ncomms1146, whose sizes these coordinates (1-based, closed)
reproduce; the repeats at the ends of CP4-6, DLP12, e14, Rac and CPS-53 are where they should be in the sequence.
Writes benchmarks/results/prophages.json: recall of each prophage, recall and precision over all bases.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from timing import write_results

LENGTH = 4_639_675
PROPHAGES = {
    "CP4-6": (262182, 296489),
    "DLP12": (564038, 585326),
    "e14": (1195443, 1210646),
    "Rac": (1409966, 1433025),
    "Qin": (1630450, 1650920),
    "CP4-44": (2064327, 2077053),
    "CPS-53": (2464401, 2474619),
    "CPZ-55": (2556793, 2563591),
    "CP4-57": (2753978, 2776007),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("regions", type=Path, help="regions.bed of the scan")
    parser.add_argument("--name", default="prophages", help="name of the file of results")
    arguments = parser.parse_args()
    called, true = np.zeros(LENGTH, bool), np.zeros(LENGTH, bool)
    for line in arguments.regions.read_text().splitlines():
        start, end = map(int, line.split("\t")[1:3])
        called[start:end] = True
    recalls = {}
    for name, (start, end) in PROPHAGES.items():
        true[start - 1 : end] = True
        recalls[name] = round(float(called[start - 1 : end].mean()), 3)
    results = {
        "recall": round(float(called[true].mean()), 3),
        "precision": round(float(true[called].mean()), 3) if called.any() else None,
        "bases_called": int(called.sum()),
        "recall_of_each": recalls,
    }
    for name, value in results.items():
        print(name, value)
    write_results(arguments.name, [results], show=False)


if __name__ == "__main__":
    main()
