"""Few buckets hold all examples, and every example fits into its bucket."""

from hypothesis import given
from hypothesis import strategies as st

from fine_tuning.training.length_buckets import Bucket, Lengths, bucket_of, buckets_of

counts = st.integers(1, 3000)


@given(counts, counts, st.integers(0, 3000))
def test_an_example_fits_into_its_bucket(prompt, chosen, rejected):
    bucket = bucket_of(Lengths(prompt, chosen, rejected))
    assert prompt + chosen <= bucket.row < prompt + chosen + 192
    assert rejected <= bucket.rejected < rejected + 128
    assert prompt + bucket.rejected <= bucket.second_row if rejected else bucket.second_row == 0


def test_prompt_and_chosen_are_rounded_up_together_and_the_rejected_answer_alone():
    assert bucket_of(Lengths(240, 546, 546)) == Bucket(960, 640, 1024)
    assert bucket_of(Lengths(240, 528)) == Bucket(768)


def test_the_share_of_padding_is_that_of_all_tokens():
    buckets, padding = buckets_of([Lengths(100, 92, 64), Lengths(92, 100, 128)])
    assert buckets == {Bucket(192, 128, 512): 2}
    assert padding == 64 / 640
    assert buckets_of([]) == ({}, 0.0)
