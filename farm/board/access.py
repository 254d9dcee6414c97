"""What a labgrid target's drivers have to know: its board type, its image, its SSH address."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from labgrid.exceptions import NoResourceFoundError
from labgrid.util.ssh import sshmanager

from farm import image, inventory
from farm.board.knownhosts import pinned_key
from farm.board.ssh import SshAddress
from farm.errors import BoardError
from farm.inventory import BoardType, Limits


def board_type(target: Any) -> BoardType:
    """Return the board type that the target's config file describes.

    Raises:
        ConfigError: the file is wrong.
        BoardError: the target comes from no file.
    """
    if target.env is None:
        raise BoardError(f"{target.name}: a board needs a config file, this target has none")
    return inventory.load_board_type(Path(target.env.config.filename))


def limits(target: Any) -> Limits:
    """Return the time limits that hold for the board with the image that its place boots.

    Raises:
        ConfigError: the config file, or the image profile's, is wrong.
        UsageError: there is no such image profile.
        BoardError: the target comes from no file.
    """
    kind = board_type(target)
    profile = inventory.load_image_profile(tags(target).get("image") or kind.image)
    return kind.booting(profile).limits


def console_patterns(target: Any) -> tuple[tuple[str, str], ...]:
    """Return the board type's own complaint patterns, none for a target without a file."""
    return board_type(target).console_patterns if target.env is not None else ()


def tags(target: Any) -> dict[str, str]:
    """Return the tags of the target's place; none if its resources are not a place's."""
    try:
        place = target.get_resource("RemotePlace", wait_avail=False)
    except NoResourceFoundError:
        return {}
    return dict(place.tags)


def boots_our_image(target: Any) -> bool:
    """Return whether the target's place says that it boots an image that was built here."""
    return bool(tags(target).get("image_id"))


def place_name(target: Any) -> str:
    """Return the name of the target's place, or the target's own."""
    try:
        place = target.get_resource("RemotePlace", wait_avail=False)
    except NoResourceFoundError:
        return str(target.name)
    return str(place.manager.session.get_place(place.name).name)


def endpoint(service: Any) -> tuple[str, int]:
    """Return host and port at which a NetworkService is reached from here."""
    host, port = str(service.address), int(service.port)
    extra = getattr(service, "extra", {}) or {}
    if extra.get("proxy_required"):
        return "localhost", int(sshmanager.request_forward(extra.get("proxy"), host, port))
    return host, port


def ssh_address(
    target: Any, service: Any, username: str = "", keyfile: str = "", host_key: str = ""
) -> SshAddress:
    """Return how to log in: first what is given, then the board config, then the image.

    Raises:
        BoardError: no key or no host key is known.
    """
    configured = board_type(target).ssh if target.env is not None else None
    key = _resolved(target, keyfile) if keyfile else None
    if configured is not None:
        key = key or configured.key
        host_key = host_key or configured.host_key
        username = username or configured.username
        if configured.known_hosts is not None and not host_key:
            host_key = pinned_key(configured.known_hosts, str(service.address), int(service.port))
    image_id = tags(target).get("image_id", "")
    if image_id and (key is None or not host_key):
        booted = image.find(image_id)
        key = key or booted.client_key
        host_key = host_key or booted.host_key
    if key is None or not host_key:
        raise BoardError(
            f"{place_name(target)}: no {'SSH key' if key is None else 'host key'} is known",
            next_step="write farm.ssh.key and farm.ssh.host_key (or known_hosts) into the board "
            "config",
        )
    host, port = endpoint(service)
    return SshAddress(host, port, username or str(service.username), key, host_key)


def _resolved(target: Any, keyfile: str) -> Path:
    """Return a key's file; what is relative is so to the config file."""
    return Path(target.env.config.resolve_path(keyfile) if target.env is not None else keyfile)
