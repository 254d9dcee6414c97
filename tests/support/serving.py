"""A payload of this machine that serves."""

from __future__ import annotations

import subprocess

from farm.board.payload import Payload


class Serving:
    """A ``payload serve`` process."""

    def __init__(self, payload: Payload) -> None:
        self.process = subprocess.Popen(
            [payload.path, "serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def send(self, *lines: str | bytes) -> None:
        assert self.process.stdin is not None
        for line in lines:
            self.process.stdin.write((line.encode() if isinstance(line, str) else line) + b"\n")
        self.process.stdin.flush()

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().decode("ascii").rstrip("\n")

    def until(self, start: str) -> list[str]:
        lines = []
        while True:
            line = self.line()
            assert line, f"the payload ended before {start!r}: {lines}"
            lines.append(line)
            if line.startswith(start):
                return lines

    def block(self, run: str) -> list[str]:
        self.send(run)
        return self.until("# end ")

    def close(self) -> int:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()
        return self.process.wait()
