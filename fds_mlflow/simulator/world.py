"""The simulated shop: its customers, cards, devices, addresses and merchants, and what honest people do there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Ints = np.ndarray[Any, np.dtype[np.int64]]
Floats = np.ndarray[Any, np.dtype[np.float64]]
Bools = np.ndarray[Any, np.dtype[np.bool_]]

DAY = 86_400.0  # seconds
WIPED_START = 50_000_000  # indices of devices that are used once
CATEGORIES = ("grocery", "fashion", "books", "home", "beauty", "electronics", "gift_card", "jewellery")
RISKY = (5, 6, 7)  # what can be sold on: electronics, gift cards, jewellery
METHODS = ("card", "wallet", "transfer")
COUNTRIES = ("KR", "US", "CN", "JP", "VN", "RU", "DE", "BR")
CARD, WALLET, TRANSFER = range(3)

_CATEGORY_SHARE = np.array([0.27, 0.20, 0.10, 0.14, 0.11, 0.11, 0.05, 0.02])
_CATEGORY_LOG_AMOUNT = np.log([35.0, 48.0, 22.0, 60.0, 28.0, 140.0, 50.0, 180.0])
#: Orders by hour of the day: a quiet night, a lunch hump, an evening peak.
_NIGHT, _MORNING = [2.2, 1.3, 0.8, 0.5, 0.5, 0.8], [1.6, 2.8, 3.9, 4.6, 5.2, 5.7]
_AFTERNOON, _EVENING = [6.4, 5.8, 5.2, 5.0, 5.1, 5.4], [5.9, 6.8, 7.9, 8.2, 6.5, 4.1]
_HOURS = np.array([*_NIGHT, *_MORNING, *_AFTERNOON, *_EVENING])
_WEEK = np.array([0.95, 0.92, 0.93, 0.97, 1.08, 1.12, 1.18])  # Monday to Sunday


@dataclass(frozen=True)
class Orders:
    """Orders as parallel arrays; indices, not names.

    Attributes:
        time: Seconds since the start of the simulation.
        customer: Index of the account.
        card: Index of the card.
        device: Index of the device.
        ip: Index of the address.
        merchant: Index of the merchant.
        amount: Currency units.
        foreign: Whether the address lies abroad.
        failed: Failed login attempts before the order.
        age: Age of the account in days.
        method: Index into `METHODS`.
        kind: 0 = genuine, else 1 + index into the fraud kinds.
    """

    time: Floats
    customer: Ints
    card: Ints
    device: Ints
    ip: Ints
    merchant: Ints
    amount: Floats
    foreign: Bools
    failed: Ints
    age: Floats
    method: Ints
    kind: Ints

    def __len__(self) -> int:
        return len(self.time)

    def take(self, rows: Ints | slice) -> Orders:
        """Some of the orders, or all in another order."""
        return Orders(**{name: values[rows] for name, values in vars(self).items()})

    @staticmethod
    def join(parts: list[Orders]) -> Orders:
        """All orders of several, one after the other."""
        return Orders(**{name: np.concatenate([vars(part)[name] for part in parts]) for name in vars(parts[0])})


@dataclass(frozen=True)
class World:
    """Who and what there is.

    Index ranges: customer c < `customers`; its cards 2c and 2c + 1; its devices 4c to 4c + 3 (a main and a second one,
    before and after it replaced them); its home address c (or its household's), mobile addresses
    `customers` to `customers + mobile`; foreign addresses. What fraudsters bring has indices far above.
    """

    seconds: float
    weekday: int
    drift: float
    customers: int
    mobile: int
    merchants: int
    activity: Floats  # cumulative share of orders, by customer
    level: Floats  # log of how much above the average the customer spends
    signup: Floats  # seconds since the start, mostly negative
    replaced: Floats  # when the devices were replaced
    rhythm: Floats  # personal shift of the day, seconds
    method: Ints
    favourites: Ints  # customers x 6
    category: Ints  # by merchant
    popularity: Floats  # cumulative, by merchant

    def phase(self, time: Floats) -> Floats:
        """How far drift has come: 0 at the start, `drift` at the end."""
        return self.drift * time / self.seconds

    def home(self, customer: Ints) -> Ints:
        """The index of a customer's home: every fifth pair of neighbours shares one household."""
        return np.where(customer // 2 % 5 == 0, customer // 2 * 2, customer)

    def device(self, customer: Ints, time: Floats, second: Bools) -> Ints:
        """The index of a customer's own device at a time."""
        return 4 * self.home(customer) + 2 * (time >= self.replaced[customer]) + second

    def typical(self, customer: Ints, merchant: Ints, time: Floats) -> Floats:
        """What the customer usually spends at such a merchant; per unit of drift, prices rise by 15 %."""
        log_amount = _CATEGORY_LOG_AMOUNT[self.category[merchant]] + self.level[customer]
        return np.asarray(np.exp(log_amount) * (1 + 0.15 * self.phase(time)))

    def moments(self, rng: np.random.Generator, n: int, *, slope: float = 0.0) -> Floats:
        """Times with the shop's daily and weekly rhythm; `slope` in (-1, 1) tilts them over the period."""
        days = int(np.ceil(self.seconds / DAY))
        day = np.arange(days)
        weight = _WEEK[(self.weekday + day) % 7] * (1 + slope * (2 * (day + 0.5) / days - 1))
        weight[-1] *= self.seconds / DAY - (days - 1)
        hour = _pick(rng, np.cumsum(_HOURS), n)
        time = _pick(rng, np.cumsum(weight), n) * DAY + (hour + rng.random(n)) * 3600
        # In a last day that is cut off, only its share of the hours is there.
        return np.where(time < self.seconds, time, rng.random(n) * self.seconds)

    def shop(self, rng: np.random.Generator, n: int) -> Ints:
        """Merchants drawn by popularity."""
        return _pick(rng, self.popularity, n)

    def shop_risky(self, rng: np.random.Generator, n: int) -> Ints:
        """Merchants of goods that can be sold on, drawn by popularity."""
        risky = np.flatnonzero(np.isin(self.category, RISKY))
        share = np.diff(self.popularity, prepend=0.0)[risky]
        return risky[_pick(rng, np.cumsum(share), n)]


def build(rng: np.random.Generator, *, customers: int, seconds: float, weekday: int, drift: float) -> World:
    """Make a population: shares, levels and habits drawn once, sizes in proportion to the customers."""
    merchants = max(24, customers // 20)
    # Every category has merchants, however few there are.
    category = np.concatenate(
        [np.arange(len(CATEGORIES)), rng.choice(len(CATEGORIES), merchants - len(CATEGORIES), p=_CATEGORY_SHARE)]
    )
    share = rng.pareto(1.3, merchants) + 0.1
    popularity = np.cumsum(share * _CATEGORY_SHARE[category])
    joined = rng.random(customers) < 0.3
    return World(
        seconds=seconds,
        weekday=weekday,
        drift=drift,
        customers=customers,
        mobile=max(4, customers // 15),
        merchants=merchants,
        activity=np.cumsum(rng.gamma(1.5, 1.0, customers) + 0.02),
        level=rng.normal(0.0, 0.45, customers),
        signup=np.where(joined, rng.random(customers) * seconds, -rng.exponential(400 * DAY, customers)),
        replaced=rng.random(customers) * max(4 * seconds, 400 * DAY),
        rhythm=rng.normal(0.0, 2 * 3600, customers),
        method=rng.choice(len(METHODS), customers, p=[0.62, 0.27, 0.11]),
        favourites=_pick(rng, popularity, 6 * customers).reshape(customers, 6),
        category=category,
        popularity=popularity,
    )


def honest(world: World, rng: np.random.Generator, n: int) -> Orders:
    """`n` genuine orders, with what makes honest people look odd: travel, new devices, forgotten passwords, gifts."""
    time = world.moments(rng, n)
    customer = _pick(rng, world.activity, n)
    for _ in range(4):  # nobody orders before signing up: draw another customer, mostly an older one
        early = np.flatnonzero(world.signup[customer] > time)
        customer[early] = _pick(rng, world.activity, len(early))
    time = np.maximum(time, np.minimum(world.signup[customer], world.seconds - 1))
    shifted = time + world.rhythm[customer]
    time = np.where((shifted > np.maximum(world.signup[customer], 0)) & (shifted < world.seconds), shifted, time)
    # One order in seven is a second thought, soon after another by the same customer.
    again = np.flatnonzero(rng.random(n) < 1 / 7)
    first = rng.integers(0, n, len(again))
    customer[again] = customer[first]
    time[again] = np.minimum(time[first] + rng.exponential(1800, len(again)), world.seconds * (1 - 1e-9))

    favourite = world.favourites[customer, rng.integers(0, 6, n)]
    merchant = np.where(rng.random(n) < 0.72, favourite, world.shop(rng, n))
    gift = rng.random(n) < 0.025
    merchant[gift] = world.shop_risky(rng, int(gift.sum()))
    amount = world.typical(customer, merchant, time) * rng.lognormal(0.0, 0.5, n)
    amount[gift] *= rng.lognormal(0.7, 0.4, int(gift.sum()))

    travel = rng.random(n) < 0.02
    mobile = rng.random(n) < 0.3
    ip = np.where(mobile, world.customers + rng.integers(0, world.mobile, n), world.home(customer))
    ip[travel] = foreign_ips(world, rng, int(travel.sum()))
    device = world.device(customer, time, rng.random(n) < 0.22)
    borrowed = np.flatnonzero(rng.random(n) < 0.008)  # at a friend's, in an internet cafe
    friend = rng.integers(0, world.customers, len(borrowed))
    device[borrowed] = world.device(friend, time[borrowed], np.zeros(len(borrowed), dtype=bool))
    wiped = np.flatnonzero(rng.random(n) < 0.03)  # cookies deleted: a device nobody has seen
    device[wiped] = WIPED_START + wiped
    forgot = rng.random(n) < 0.025
    failed = rng.poisson(0.06, n) + forgot * rng.integers(1, 5, n)
    usual = rng.random(n) < 0.85
    return Orders(
        time=time,
        customer=customer,
        card=2 * customer + (rng.random(n) < 0.2),
        device=device,
        ip=ip,
        merchant=merchant,
        amount=amount,
        foreign=travel,
        failed=failed,
        age=np.maximum(time - world.signup[customer], 0.0) / DAY,
        method=np.where(usual, world.method[customer], rng.integers(0, len(METHODS), n)),
        kind=np.zeros(n, dtype=np.int64),
    )


def foreign_ips(world: World, rng: np.random.Generator, n: int) -> Ints:
    """Addresses abroad that travellers use, and some fraudsters: hotels, airports, proxies."""
    return world.customers + world.mobile + rng.integers(0, max(20, world.customers // 10), n)


def _pick(rng: np.random.Generator, cumulative: Floats, n: int) -> Ints:
    """Draw indices in proportion to weights, given their cumulative sum."""
    found: Ints = np.searchsorted(cumulative, rng.random(n) * cumulative[-1], side="right")
    return np.minimum(found, len(cumulative) - 1)
