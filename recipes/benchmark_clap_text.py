"""What padding costs a text query: python -m qsep.recipes.benchmark_clap_text.

CLAP's text branch at its published size, random weights, reads eight tokens as they are, as qsep does, and
padded to 512, as AudioSep's code did. The embedding is the same; asked again, it comes from the cache.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from torch import Tensor

NUM_TOKENS, PADDED_TOKENS = 8, 512
FIRST, LAST, PADDING = 0, 2, 1  # of RoBERTa's vocabulary


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    from transformers import ClapTextConfig, ClapTextModelWithProjection

    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    model = ClapTextModelWithProjection(ClapTextConfig()).eval()
    words = torch.randint(10, 50_000, (NUM_TOKENS - 2,), generator=torch.Generator().manual_seed(0))
    tokens = torch.cat([torch.tensor([FIRST]), words, torch.tensor([LAST])])[None]
    padded = torch.full((1, PADDED_TOKENS), PADDING)
    padded[:, :NUM_TOKENS] = tokens
    mask = (padded != PADDING).long()
    short, short_seconds = timed(lambda: model(input_ids=tokens).text_embeds, arguments.runs)
    long, long_seconds = timed(
        lambda: model(input_ids=padded, attention_mask=mask).text_embeds, arguments.runs
    )
    print(
        f"{NUM_TOKENS} tokens {short_seconds:.3f} s, padded to {PADDED_TOKENS} {long_seconds:.3f} s, "
        f"{long_seconds / short_seconds:.0f} times as long; largest difference "
        f"{float((short - long).abs().max() / long.abs().max()):.0e} of the largest entry"
    )


@torch.inference_mode()
def timed(run: Callable[[], Tensor], runs: int) -> tuple[Tensor, float]:
    """What it gives, and the shortest time of several runs after a first."""
    found = run()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return found, min(times)


if __name__ == "__main__":
    main()
