"""Four ways to defraud the simulated shop, each with a signature of its own.

Every kind comes in episodes: a stolen card is used several times, a ring reuses its devices. About one fraud in five
is careful (the victim's own device and address, a usual amount) and can hardly be told from an honest order.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fds_mlflow.simulator.world import (
    CARD,
    DAY,
    METHODS,
    TRANSFER,
    WALLET,
    Bools,
    Floats,
    Ints,
    Orders,
    World,
    foreign_ips,
)

KINDS = ("card_theft", "account_takeover", "compromised_merchant", "promo_abuse")
_SHARE = np.array([0.34, 0.26, 0.24, 0.16])
#: How the share of each kind tilts over the period at a drift of 1.
_SLOPE = np.array([-0.4, 0.4, 0.0, 0.2])
_CAREFUL = 0.2
#: New accounts, devices and addresses of fraudsters are numbered from here, per kind.
_FOREIGN_START = 10**8


def counts(n: int) -> Ints:
    """Split `n` frauds over the kinds, by largest remainder."""
    exact = _SHARE * n
    whole: Ints = np.floor(exact).astype(np.int64)
    whole[np.argsort(whole - exact)[: n - int(whole.sum())]] += 1
    return whole


def frauds(world: World, rng: np.random.Generator, n: int, honest: Orders) -> Orders:
    """`n` fraudulent orders of all kinds.

    Args:
        world: The shop.
        rng: Random numbers.
        n: How many.
        honest: The genuine orders, among which compromised merchants find their victims.
    """
    makers: tuple[Callable[[World, np.random.Generator, int, Orders], Orders], ...] = (
        _card_theft,
        _account_takeover,
        _compromised_merchant,
        _promo_abuse,
    )
    parts = [make(world, rng, int(k), honest) for make, k in zip(makers, counts(n), strict=True)]
    return Orders.join(parts)


def _episodes(rng: np.random.Generator, n: int, low: int, high: int) -> tuple[Ints, Ints, int]:
    """Cut `n` orders into episodes of `low` to `high` orders.

    Returns:
        The episode of each order, its place in it, and the number of episodes.
    """
    sizes = rng.integers(low, high + 1, n // low + 1)
    episode = np.repeat(np.arange(len(sizes)), sizes)[:n]
    number = int(episode[-1]) + 1 if n else 0
    starts = np.searchsorted(episode, np.arange(number))
    return episode, np.arange(n) - starts[episode] if n else episode, number


def _burst(world: World, rng: np.random.Generator, start: Floats, place: Ints, gap: Floats) -> Floats:
    """Times after an episode's start, about `gap` seconds apart; what would pass the end is mirrored back."""
    time = start + (place + rng.random(len(start))) * gap
    return np.clip(world.seconds - np.abs(world.seconds - time), 0.0, world.seconds * (1 - 1e-9))


def _victims(world: World, rng: np.random.Generator, n: int) -> Ints:
    """Customers who were there before the period began."""
    old = np.flatnonzero(world.signup < 0)
    return old[rng.integers(0, len(old), n)]


def _ring(rng: np.random.Generator, kind: int, episodes: int, reuse: float) -> Ints:
    """A device or address per episode: with probability `reuse` one that another episode of the kind uses too."""
    own = np.arange(episodes)
    shared = rng.integers(0, max(1, episodes // 8), episodes)
    return _FOREIGN_START * (kind + 1) + np.where(rng.random(episodes) < reuse, shared, own + episodes)


def _finish(
    world: World,
    rng: np.random.Generator,
    kind: int,
    *,
    time: Floats,
    customer: Ints,
    device: Ints,
    ip: Ints,
    merchant: Ints,
    factor: Floats,
    foreign: Bools,
    failed: Ints,
    method: Ints,
) -> Orders:
    """Put an episode's orders together; the careful ones look like the victim's own."""
    n = len(time)
    careful = rng.random(n) < _CAREFUL
    factor = np.where(careful, rng.lognormal(0.1, 0.5, n), factor)
    return Orders(
        time=time,
        customer=customer,
        card=2 * customer,
        device=np.where(careful, world.device(customer, time, np.zeros(n, dtype=bool)), device),
        ip=np.where(careful, world.home(customer), ip),
        merchant=merchant,
        amount=world.typical(customer, merchant, time) * factor,
        foreign=foreign & ~careful,
        failed=np.where(careful, 0, failed),
        age=np.maximum(time - world.signup[customer], 0.0) / DAY,
        method=method,
        kind=np.full(n, kind + 1),
    )


def _card_theft(world: World, rng: np.random.Generator, n: int, _: Orders) -> Orders:
    """A burst of high amounts within hours, mostly from abroad and from a device the card has never seen."""
    episode, place, number = _episodes(rng, n, 1, 6)
    start = world.moments(rng, number, slope=float(np.clip(_SLOPE[0] * world.drift, -1, 1)))
    abroad = rng.random(number) < 0.5
    time = _burst(world, rng, start[episode], place, (rng.random(number) * 2700 + 240)[episode])
    own = _ring(rng, 0, number, 0.25)
    ip = np.where(abroad, foreign_ips(world, rng, number), own)
    # Fraudsters learn: with drift the amounts come closer to the usual ones.
    factor = rng.lognormal(0.75, 0.6, n) * (1 - 0.35 * world.phase(time) * (world.drift > 0))
    return _finish(
        world,
        rng,
        0,
        time=time,
        customer=_victims(world, rng, number)[episode],
        device=own[episode],
        ip=ip[episode],
        merchant=world.shop_risky(rng, n),
        factor=factor,
        foreign=abroad[episode],
        failed=rng.poisson(0.15, n),
        method=np.full(n, CARD),
    )


def _account_takeover(world: World, rng: np.random.Generator, n: int, _: Orders) -> Orders:
    """Failed logins, then a new device, then purchases over a day."""
    episode, place, number = _episodes(rng, n, 1, 4)
    start = world.moments(rng, number, slope=float(np.clip(_SLOPE[1] * world.drift, -1, 1)))
    time = _burst(world, rng, start[episode], place, (rng.random(number) * 5 * 3600 + 600)[episode])
    abroad = rng.random(number) < 0.3
    own = _ring(rng, 1, number, 0.2)
    failed = np.where(place == 0, 1 + rng.poisson(2.2, n), rng.poisson(0.8, n))
    return _finish(
        world,
        rng,
        1,
        time=time,
        customer=_victims(world, rng, number)[episode],
        device=own[episode],
        ip=np.where(abroad, foreign_ips(world, rng, number), own)[episode],
        merchant=np.where(rng.random(n) < 0.6, world.shop_risky(rng, n), world.shop(rng, n)),
        factor=rng.lognormal(0.6, 0.55, n),
        foreign=abroad[episode],
        failed=failed,
        method=np.where(rng.random(n) < 0.5, WALLET, CARD),
    )


def _compromised_merchant(world: World, rng: np.random.Generator, n: int, honest: Orders) -> Orders:
    """Card data leak from a merchant for some weeks; its customers are defrauded in the days that follow.

    The frauds of one leak share a handful of devices and addresses and two merchants that turn goods into cash.
    """
    episode, _, number = _episodes(rng, n, 20, 40)
    # Victims: honest orders at the merchant during the leak, found in a list sorted by merchant and time.
    merchant = honest.merchant[rng.integers(0, len(honest), number)]
    begin = rng.random(number) * world.seconds * 0.8
    order = np.lexsort((honest.time, honest.merchant))
    key = honest.merchant[order] * world.seconds + honest.time[order]
    low = np.searchsorted(key, merchant * world.seconds + begin)
    high = np.searchsorted(key, merchant * world.seconds + np.minimum(begin + 18 * DAY, world.seconds))
    chosen = low[episode] + (rng.random(n) * (high - low)[episode]).astype(np.int64)
    victim = order[np.minimum(chosen, len(order) - 1)]
    bought = honest.time[victim]
    time = bought + (0.02 + 0.98 * rng.random(n)) * np.minimum(12 * DAY, world.seconds - bought)
    device = _FOREIGN_START * 3 + 12 * episode + rng.integers(0, 12, n)
    cash_out = rng.integers(0, world.merchants, (max(number, 1), 2))[episode, rng.integers(0, 2, n)]
    foreign = rng.random(n) < 0.2
    return _finish(
        world,
        rng,
        2,
        time=np.minimum(time, world.seconds * (1 - 1e-9)),
        customer=honest.customer[victim],
        device=device,
        ip=np.where(foreign, foreign_ips(world, rng, n), _FOREIGN_START * 3 + 4 * episode + rng.integers(0, 4, n)),
        merchant=np.where(rng.random(n) < 0.65, cash_out, world.shop_risky(rng, n)),
        factor=rng.lognormal(0.25, 0.5, n),
        foreign=foreign,
        failed=rng.poisson(0.08, n),
        method=np.full(n, CARD),
    )


def _promo_abuse(world: World, rng: np.random.Generator, n: int, _: Orders) -> Orders:
    """One person, many new accounts: small orders just above a voucher's minimum, one device, one address."""
    episode, place, number = _episodes(rng, n, 6, 24)
    start = world.moments(rng, number, slope=float(np.clip(_SLOPE[3] * world.drift, -1, 1)))
    time = _burst(world, rng, start[episode], place, (rng.random(number) * 4 * 3600 + 600)[episode])
    account = world.customers + np.arange(n) // 2  # two orders from most accounts
    voucher = 15 + 10 * rng.random(number)
    own = _FOREIGN_START * 4 + np.arange(number)
    # Some share an address with honest people: a campus, a mobile network.
    hidden = rng.random(number) < 0.35
    ip = np.where(hidden, world.customers + rng.integers(0, world.mobile, number), own)
    fresh = rng.random(n) < 0.2  # a borrowed or wiped device for this order
    return Orders(
        time=time,
        customer=account,
        card=2 * account,
        device=np.where(fresh, _FOREIGN_START * 5 + np.arange(n), own[episode]),
        ip=ip[episode],
        merchant=world.shop(rng, number)[episode],
        amount=voucher[episode] * (1 + rng.exponential(0.25, n)),
        foreign=np.zeros(n, dtype=bool),
        failed=rng.poisson(0.05, n),
        age=rng.exponential(0.6, n),
        method=np.where(rng.random(n) < 0.7, WALLET, rng.integers(0, len(METHODS), n)).clip(0, TRANSFER),
        kind=np.full(n, 4),
    )
