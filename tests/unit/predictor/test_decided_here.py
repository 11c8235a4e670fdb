"""What REST has decided is not scored again by the stream."""

from loanloop_predictor.serving.decided_here import DecidedHere


def test_an_event_is_recognised_by_its_own_bytes_only() -> None:
    decided = DecidedHere()
    assert not decided.recognise(b"one")
    decided.remember([b"one"])
    assert not decided.recognise(b"another")
    assert not decided.recognise(None)
    assert decided.recognise(b"one")


def test_an_event_is_recognised_once() -> None:
    decided = DecidedHere()
    decided.remember([b"one"])
    assert [decided.recognise(b"one") for _ in range(2)] == [True, False]


def test_the_oldest_are_forgotten_first() -> None:
    decided = DecidedHere(max_events=2)
    for number in range(4):
        decided.remember([b"%d" % number])
    assert [decided.recognise(b"%d" % number) for number in range(4)] == [False, False, True, True]
