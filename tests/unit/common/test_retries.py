from loanloop_common.kafka import RetryPolicy


def test_delay_doubles_up_to_its_bound() -> None:
    policy = RetryPolicy(first_delay_s=0.2, max_delay_s=1.0)

    assert [policy.delay_s(attempt) for attempt in (1, 2, 3, 4, 50)] == [0.2, 0.4, 0.8, 1.0, 1.0]
