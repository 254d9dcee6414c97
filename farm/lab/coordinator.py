"""Client of a labgrid coordinator on its synchronous gRPC stub.

labgrid's own client prints and reads its argument parser, so this speaks the protocol directly
(labgrid/remote/proto/labgrid-coordinator.proto). One :class:`Coordinator` is one identity: it keeps
a client stream open on a TCP connection of its own, because the coordinator knows the caller of a
unary call by the connection's stream only.
"""

from __future__ import annotations

import os
import queue
import re
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, Self

from farm.errors import LabError
from farm.lab.place import Place, Reservation, ReservationState, Resource

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")  # read once, when grpc is imported

import grpc
from labgrid.remote import common
from labgrid.remote.generated import (
    labgrid_coordinator_pb2 as pb2,
)
from labgrid.remote.generated import (
    labgrid_coordinator_pb2_grpc as pb2_grpc,
)
from labgrid.util import labgrid_version

DEFAULT_PORT = 20408
"""Port that labgrid assumes where an address names none."""

CALL_S = 10.0
"""Deadline of a call that only the coordinator answers."""

_GONE = "does not exist"
"""What the coordinator says of a reservation that is no more."""

_WILD = re.compile(r"[*?\[]")
"""What makes a match pattern mean more than what it says (``fnmatch``)."""

_Path = tuple[str, str, str, str]
"""Exporter, group, class and name of a resource."""

EXPORTER_CALL_S = 45.0
"""Deadline of acquire and release: the coordinator grants each resource's exporter 10 s."""


def normal_address(address: str) -> str:
    """Return ``host:port``; the port is labgrid's default where the address has none."""
    host, colon, port = address.strip().rpartition(":")
    if colon and port.isdigit() and host:
        return f"{host}:{port}"
    return f"{address.strip()}:{DEFAULT_PORT}"


def is_loopback(address: str) -> bool:
    """Tell whether the address names this machine."""
    host = normal_address(address).rpartition(":")[0].strip("[]")
    return host in ("localhost", "::1") or host.startswith("127.")


def local_host() -> str:
    """Return this machine's name as the host part of an identity."""
    return socket.gethostname().replace("/", "-") or "localhost"


class Coordinator:
    """A connection to a coordinator under one identity (``host/user``, exactly one slash)."""

    def __init__(self, address: str, identity: str, *, connect_s: float = CALL_S) -> None:
        """Connect and learn the lab's places.

        Raises:
            LabError: nothing answers at the address within ``connect_s``, or it is no coordinator.
        """
        if identity.count("/") != 1:
            raise ValueError(f"identity {identity!r}: expected exactly one '/'")
        self.address = normal_address(address)
        self.identity = identity
        self.lost = threading.Event()
        """Set once the connection is gone; no call works after that."""
        self._outbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._places: dict[str, Any] = {}
        self._resources: dict[tuple[str, str, str], Resource] = {}
        self._syncs: dict[int, threading.Event] = {}
        self._next_sync = 1
        self._closing = False
        options = [
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.keepalive_time_ms", 7500),
            ("grpc.keepalive_timeout_ms", 10000),
            ("grpc.http2.max_pings_without_data", 0),
            ("grpc.initial_reconnect_backoff_ms", 200),
        ]
        if is_loopback(self.address):
            options.append(("grpc.enable_http_proxy", 0))
        self._channel = grpc.insecure_channel(self.address, options=options)
        self._stub = pb2_grpc.CoordinatorStub(self._channel)
        try:
            self._await_connection(connect_s)
            self._stream = self._stub.ClientStream(self._requests())
            self._reader = threading.Thread(
                target=self._read, name=f"coordinator {self.address}", daemon=True
            )
            self._reader.start()
            self._send(startup=pb2.StartupDone(version=labgrid_version(), name=identity))
            self._send(subscribe=pb2.Subscribe(all_places=True))
            self._send(subscribe=pb2.Subscribe(all_resources=True))
            self._sync(connect_s)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        """Return the connection."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the connection; what it acquired stays acquired."""
        self.close()

    def close(self) -> None:
        """Close the connection; what it acquired stays acquired."""
        self._closing = True
        self._outbox.put(None)
        stream = getattr(self, "_stream", None)
        if stream is not None:
            stream.cancel()
        self._channel.close()
        reader = getattr(self, "_reader", None)
        if reader is not None and reader is not threading.current_thread():
            reader.join(CALL_S)  # one that is still in grpc can keep the interpreter from ending

    # -- what is there

    def places(self) -> dict[str, Place]:
        """Return every place of the lab as it is now, by name."""
        self._sync(CALL_S)
        with self._lock:
            return self._seen()

    def wait_for(self, condition: Callable[[Mapping[str, Place]], bool], wait_s: float) -> bool:
        """Wait until the places meet a condition; return whether they did within ``wait_s``.

        The condition is asked whenever the coordinator tells of a change, and first when all that
        this identity's own calls changed is known here.
        """
        self._sync(CALL_S)
        with self._changed:
            return (
                self._changed.wait_for(
                    lambda: self.lost.is_set() or condition(self._seen()), wait_s
                )
                and not self.lost.is_set()
            )

    def place(self, name: str) -> Place:
        """Return one place as it is now.

        Raises:
            LabError: the lab has no place of that name.
        """
        try:
            return self.places()[name]
        except KeyError:
            raise LabError(
                f"the lab at {self.address} has no place {name}",
                next_step="list its places with: farm boards",
            ) from None

    def reservations(self) -> list[Reservation]:
        """Return every reservation of the lab."""
        reply = self._call(self._stub.GetReservations, pb2.GetReservationsRequest())
        return [_received(raw) for raw in reply.reservations]

    # -- taking and giving back

    def reserve(self, filters: Mapping[str, str], *, priority: float = 0.0) -> Reservation:
        """Ask for a place whose tags match all ``filters`` (``name`` matches a place's name).

        A reservation that is not polled lapses after 60 s.
        """
        request = pb2.CreateReservationRequest(
            filters={"main": pb2.Reservation.Filter(filter=dict(filters))}, prio=priority
        )
        return _received(self._call(self._stub.CreateReservation, request).reservation)

    def poll(self, token: str) -> Reservation | None:
        """Return a reservation as it is now, and keep it from lapsing for another 60 s.

        One that is gone is None: it lapsed, somebody cancelled it, or the coordinator restarted.
        """
        request = pb2.PollReservationRequest(token=token)
        try:
            return _received(self._call(self._stub.PollReservation, request).reservation)
        except LabError as error:
            if _GONE in error.message:
                return None
            raise

    def cancel(self, token: str) -> None:
        """Cancel a reservation; one that is gone already is fine."""
        try:
            self._call(self._stub.CancelReservation, pb2.CancelReservationRequest(token=token))
        except LabError as error:
            if _GONE not in error.message:
                raise

    def acquire(self, place: str) -> None:
        """Acquire a place for this identity.

        Raises:
            LabError: the place is held, reserved for someone else, or its exporter refuses.
        """
        self._call(
            self._stub.AcquirePlace,
            pb2.AcquirePlaceRequest(placename=place),
            deadline_s=EXPORTER_CALL_S,
        )

    def release(self, place: str, *, holder: str = "") -> None:
        """Release a place if ``holder`` (this identity by default) holds it; otherwise do nothing.

        The coordinator compares the holder and releases in one step.
        """
        self._call(
            self._stub.ReleasePlace,
            pb2.ReleasePlaceRequest(placename=place, fromuser=holder or self.identity),
            deadline_s=EXPORTER_CALL_S,
        )

    # -- describing

    def add_place(self, name: str) -> None:
        """Create a place."""
        self._call(self._stub.AddPlace, pb2.AddPlaceRequest(name=name))

    def delete_place(self, name: str) -> None:
        """Delete a place."""
        self._call(self._stub.DeletePlace, pb2.DeletePlaceRequest(name=name))

    def add_match(self, place: str, pattern: str) -> None:
        """Make resources that match ``exporter/group/class[/name]`` part of a place."""
        self._call(
            self._stub.AddPlaceMatch, pb2.AddPlaceMatchRequest(placename=place, pattern=pattern)
        )

    def set_tags(self, place: str, tags: Mapping[str, str]) -> None:
        """Set tags of a place; an empty value removes its tag."""
        self._call(
            self._stub.SetPlaceTags, pb2.SetPlaceTagsRequest(placename=place, tags=dict(tags))
        )

    # -- machinery

    def _seen(self) -> dict[str, Place]:
        exported = _Exported(self._resources.values())
        return {name: _place(raw, exported) for name, raw in sorted(self._places.items())}

    def _await_connection(self, connect_s: float) -> None:
        ready = threading.Event()
        failed = threading.Event()

        def watch(state: Any) -> None:
            if state is grpc.ChannelConnectivity.READY:
                ready.set()
            elif state is grpc.ChannelConnectivity.TRANSIENT_FAILURE:
                failed.set()
                ready.set()

        self._channel.subscribe(watch, try_to_connect=True)
        answered = ready.wait(connect_s)
        self._channel.unsubscribe(watch)
        if failed.is_set() or not answered:
            raise self._unreachable("nothing answers")

    def _unreachable(self, why: str) -> LabError:
        return LabError(
            f"no coordinator at {self.address}: {why}",
            next_step="check LG_COORDINATOR; if that lab is gone: unset LG_COORDINATOR, then "
            "farm lab up",
        )

    def _requests(self) -> Iterator[Any]:
        while (message := self._outbox.get()) is not None:
            yield message

    def _send(self, **kind: Any) -> None:
        self._outbox.put(pb2.ClientInMessage(**kind))

    def _sync(self, wait_s: float) -> None:
        """Wait until the coordinator has answered all that was sent before."""
        done = threading.Event()
        with self._lock:
            if self.lost.is_set():
                raise self._unreachable("the connection is gone")
            number = self._next_sync
            self._next_sync += 1
            self._syncs[number] = done
        self._send(sync=pb2.Sync(id=number))
        answered = done.wait(wait_s)
        if self.lost.is_set():
            raise self._unreachable("the connection is gone")
        if not answered:
            raise self._unreachable(f"no answer within {wait_s:g} s")

    def _read(self) -> None:
        try:
            for message in self._stream:
                self._take(message)
        except grpc.RpcError:
            pass  # the finally clause tells every waiter
        finally:
            self._outbox.put(None)
            with self._lock:
                self.lost.set()
                self._changed.notify_all()
                waiting = list(self._syncs.values())
                self._syncs.clear()
            for done in waiting:
                done.set()

    def _take(self, message: Any) -> None:
        with self._lock:
            for update in message.updates:
                kind = update.WhichOneof("kind")
                if kind == "place":
                    self._places[update.place.name] = update.place
                elif kind == "del_place":
                    self._places.pop(update.del_place, None)
                elif kind == "resource":
                    self._resources[_path(update.resource.path)] = _resource(update.resource)
                elif kind == "del_resource":
                    self._resources.pop(_path(update.del_resource), None)
            self._changed.notify_all()
            done = self._syncs.pop(message.sync.id, None) if message.HasField("sync") else None
        if done is not None:
            done.set()

    def _call(self, method: Callable[..., Any], request: Any, *, deadline_s: float = CALL_S) -> Any:
        if self.lost.is_set():
            raise self._unreachable("the connection is gone")
        try:
            return method(request, timeout=deadline_s)
        except grpc.RpcError as error:
            code, details = error.code(), error.details()
            if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
                raise self._unreachable(details or code.name) from error
            if code is grpc.StatusCode.DEADLINE_EXCEEDED:
                raise self._unreachable(f"no answer within {deadline_s:g} s") from error
            raise LabError(f"the coordinator at {self.address} refuses: {details}") from error


def _path(raw: Any) -> tuple[str, str, str]:
    return (raw.exporter_name, raw.group_name, raw.resource_name)


def _resource(raw: Any) -> Resource:
    return Resource(
        exporter=raw.path.exporter_name,
        group=raw.path.group_name,
        cls=raw.cls,
        name=raw.path.resource_name,
        available=raw.avail,
        holder=raw.acquired,
        params=common.build_dict_from_map(raw.params),
    )


class _Exported:
    """All resources, by exporter and group: a lab of a thousand places is not searched for each."""

    def __init__(self, resources: Iterable[Resource]) -> None:
        self._all = {(one.exporter, one.group, one.cls, one.name): one for one in resources}
        self._by_group: dict[tuple[str, str], list[_Path]] = {}
        for path in self._all:
            self._by_group.setdefault(path[:2], []).append(path)

    def matching(self, match: Any) -> list[_Path]:
        """Return the paths that a place's match pattern means."""
        named = not _WILD.search(match.exporter + match.group)
        near = self._by_group.get((match.exporter, match.group), []) if named else self._all
        return [path for path in near if match.ismatch(path)]

    def __getitem__(self, path: _Path) -> Resource:
        return self._all[path]


def _place(raw: Any, exported: _Exported) -> Place:
    place = common.Place.from_pb2(raw)
    found = [(match, exported.matching(match)) for match in place.matches]
    paths = sorted({path for _, matched in found for path in matched})
    return Place(
        name=place.name,
        tags=dict(place.tags),
        aliases=frozenset(place.aliases),
        holder=place.acquired or "",
        reservation=place.reservation or "",
        resources=tuple(exported[path] for path in paths),
        missing=tuple(repr(match) for match, matched in found if not matched),
    )


def _received(raw: Any) -> Reservation:
    return reservation_of(common.Reservation.from_pb2(raw))


def reservation_of(made: common.Reservation) -> Reservation:
    """Return what labgrid knows of a reservation, in our words."""
    allocated = made.allocations.get("main", [])
    return Reservation(
        token=made.token,
        owner=made.owner,
        state=ReservationState(made.state.name),
        place=allocated[0] if allocated else "",
        priority=made.prio,
        created=made.created,
        filters=dict(made.filters.get("main", {})),
    )
