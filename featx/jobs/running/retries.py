"""What has become of shards in one run, by which a fault of a machine or its disks is told from one of a shard."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable

from featx.jobs.running import heartbeats as attempts
from featx.jobs.storage import Place

#: A run ends if the network has raised on so many of its shards, or so many were out of reach, and none was done.
FAILED_AT_ONCE, AWAY_AT_ONCE = 5, 3
_MARK = re.compile(r"^(?P<shard>\d{8})-(?P<kind>failed|away)-(?P<client>[0-9a-f]{32})\.json$")
_DONE = re.compile(r"^(?P<client>[0-9a-f]{32})-done\.json$")


def mark(place: Place, client: str, shard: int, kind: str, reason: str) -> None:
    """Note that a shard has failed, or is away, in the run of a client."""
    place.write(f"attempts/{shard:08}-{kind}-{client}.json", json.dumps({"reason": reason}).encode())


def marked(place: Place, client: str, kind: str) -> set[int]:
    """Return the shards that have failed, or are away, in the run of a client."""
    found = map(_MARK.match, place.names("attempts"))
    return {int(one["shard"]) for one in found if one and (one["kind"], one["client"]) == (kind, client)}


def reason_of(place: Place, client: str, shard: int, kind: str) -> str:
    """Return why a shard was marked."""
    return str(json.loads(place.read(f"attempts/{shard:08}-{kind}-{client}.json"))["reason"])


@functools.lru_cache(maxsize=4)
def tell_done(place: Place, client: str) -> None:
    """Note, once in this process, that a shard has been done in the run of a client."""
    place.write(f"attempts/{client}-done.json", b"{}")


def is_any_done(place: Place, client: str) -> bool:
    """Return whether a shard has been done in the run of a client."""
    return place.has(f"attempts/{client}-done.json")


def forget(place: Place, clients: Iterable[str]) -> None:
    """Remove what is noted of the runs of clients."""
    ended = set(clients)
    for name in place.names("attempts"):
        if (found := _MARK.match(name) or _DONE.match(name)) and found["client"] in ended:
            place.remove(f"attempts/{name}")


def clients(place: Place) -> set[str]:
    """Return the clients of whose runs something is noted."""
    found = (_MARK.match(name) or _DONE.match(name) for name in place.names("attempts"))
    return {one["client"] for one in found if one}


def leave_to_the_last(place: Place, client: str) -> None:
    """Let the next run begin with other shards than those that failed or were away in one that got nothing done."""
    for shard in marked(place, client, "failed"):
        if not is_any_done(place, client):
            attempts.forget_tries(place, {shard})
            attempts.suspect(place, shard, "it failed in a run that got nothing done")
    for shard in marked(place, client, "away"):
        attempts.suspect(place, shard, "it was out of reach")
