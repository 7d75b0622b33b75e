"""Types of options."""


def positive(text: str) -> int:
    """A whole number above zero, for argparse."""
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def seed_numbers(text: str) -> tuple[int, ...]:
    """``3``: the seeds 1 to 3; ``2-3``: those; for argparse."""
    first, found, last = text.partition("-")
    numbers = range(positive(first) if found else 1, positive(last if found else first) + 1)
    if not numbers:
        raise ValueError
    return tuple(numbers)


# what argparse calls them in its messages
positive.__name__ = "whole number above zero"
seed_numbers.__name__ = "number of seeds or range of them (3, 2-3)"
