"""Random numbers for samples: each token's number is a function of the seed, the prompt, the sample and the place.

Nothing else plays a part: not the batch, the memory, an interruption or the number of processes. So a prompt has the
same samples in any batch, whatever the order of the work, and the first four of eight samples are those that four
samples would be. Only rounding is left: in a batch of another shape, logits can differ in their last digits. A sample
then differs if a number falls between the two roundings.

The numbers are BLAKE2b in counter mode. They are computed on the CPU, so a GPU gets the same ones.
"""

import struct
from collections.abc import Hashable, Iterable, Sequence
from hashlib import blake2b

import torch
from transformers import LogitsProcessor

PER_BLOCK = 8  # numbers of 8 bytes in a digest of 64
PRECISION = 2**52  # the sum of the whole weights that stand for probabilities


def random_numbers(seed: int, prompt: Sequence[int], sample: int, count: int) -> list[float]:
    """The numbers for the first `count` tokens of a sample, each from 0 to less than 1, with 53 random bits.

    `prompt` are token ids, `sample` is the number of the sample among those of this prompt.
    """
    key = blake2b(" ".join(map(str, (seed, sample, *prompt))).encode()).digest()
    numbers: list[float] = []
    for block in range(-(-count // PER_BLOCK)):
        digest = blake2b(block.to_bytes(8, "little"), key=key).digest()
        numbers += [(whole >> 11) * 2.0**-53 for whole in struct.unpack(f"<{PER_BLOCK}Q", digest)]
    return numbers[:count]


def sample_numbers(prompts: Iterable[Hashable]) -> list[int]:
    """For each prompt how many equal ones stand before it: its number among the samples of this prompt."""
    seen: dict[Hashable, int] = {}
    numbers = []
    for prompt in prompts:
        numbers.append(seen.get(prompt, 0))
        seen[prompt] = numbers[-1] + 1
    return numbers


def draw(scores: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
    """One token for each row, drawn from the softmax of its scores: the inverse of the cumulative distribution.

    `scores` [rows, vocabulary] of float32, `numbers` [rows] of float64 from `random_numbers`; returns [rows] of int64.
    A score of minus infinity is never drawn. The sums are of whole numbers, so their order does not matter: a GPU adds
    in another order than a CPU.
    """
    weights = (scores.softmax(-1).double() * PRECISION).long()
    ends = weights.cumsum(-1)
    total = ends[:, -1]
    places = torch.minimum((numbers * total.double()).long(), total - 1)
    tokens = torch.searchsorted(ends, places[:, None], right=True)[:, 0]
    return tokens.clamp(max=scores.shape[-1] - 1)  # only where scores are NaN


class Streams(LogitsProcessor):
    """Leaves only the drawn token in the scores of each sample, so that greedy decoding takes it.

    rows         for each row of the batch the numbers of its tokens, as from `random_numbers`; None: greedy decoding
    temperature  of the samples
    start        the length of the prompts, padding included
    """

    def __init__(
        self, rows: Sequence[Sequence[float] | None], temperature: float, start: int, device: torch.device | str
    ) -> None:
        self._temperature, self._start = temperature, start
        self._rows = torch.tensor([k for k, numbers in enumerate(rows) if numbers is not None], device=device)
        longest = max((len(numbers) for numbers in rows if numbers is not None), default=0)
        # A row that has reached its limit goes on until the batch ends. What it draws then is cut off.
        padded = [[*numbers, *[0.0] * (longest - len(numbers))] for numbers in rows if numbers is not None]
        self._numbers = torch.tensor(padded, dtype=torch.float64, device=device)

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        """`input_ids` [rows, tokens so far], `scores` [rows, vocabulary]."""
        if not len(self._rows):
            return scores
        place = min(input_ids.shape[1] - self._start, self._numbers.shape[1] - 1)
        tokens = draw(scores[self._rows].float() / self._temperature, self._numbers[:, place])
        chosen = scores.clone()
        chosen[self._rows] = float("-inf")
        chosen[self._rows, tokens] = 0.0
        return chosen  # type: ignore[return-value]
