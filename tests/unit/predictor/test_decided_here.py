"""What REST has decided is not scored again by the stream."""

from uuid import UUID

from loanloop_predictor.serving.decided_here import DecidedHere


def test_an_event_is_recognised_for_its_own_payload_only() -> None:
    decided = DecidedHere()
    decided.remember([(UUID(int=1), b"one"), (UUID(int=2), b"two")])
    assert decided.recognise(UUID(int=1), b"one")
    assert not decided.recognise(UUID(int=2), b"another")
    assert not decided.recognise(UUID(int=3), b"three")


def test_an_event_is_recognised_once() -> None:
    decided = DecidedHere()
    decided.remember([(UUID(int=1), b"one")])
    assert [decided.recognise(UUID(int=1), b"one") for _ in range(2)] == [True, False]


def test_the_oldest_are_forgotten_first() -> None:
    decided = DecidedHere(max_events=2)
    for number in range(4):
        decided.remember([(UUID(int=number), b"")])
    assert [decided.recognise(UUID(int=number), b"") for number in range(4)] == [False, False, True, True]
