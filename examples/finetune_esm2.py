"""Fine-tune a small ESM-2 on packed batches: less than a minute on a CPU.

    python examples/finetune_esm2.py [--model NAME|DIR] [--steps 100] [--output FOLDER]

The task is a toy: half of the proteins begin with a hydrophobic stretch, as those with a signal peptide do. The other
half have the same residues in random order, so that composition alone is no signal. Proteins have 40 to 200 residues.
A batch is concatenated without padding, and gradients flow through it.
"""

import argparse
import random

import torch
from torch import nn

import virnucpro

LETTERS, HYDROPHOBIC = "ACDEFGHIKLMNPQRSTVWY", "LLLAAVIFG"
BATCH = 16  # proteins


def draw(generator: random.Random, count: int) -> tuple[list[str], torch.Tensor]:
    """Return proteins and their labels (count,): 1 with a hydrophobic start, 0 with the same residues shuffled."""
    proteins, labels = [], []
    for number in range(count):
        start = ["M", *generator.choices("KR", k=2), *generator.choices(HYDROPHOBIC, k=generator.randint(10, 15))]
        residues = start + generator.choices(LETTERS, k=generator.randint(40, 200) - len(start))
        if number % 2 == 0:
            generator.shuffle(residues)
        proteins.append("".join(residues))
        labels.append(number % 2)
    return proteins, torch.tensor(labels, dtype=torch.float32)


def scores(esm: virnucpro.ESM2, classifier: nn.Linear, proteins: list[str]) -> torch.Tensor:
    """Return a logit for each protein, (N,), with gradients."""
    batch = esm.pack(proteins)
    return classifier(esm.pool(esm.hidden(batch), batch)).squeeze(1)


@torch.no_grad()
def accuracy(esm: virnucpro.ESM2, classifier: nn.Linear, proteins: list[str], labels: torch.Tensor) -> float:
    found = classifier(esm.encode(proteins, as_torch=True)).squeeze(1).cpu() > 0
    return (found == labels.bool()).float().mean().item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="bundled", help="name, folder or file, as ESM2.from_pretrained takes it")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--output", help="folder for the fine-tuned encoder, in the format of Hugging Face")
    arguments = parser.parse_args()

    torch.manual_seed(0)
    generator = random.Random(0)
    test = draw(generator, 400)
    esm = virnucpro.ESM2.from_pretrained(arguments.model, precision="fp32")
    classifier = nn.Linear(esm.network.width, 1).to(esm.device)
    groups = [{"params": esm.network.parameters(), "lr": 3e-4}, {"params": classifier.parameters(), "lr": 1e-2}]
    optimizer = torch.optim.AdamW(groups)
    print(f"before: accuracy {accuracy(esm, classifier, *test):.3f}")
    for step in range(1, arguments.steps + 1):
        proteins, labels = draw(generator, BATCH)
        loss = nn.functional.binary_cross_entropy_with_logits(scores(esm, classifier, proteins), labels.to(esm.device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 25 == 0:
            print(f"step {step}: loss {loss.item():.3f}", flush=True)
    print(f"after: accuracy {accuracy(esm, classifier, *test):.3f}")
    if arguments.output:
        esm.save_pretrained(arguments.output)
        print(f"the encoder is in {arguments.output}")


if __name__ == "__main__":
    main()
