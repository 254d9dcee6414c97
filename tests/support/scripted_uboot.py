"""A U-Boot that is a script: prompt, variables, TFTP and booti, as far as a strategy needs them.

It takes and prints lines of 255 characters, as with a CONFIG_SYS_CBSIZE of 256, and beeps at more.
Named ``looping`` it starts again and again before its prompt, named ``crashing`` it dies there.
"""

from __future__ import annotations

import queue
import shlex
from collections.abc import Callable
from pathlib import Path

BANNER = "\r\n\r\nU-Boot 2025.01-scripted (Jan 01 2025 - 00:00:00 +0000)\r\n\r\nDRAM:  1 GiB\r\n"
PROMPT = "=> "
LINUX = (
    "\r\nStarting kernel ...\r\n\r\n"
    "[    0.000000] Booting Linux on physical CPU 0x0000000000 [0x411fd070]\r\n"
    "[    0.000000] Linux version 6.12.0-scripted\r\n"
    "[    0.000000] Kernel command line: {bootargs}\r\n"
)
MAGIC = b"ARM\x64"
MAGIC_AT = 56
LONGEST_LINE = 255


class Reset(Exception):
    """Somebody has reset the board."""


class UBoot:
    """Runs on what ``typed`` brings, byte by byte; ``None`` in it is a reset."""

    def __init__(
        self,
        name: str,
        tftp: Path,
        say: Callable[[str], None],
        typed: queue.Queue[int | None],
    ) -> None:
        self._name = name
        self._tftp = tftp
        self._say = say
        self._typed = typed
        self._status = 0
        self._variables: dict[str, str] = {}
        self._loaded = b""

    def run(self) -> None:
        while True:
            try:
                self._boot()
            except Reset:
                self._variables = {}

    def _key(self) -> str:
        got = self._typed.get()
        if got is None:
            raise Reset
        return chr(got)

    def _boot(self) -> None:
        self._say(BANNER * (5 if self._name == "looping" else 1))
        if self._name == "crashing":
            self._say('"Synchronous Abort" handler, esr 0x96000010, far 0x0\r\n')
        if self._name in ("looping", "crashing"):
            while True:
                self._key()
        self._say("Hit any key to stop autoboot:  2 ")
        self._key()
        while True:
            self._say(f"\r\n{PROMPT}")
            line = self._line()
            while line.count("'") % 2:  # hush wants the closing quote
                self._say("> ")
                line += self._line()
            for command in filter(None, (part.strip() for part in line.split(";"))):
                self._status = self._command(command)

    def _line(self) -> str:
        line = ""
        while (key := self._key()) != "\n":
            fits = len(line) < LONGEST_LINE
            self._say(key if fits else "\a")
            line += key if fits else ""
        self._say("\r\n")
        return line

    def _command(self, text: str) -> int:
        text = text.replace("$?", str(self._status))
        for name in ("bootargs", "bootargs_piece"):
            text = text.replace(f"${{{name}}}", self._variables.get(name, ""))
        match shlex.split(text):
            case ["echo", *words]:
                self._say(" ".join(words) + "\r\n")
            case ["setenv", name, *words]:
                self._variables[name] = " ".join(words)
            case ["printenv", name]:
                self._say(f"{name}={self._variables[name]}"[:LONGEST_LINE] + "\r\n")
            case ["dhcp"]:
                self._say("DHCP client bound to address 10.0.2.15 (1 ms)\r\n")
            case ["tftpboot", _, name]:
                return self._load(name)
            case ["booti", *_]:
                return self._start()
            case [name, *_]:
                self._say(f"Unknown command '{name}' - try 'help'\r\n")
                return 1
        return 0

    def _load(self, name: str) -> int:
        try:
            data = (self._tftp / name).read_bytes()
        except OSError:
            self._say("TFTP error: 'File not found' (1)\r\nNot retrying...\r\n")
            return 1
        if name != "initrd":
            self._loaded = data
        self._say(f"Bytes transferred = {len(data)} ({len(data):x} hex)\r\n")
        return 0

    def _start(self) -> int:
        if self._loaded[MAGIC_AT : MAGIC_AT + 4] != MAGIC:
            self._say("Bad Linux ARM64 Image magic!\r\n")
            return 1
        self._say(LINUX.format(bootargs=self._variables.get("bootargs", "")))
        while True:
            self._key()
