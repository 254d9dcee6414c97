"""Kernels and root file systems for virtual boards, built from Debian's packages and cached."""

from farm.image.build import build
from farm.image.cache import Image, cached, find
from farm.image.firmware import Firmware, fetch_firmware

__all__ = ["Firmware", "Image", "build", "cached", "fetch_firmware", "find"]
