"""Power and console of an exact board."""

from __future__ import annotations

from farm.board.recorder import ConsoleRecorder
from farm.board.target import LabgridRig, told_as_ours


class ExactRig(LabgridRig):
    """A labgrid target whose strategy boots archives."""

    strategy = "ExactStrategy"

    @property
    def console(self) -> ConsoleRecorder:
        """The recording of the board's console."""
        recorder: ConsoleRecorder = self._strategy.recording
        return recorder

    def start_recording(self) -> None:
        """Begin to record the console, while the board is off.

        Raises:
            BoardError: the console does not open.
        """
        with told_as_ours(self.name):
            self._strategy.start_recording()

    def boot_with(self, archive: bytes) -> int:
        """Power-cycle the board with an archive; return the console's line at power-on.

        Raises:
            BoardError: the outlet does not obey, or the console does not open.
        """
        with told_as_ours(self.name):
            return int(self._strategy.boot(archive))

    @property
    def identity(self) -> dict[str, str]:
        """What the board's answers depend on besides the archive: image, emulator, hardware.

        Empty where the place does not say which image it boots.
        """
        if not self.tags.get("image_id"):
            return {}
        return {
            key: value
            for key, value in self.tags.items()
            if key in ("board_type", "image_id") or key.startswith("hw_")
        }
