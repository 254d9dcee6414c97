"""labgrid's own fixtures on a board config: the drivers are good labgrid citizens."""

import pytest


@pytest.fixture(scope="module")
def ready(strategy):
    strategy.transition("ready")
    yield strategy
    strategy.transition("off")


def test_commands(target, ready):
    command = target.get_driver("CommandProtocol")
    assert command.run_check("echo one; echo two") == ["one", "two"]
    assert command.run("echo bad >&2; exit 4") == ([], ["bad"], 4)
    assert command.poll_until_success("true", timeout=60.0)


def test_files(target, ready, tmp_path):
    files = target.get_driver("FileTransferProtocol")
    source = tmp_path / "source"
    source.write_bytes(bytes(range(256)) * 4096)
    files.put(str(source), "/tmp/there")
    files.get("/tmp/there", str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == source.read_bytes()


def test_console_is_read_behind_the_recorder(target, ready):
    console = target.get_driver("ConsoleProtocol")
    console.sendline("echo seen-$((40 + 2))")
    console.expect("seen-42", timeout=30)
    assert "seen-42" in "\n".join(target["RecordedSerialDriver"].recorder.tail(20))


def test_off_and_ready_again(target, ready):
    ready.transition("off")
    assert not target.get_driver("PowerProtocol").get()
    ready.transition("ready")
    assert ready.boot_s > 0
    assert target.get_driver("CommandProtocol").run_check("uname") == ["Linux"]
