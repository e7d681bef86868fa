"""Install what some tests need beside Python packages, where that can be done: Debian, as root."""

from __future__ import annotations

import os
import shutil
import subprocess

NEEDED = {"chromium": "the widget's tests", "redis-server": "the Redis tests"}


def main() -> None:
    """Install what is missing, or say in a line what will be skipped."""
    missing = [name for name in NEEDED if shutil.which(name) is None]
    if missing and os.geteuid() == 0 and shutil.which("apt-get"):
        subprocess.run(["apt-get", "update", "-qq"], check=False)  # noqa: S607
        subprocess.run(["apt-get", "install", "-y", "-qq", *missing], check=False, stdout=subprocess.DEVNULL)  # noqa: S603, S607
    for name in (name for name in missing if shutil.which(name) is None):
        print(f"{name} is not installed: {NEEDED[name]} will be skipped")


if __name__ == "__main__":
    main()
