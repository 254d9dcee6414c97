"""A board that is a script: takes QEMU's arguments, and behaves as its machine would.

Prints a boot log, echoes lines that are typed, offers an SSH banner on a forwarded port, and
answers the monitor's few commands. With ``-S`` it stays silent; frozen, it stops answering. With
``-bios`` it is a scripted U-Boot.
"""

from __future__ import annotations

import json
import os
import queue
import re
import socket
import sys
import threading
from pathlib import Path

from scripted_uboot import UBoot

BOOT = "".join(f"[{n / 1000:12.6f}] line {n} of the boot log\r\n" for n in range(2000))
READY = "farm: ready 0.01 s after power-on\r\n# "


class Board:
    def __init__(self, argv: list[str]) -> None:
        text = " ".join(argv)
        if "no-such-machine" in text:
            sys.exit("scripted: unsupported machine type")
        fds = dict(re.findall(r"socket,id=(\w+),fd=(\d+)", text))
        self.serial = socket.socket(fileno=int(fds["serial"]))
        self.monitor = socket.socket(fileno=int(fds["monitor"]))
        self.running = threading.Event()
        if "-S" not in argv:
            self.running.set()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.typed: queue.Queue[int | None] = queue.Queue()
        self.uboot: UBoot | None = None
        if "-bios" in argv:
            name = Path(argv[argv.index("-bios") + 1]).name
            served = re.search(r",tftp=([^, ]+)", text)
            self.uboot = UBoot(name, Path(served[1] if served else "/"), self.print, self.typed)

    def run_ssh(self) -> None:
        while True:
            connection, _ = self.listener.accept()
            threading.Thread(target=self.answer_ssh, args=(connection,), daemon=True).start()

    def answer_ssh(self, connection: socket.socket) -> None:
        with connection:
            connection.sendall(b"SSH-2.0-scripted\r\n")
            while data := connection.recv(4096):
                self.running.wait()
                connection.sendall(data)

    def run_serial(self) -> None:
        self.running.wait()
        if self.uboot is not None:
            threading.Thread(target=self.uboot.run, daemon=True).start()
            while data := self.serial.recv(4096):
                for byte in data:
                    self.typed.put(byte)
            return
        self.print(BOOT + READY)
        while data := self.serial.recv(4096):
            self.running.wait()
            self.serial.sendall(data)

    def print(self, text: str) -> None:
        self.serial.sendall(text.encode())

    def run_monitor(self) -> None:
        port = self.listener.getsockname()[1]
        network = f"  TCP[HOST_FORWARD]  5   127.0.0.1 {port}   10.0.2.15    22 0 0\r\n"
        with self.monitor.makefile("rw") as stream:
            self.say(stream, {"QMP": {"version": {}, "capabilities": []}})
            for line in stream:
                command = json.loads(line)["execute"]
                if command == "stop":
                    self.running.clear()
                    self.say(stream, {"event": "STOP"})
                if command == "system_reset":
                    self.say(stream, {"event": "RESET"})
                    self.typed.put(None)
                text = network if command == "human-monitor-command" else {}
                self.say(stream, {"return": text})

    def say(self, stream: object, message: object) -> None:
        stream.write(json.dumps(message) + "\r\n")  # type: ignore[attr-defined]
        stream.flush()  # type: ignore[attr-defined]


if __name__ == "__main__":
    if "--version" in sys.argv:
        print("QEMU emulator version 0.0.1 (scripted)")
        sys.exit()
    board = Board(sys.argv[1:])
    for work in (board.run_serial, board.run_ssh):
        threading.Thread(target=work, daemon=True).start()
    board.run_monitor()
    os._exit(0)
