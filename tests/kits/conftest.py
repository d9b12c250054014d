"""What a kits test needs of this machine: where it is missing, a failure under KITS_REQUIRE (which CI sets), else a skip that says why."""

import os
import shutil

import pytest

PROGRAMS = {"simavr": ("arduino-builder", "avr-gcc", "simavr", "cc"), "qemu": ("arm-none-eabi-gcc", "qemu-system-arm"),
            "qemu-user": ("aarch64-linux-gnu-gcc", "qemu-aarch64"), "avr": ("arduino-builder", "avr-gcc")}


def need(url):
    """Skip, or fail, unless a target's compiler and emulator are here. url: such as "simavr:atmega328p", or "avr"."""
    lost = [p for p in PROGRAMS[url.partition(":")[0]] if shutil.which(p) is None]
    if lost:
        (pytest.fail if os.environ.get("KITS_REQUIRE") else pytest.skip)(f"no {', '.join(lost)} here: make kits installs what kits need")
