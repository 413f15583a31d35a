"""Random numbers depend on seed, prompt, sample and place alone, and tokens drawn with them follow the distribution."""

import pytest
import torch

from fine_tuning.sampling.streams import Streams, draw, random_numbers, sample_numbers

PROMPT = [5, 6, 7]
FIRST = [0.39142699877303755, 0.4235755503324744, 0.7298870819385332]  # of sample 0
NINTH = [0.6161408584862978, 0.14065509703015056]  # the ninth and tenth of sample 2


def uniform(seed, prompt, sample, count):
    return torch.tensor(random_numbers(seed, prompt, sample, count), dtype=torch.float64)


def test_the_numbers_are_the_same_on_every_machine_and_in_every_version():
    assert random_numbers(2025, PROMPT, 0, 3) == FIRST
    assert random_numbers(2025, PROMPT, 2, 10)[8:] == NINTH


def test_the_first_numbers_of_many_are_those_of_few():
    many = random_numbers(1, PROMPT, 0, 100)
    assert all(random_numbers(1, PROMPT, 0, count) == many[:count] for count in (0, 1, 7, 8, 9, 99))


@pytest.mark.parametrize("other", [(2, PROMPT, 0), (1, [5, 6], 0), (1, [56, 7], 0), (1, PROMPT, 1), (12, [3, 4], 1)])
def test_another_seed_prompt_or_sample_has_other_numbers(other):
    assert set(random_numbers(1, PROMPT, 0, 50)).isdisjoint(random_numbers(*other, 50))


def test_the_numbers_are_evenly_spread_and_independent():
    numbers = torch.stack([uniform(7, PROMPT, sample, 200) for sample in range(200)])
    assert numbers.min() >= 0 and numbers.max() < 1
    counts = torch.histc(numbers.flatten(), 100, 0, 1)
    chi_square = ((counts - 400) ** 2 / 400).sum()
    assert 60 < chi_square < 150  # 99 degrees of freedom: mean 99, standard deviation 14
    # Neighbours in place, and neighbouring samples.
    for one, other in ((numbers[:, :-1], numbers[:, 1:]), (numbers[:-1], numbers[1:])):
        assert abs(torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1]) < 0.02


@pytest.mark.parametrize("temperature", [1.0, 0.5, 2.0])
def test_samples_follow_the_models_distribution(temperature):
    scores = torch.log(torch.tensor([0.3, 0.0, 0.1, 0.45, 0.05, 0.1, 0.0]))
    expected = torch.softmax(scores / temperature, 0) * 20_000
    numbers = uniform(3, PROMPT, 0, 20_000)
    tokens = draw((scores / temperature).expand(20_000, -1), numbers)
    drawn = torch.bincount(tokens, minlength=7)
    possible = expected > 0
    assert drawn[~possible].sum() == 0
    chi_square = ((drawn - expected) ** 2 / expected)[possible].sum()
    assert chi_square < 18.5  # 4 degrees of freedom: exceeded once in 1,000 seeds


@pytest.mark.parametrize("number", [0.0, 2**-53, 0.5, 1 - 2**-53])
def test_a_token_that_is_excluded_is_never_drawn_not_even_at_the_ends(number):
    scores = torch.full((1, 40), float("-inf"))
    scores[0, 11] = scores[0, 17] = 0.3
    token = draw(scores, torch.tensor([number], dtype=torch.float64)).item()
    assert token == (11 if number < 0.5 else 17)


def test_a_draw_does_not_depend_on_the_rows_beside_it():
    torch.manual_seed(0)
    scores, numbers = torch.randn(8, 3000), uniform(1, PROMPT, 0, 8)
    together = draw(scores, numbers)
    assert torch.equal(together, torch.cat([draw(scores[k : k + 1], numbers[k : k + 1]) for k in range(8)]))
    order = torch.randperm(8)
    assert torch.equal(draw(scores[order], numbers[order]), together[order])


def test_greedy_rows_keep_their_scores_and_samples_only_the_drawn_token():
    torch.manual_seed(0)
    scores, written = torch.randn(2, 9), torch.zeros(2, 4, dtype=torch.int64)
    process = Streams([None, [0.1, 0.7]], 1.0, start=3, device="cpu")
    greedy, sample = process(written, scores)
    assert torch.equal(greedy, scores[0])
    expected = draw(scores[1:], torch.tensor([0.7], dtype=torch.float64)).item()
    assert sample.isfinite().nonzero().flatten().tolist() == [expected]


def test_samples_are_numbered_for_each_prompt_on_its_own():
    assert sample_numbers("abacab") == [0, 0, 1, 0, 2, 1]
