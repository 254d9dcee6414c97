"""Board configs and image profiles: what is read, and what a mistake is told."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm import inventory
from farm.errors import ConfigError, UsageError
from farm.model import DeviceKind
from farm.yamlfile import YamlFile

GOOD = """\
targets:
  main: {}
farm:
  board_type: shelf
  description: a board on a shelf
  iommu: arm-smmu-v3
  features: [iommu, gpu]
  image: debian-13
  devices:
    - id: vop
      kind: drm
      driver: rockchip
      address: drm:rockchip
      imports: true
      iommu: true
      coherent: false
      dma_mask_bits: 32
      sources: [6.12 arch/arm64/boot/dts/rockchip/rk3588-base.dtsi vop@fdd90000]
  limits:
    boot_s: 30
  ssh:
    key: keys/shelf
    known_hosts: known_hosts
  untested: never run
  claims:
    - about: iommu
      says: the display is behind an IOMMU
      sources: [6.12.107 drivers/iommu/rockchip-iommu.c]
  left_out:
    - address: m2m:rga
      reason: three nodes of one address, which map otherwise than each other
"""


def config(folder: Path, text: str = GOOD, name: str = "shelf.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_a_good_config_becomes_a_board_type(tmp_path: Path) -> None:
    board_type = inventory.load_board_type(config(tmp_path))
    assert board_type.name == "shelf"
    assert board_type.limits.boot_s == 30
    assert board_type.limits.reboots == 5
    (device,) = board_type.devices
    assert (device.id, device.imports, device.exports) == ("vop", True, False)
    assert (device.coherent, device.dma_mask_bits) == (False, 32)
    assert board_type.untested == "never run"
    assert [claim.about for claim in board_type.claims] == [inventory.Topic.IOMMU]
    assert [left.address for left in board_type.left_out] == ["m2m:rga"]
    assert board_type.ssh.key == tmp_path / "keys" / "shelf"
    assert board_type.ssh.known_hosts == tmp_path / "known_hosts"


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ("features: [iommu, gpu]", "features: [iommu, gpus]", 7, "did you mean 'gpu'?"),
        ("board_type: shelf", "board_type: bench", 4, "found 'bench' in a file named"),
        ("  image: debian-13\n", "", 3, "the key 'image' is missing"),
        ("image: debian-13", "image: debian-99", 8, "(did you mean 'debian-1"),
        ("image: debian-13", "image: debian:x", 8, "farm.image: "),
        ("targets:", "import: [x]\ntargets:", 1, "unknown key (did you mean 'imports'?)"),
        ("boot_s: 30", "boot_s: soon", 20, "valid number"),
        ("boot_s: 30", "boots_s: 30", 20, "did you mean 'boot_s'?"),
        ("kind: drm", "kind: gpu", 11, "'drm'"),
        ("  iommu: arm-smmu-v3\n", "", 14, "behind an IOMMU"),
        ("address: drm:rockchip", "address: /dev/dri/card0", 13, "pattern"),
        ("      imports: true\n", "      imports: true\n      imports: no\n", 15, "twice"),
        ("features: [iommu, gpu]", "features: [iommu, gpu", 8, "not valid YAML"),
        ("[6.12 arch", "[the arch", 18, "pattern"),
        ("[6.12.107 drivers/iommu/rockchip-iommu.c]", "[]", 28, "at least 1 item"),
        ("about: iommu", "about: mmu", 26, "'iommu'"),
        ("address: m2m:rga", "address: drm:rockchip", 30, "declared among the devices as well"),
        ("address: m2m:rga", "address: rga", 30, "pattern"),
        ("reason: three", "reasons: three", 31, "did you mean 'reason'?"),
        ("    key: keys/shelf", "    host_key: ssh-rsa AAAA", 23, "only one of"),
    ],
)
def test_a_mistake_names_file_line_and_what_was_expected(
    tmp_path: Path, old: str, new: str, line: int, said: str
) -> None:
    path = config(tmp_path, GOOD.replace(old, new))
    with pytest.raises(ConfigError) as caught:
        inventory.load_board_type(path)
    assert str(caught.value).startswith(f"{path}:{line}:")
    assert said in str(caught.value)
    assert caught.value.exit_code == 2


CODEC = """\
    - id: codec
      kind: m2m
      driver: vpu
      address: m2m:vpu
      coded: H264
      encodes: true
      decodes: true
      formats: [NV12]
      psnr_db: 30
  limits:
"""


def test_a_codec_states_what_it_codes(tmp_path: Path) -> None:
    path = config(tmp_path, GOOD.replace("  limits:\n", CODEC))
    codec = inventory.load_board_type(path).devices[1]
    assert (codec.kind, codec.coded, codec.formats) == (DeviceKind.M2M, "H264", ("NV12",))
    assert (codec.encodes, codec.decodes, codec.stateless, codec.psnr_db) == (True, True, False, 30)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("      coded: H264\n", "", "the fourcc of its coded format"),
        ("      kind: m2m\n", "      kind: v4l2\n", "a codec is of kind m2m"),
        ("      psnr_db: 30\n", "", "states the least quality"),
        ("      formats: [NV12]\n", "", "states its raw formats"),
        ("coded: H264", "coded: h264", "pattern"),
        ("formats: [NV12]", "exact: [everything]", "'noise'"),
    ],
)
def test_a_codec_that_is_declared_by_halves(tmp_path: Path, old: str, new: str, said: str) -> None:
    path = config(tmp_path, GOOD.replace("  limits:\n", CODEC.replace(old, new)))
    with pytest.raises(ConfigError, match=said):
        inventory.load_board_type(path)


VIRTUAL = """\
  virtual:
    machine: virt
    cpu: cortex-a57
    firmware: {suite: trixie, package: u-boot-qemu, file: usr/lib/u-boot/u-boot.bin}
"""


def test_firmware_is_a_file_of_a_package(tmp_path: Path) -> None:
    hardware = inventory.load_board_type(config(tmp_path, GOOD + VIRTUAL)).virtual
    assert hardware is not None
    assert hardware.firmware == inventory.FirmwareSource(
        "trixie", "u-boot-qemu", "usr/lib/u-boot/u-boot.bin"
    )


@pytest.mark.parametrize("file", ["/usr/lib/u-boot.bin", "usr/../../etc/passwd", "''"])
def test_firmware_stays_inside_its_package(tmp_path: Path, file: str) -> None:
    text = GOOD + VIRTUAL.replace("usr/lib/u-boot/u-boot.bin", file)
    with pytest.raises(ConfigError, match=r"virtual\.firmware\.file"):
        inventory.load_board_type(config(tmp_path, text))


def test_a_board_with_firmware_has_its_bootargs_elsewhere(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"virtual\.append: .* the strategy has 'bootargs'"):
        inventory.load_board_type(config(tmp_path, f"{GOOD}{VIRTUAL}    append: quiet\n"))


def test_only_firmware_finds_a_kernel_on_a_disk(tmp_path: Path) -> None:
    wrong = VIRTUAL.partition("    firmware:")[0] + "    disk: true\n"
    with pytest.raises(ConfigError, match=r"virtual\.disk: .* the board has no 'firmware'"):
        inventory.load_board_type(config(tmp_path, GOOD + wrong))


def test_health_rules_have_defaults_and_bounds(tmp_path: Path) -> None:
    assert inventory.load_board_type(config(tmp_path, GOOD)).health == inventory.HealthRule()
    own = "  health: {every_h: 12, failures: 2, retry_h: 0.5, commands: [test -e /dev/dri/card0]}\n"
    rule = inventory.load_board_type(config(tmp_path, GOOD + own)).health
    assert rule == inventory.HealthRule(12, 2, 0.5, ("test -e /dev/dri/card0",))
    with pytest.raises(ConfigError, match=r"health\.failures"):
        inventory.load_board_type(config(tmp_path, f"{GOOD}  health: {{failures: 0}}\n"))


def test_unknown_image_profile_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'debian-13'"):
        inventory.load_image_profile("debian13")


def test_every_board_config_of_the_project_loads_with_its_image() -> None:
    board_types = inventory.load_board_types()
    assert {"virt-smmuv3", "virt-noiommu"} <= set(board_types)
    for board_type in board_types.values():
        profile = inventory.load_image_profile(board_type.image)
        assert inventory.devices(board_type, profile)


@given(st.text(max_size=300))
def test_any_text_is_parsed_or_refused_with_our_own_error(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    path = config(tmp_path_factory.mktemp("yaml"), text)
    try:
        YamlFile(path)
    except ConfigError as error:
        assert str(error).startswith(f"{path}:")


def test_an_installed_system_is_a_profile_that_builds_nothing() -> None:
    profile = inventory.load_image_profile("installed")
    assert (profile.installed, profile.kernel, profile.packages) == (True, "", ())
    assert [device.id for device in profile.devices] == ["udmabuf"]
    assert not inventory.load_image_profile("installed-plain").devices


EXACT = """\
targets: {main: {}}
farm:
  board_type: shelf
  description: a board that does the same in every boot
  image: debian-13
  virtual:
    exact: true
    machine: virt,dtb-randomness=off
    cpu: cortex-a57
    smp: 1
    append: nokaslr
    devices:
      - cirrus-vga,romfile=
"""


def test_an_exact_board_is_one(tmp_path: Path) -> None:
    virtual = inventory.load_board_type(config(tmp_path, EXACT)).virtual
    assert virtual is not None and virtual.exact and not virtual.default


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ("smp: 1", "smp: 2", 10, "an exact board has one CPU, found 2"),
        (",dtb-randomness=off", "", 8, "dtb-randomness=off"),
        ("append: nokaslr", "append: quiet", 11, "nokaslr"),
        ("cirrus-vga,romfile=", "virtio-gpu-pci", 13, "can have no virtio-gpu-pci"),
    ],
)
def test_what_would_make_boots_differ_is_refused(
    tmp_path: Path, old: str, new: str, line: int, said: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        inventory.load_board_type(config(tmp_path, EXACT.replace(old, new)))
    assert f"shelf.yaml:{line}:" in str(caught.value) and said in str(caught.value)


def test_only_the_two_standard_boards_are_brought_up_unasked() -> None:
    types = inventory.load_board_types()
    standard = {name for name, one in types.items() if one.virtual and one.virtual.default}
    assert standard == {"virt-smmuv3", "virt-noiommu"}
