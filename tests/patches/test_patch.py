"""Functions of another package, changed once."""

from types import SimpleNamespace

from tiednmt.patches.patch import patch


def doubled(before, number):
    return 2 * before(number)


def one_more(before, number):
    return before(number) + 1


class Owner:
    @staticmethod
    def static(number):
        return number

    def method(self, number):
        return number


def test_a_change_is_made_once_whatever_came_after_it():
    module = SimpleNamespace(function=lambda number: number)
    for change in (doubled, one_more, doubled, one_more):
        patch(module, "function", change)
    assert module.function(3) == 7


def test_methods_stay_what_they_are():
    patch(Owner, "static", doubled)
    patch(Owner, "method", lambda before, self, number: 3 * before(self, number))
    assert (Owner.static(3), Owner().static(3), Owner().method(3)) == (6, 6, 9)


def test_what_was_there_keeps_its_name():
    module = SimpleNamespace(function=Owner.method)
    patch(module, "function", doubled)
    assert module.function.__name__ == "method"
