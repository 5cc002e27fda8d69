"""
A race that an ordinary test does not see, and that a simulation finds.

Run it: ``pytest examples/test_race.py`` or ``trial examples/test_race.py``
"""

from dataclasses import dataclass

from twisted.trial.unittest import SynchronousTestCase

from echoactor import Actor, Call
from echoactor.testing import ClockSystem, explore


@dataclass(frozen=True, slots=True)
class Deposit:
    amount: int


@dataclass(frozen=True, slots=True)
class GetBalance:
    pass


@dataclass(frozen=True, slots=True)
class SetBalance:
    balance: int


@dataclass(frozen=True, slots=True)
class AddInterest:
    percent: int


class Account(Actor):
    def __init__(self, balance):
        self.balance = balance

    def receive(self, message):
        match message:
            case Deposit(amount):
                self.balance += amount
            case Call(GetBalance(), reply):
                reply(self.balance)
            case SetBalance(balance):
                self.balance = balance
            case AddInterest(percent):
                self.balance += self.balance * percent // 100


async def payer(me, account):
    account.send(Deposit(100))


async def hasty_bank(me, account):
    """Adds interest in two messages. A deposit that comes between them is lost."""
    balance = await account.call(GetBalance())
    account.send(SetBalance(balance + balance * 10 // 100))


async def careful_bank(me, account):
    """Adds interest in one message: the account does it, and handles one message at a time."""
    account.send(AddInterest(10))


def balance_after(system, bank):
    """What is in an account of 100 once 100 were paid in and the bank has added 10 % interest."""
    account = system.spawn(Account, 100)
    system.spawn(payer, account)
    system.spawn(bank, account)
    system.settle()
    return system.result(account.call(GetBalance()))


def hasty_bank_is_right(system):
    assert balance_after(system, hasty_bank) in (210, 220)


def careful_bank_is_right(system):
    assert balance_after(system, careful_bank) in (210, 220)


class RaceTests(SynchronousTestCase):
    def test_ordinary_order(self):
        """Actors that run in the order spawned do not show the race."""
        hasty_bank_is_right(ClockSystem())

    def test_race(self):
        """Some order of delivery does, and the failure says how to have it again."""
        with self.assertRaisesRegex(AssertionError, r"replay\(hasty_bank_is_right, \d+\)"):
            explore(hasty_bank_is_right)

    def test_no_race(self):
        """With one message instead of two, every order is right."""
        explore(careful_bank_is_right)
