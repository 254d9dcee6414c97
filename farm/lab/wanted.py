"""Which places will do for a job: a rule that stays true while places come and go."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from farm.lab.place import Place

TYPE_TAG = "board_type"
"""Tag of a place that names its board type."""

IMAGE_TAG = "image"
"""Tag of a place that names the image profile it boots, where it is not its board type's."""


class Wanted(BaseModel):
    """What a place has to be: one of ``names``, or of ``board_type`` (empty: any).

    ``match`` are tags that must be equal. ``images`` are the image profiles that will do, empty if
    any does; ``image`` is the one of a place without a tag for it. Without names ``prefer`` is the
    place to take where several are free.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    names: tuple[str, ...] = ()
    board_type: str = ""
    match: dict[str, str] = {}
    images: tuple[str, ...] = ()
    image: str = ""
    prefer: str = ""

    def __str__(self) -> str:
        """Say what is wanted in a few words."""
        words = [f"board type {self.board_type}"] if self.board_type else []
        if self.names:
            words = [f"board {' or '.join(self.names)}"]
        return " ".join([*words, *(f"{key}={value}" for key, value in self.match.items())])

    def meets(self, place: Place) -> bool:
        """Tell whether a place will do, whatever its state."""
        if self.names and place.name not in self.names:
            return False
        if self.board_type and place.tags.get(TYPE_TAG) != self.board_type:
            return False
        if self.images and (place.tags.get(IMAGE_TAG) or self.image) not in self.images:
            return False
        return all(place.tags.get(key) == value for key, value in self.match.items())
